/** What the page says about failures and shortcuts, in place, and aloud to screen readers. */

import { button, byId, element } from "./dom.js";
import { asApiError } from "./errors.js";
import { icon } from "./icons.js";
import { counted, degradedInWords } from "./words.js";

/**
 * Said once by screen readers, when something has finished.
 *
 * @param {string} text
 */
export function announce(text) {
  byId("announcer", HTMLElement).textContent = text;
}

/**
 * @param {unknown} failure
 * @param {(() => void)|null} retry
 * @returns {HTMLElement} The server's message, what to do, and a button to try again.
 */
export function errorBox(failure, retry) {
  const error = asApiError(failure);
  const wait = error.retryAfter === null ? 0 : Math.max(1, Math.ceil(error.retryAfter));
  const reference = [error.code, error.traceId && `trace ${error.traceId}`].filter(Boolean);
  return element(
    "div",
    { class: "notice error", role: "alert" },
    icon("alert"),
    element(
      "div",
      { class: "notice-text" },
      element("p", {}, element("strong", {}, error.message)),
      error.remedy && element("p", {}, error.remedy),
      wait > 0 && element("p", {}, `Wait ${counted(wait, "second")} before trying again.`),
      element("p", { class: "reference" }, reference.join(" · ")),
    ),
    retry && button({ class: "button" }, retry, icon("retry"), "Try again"),
  );
}

/**
 * @param {string} text
 * @returns {HTMLElement}
 */
export function notice(text) {
  return element("p", { class: "notice" }, icon("info"), element("span", {}, text));
}

/**
 * @param {readonly string[]} degraded
 * @returns {HTMLElement[]} One for each thing that was left out; the same words only once.
 */
export function degradedNotices(degraded) {
  return [...new Set(degraded.map(degradedInWords))].map(notice);
}
