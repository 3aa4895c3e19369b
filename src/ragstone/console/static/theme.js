/** Light or dark: as the system says, until somebody chooses. */

import { icon } from "./icons.js";
import { remember } from "./storage.js";

/** @param {HTMLButtonElement} toggle */
export function startTheme(toggle) {
  const system = matchMedia("(prefers-color-scheme: dark)");

  function isDark() {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : system.matches;
  }

  function show() {
    toggle.replaceChildren(icon(isDark() ? "sun" : "moon"));
    const label = isDark() ? "Use the light theme" : "Use the dark theme";
    toggle.setAttribute("aria-label", label);
    toggle.title = label;
  }

  toggle.addEventListener("click", () => {
    const chosen = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = chosen;
    remember("theme", chosen);
    show();
  });
  system.addEventListener("change", show);
  show();
}
