/** Ask, Documents, Search: one is shown, and the address says which. */

/** @typedef {{focus: () => void, enter?: () => void}} Section */

/** @param {Record<string, Section>} sections The first is shown when the address names none. */
export function startSections(sections) {
  const names = Object.keys(sections);
  const links = document.querySelectorAll("nav [data-view]");

  function show() {
    const asked = location.hash.replace(/^#\//, "");
    const name = names.includes(asked) ? asked : names[0];
    for (const id of names) document.getElementById(id)?.toggleAttribute("hidden", id !== name);
    for (const link of links) {
      const here = link.getAttribute("data-view") === name;
      if (here) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    document.title = `${name.charAt(0).toUpperCase()}${name.slice(1)} · Ragstone`;
    sections[name].enter?.();
    return sections[name];
  }

  addEventListener("hashchange", () => {
    show().focus();
    scrollTo(0, 0);
  });
  document.getElementById("skip-link")?.addEventListener("click", (event) => {
    // The address after # names the section, so the link may not change it.
    event.preventDefault();
    document.getElementById("main")?.focus();
  });
  show();
}
