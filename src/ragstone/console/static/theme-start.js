// Runs before the first paint, so that a chosen theme does not flash in the other one first.
{
  let chosen = null;
  try {
    chosen = localStorage.getItem("ragstone.theme");
  } catch {
    // Storage is forbidden: follow the system.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
}
