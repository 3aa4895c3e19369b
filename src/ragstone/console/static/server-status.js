/** A line beneath the header for as long as everybody gets less than usual. */

import { element } from "./dom.js";
import { icon } from "./icons.js";
import { statusInWords } from "./words.js";

/** Milliseconds between two looks while all is well, and while it is not. */
const CALM = 30_000;
const WATCHFUL = 10_000;

/**
 * Looks only while the page can be seen.
 *
 * @param {import("./api.js").Api} api
 * @param {HTMLElement} line
 */
export function startServerStatus(api, line) {
  let timer = 0;
  let shown = "";
  let looks = 0;

  async function look() {
    const mine = (looks += 1);
    const said = await sentences();
    if (mine !== looks) return; // a newer one has been sent out
    clearTimeout(timer);
    show(said);
    if (!document.hidden) timer = setTimeout(look, said === "" ? CALM : WATCHFUL);
  }

  /** A look that fails is no news: whatever people do here says so itself. */
  async function sentences() {
    try {
      return statusInWords(await api.status()).join(" ");
    } catch {
      return "";
    }
  }

  /** @param {string} said */
  function show(said) {
    if (said === shown) return; // a screen reader would say it again
    shown = said;
    line.replaceChildren(...(said === "" ? [] : [element("p", { class: "notice" }, icon("info"), element("span", {}, said))]));
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) clearTimeout(timer);
    else void look();
  });
  void look();
}
