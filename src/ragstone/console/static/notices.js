/** What the page says about failures and shortcuts, in place, and aloud to screen readers. */

import { button, byId, element } from "./dom.js";
import { asApiError } from "./errors.js";
import { icon } from "./icons.js";
import { degradedInWords, failureInWords, waitInWords } from "./words.js";

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
  const { message, remedy } = failureInWords(error);
  const wait = error.retryAfter === null ? 0 : Math.max(1, Math.ceil(error.retryAfter));
  const reference = [error.code, error.traceId && `trace ${error.traceId}`].filter(Boolean);
  return element(
    "div",
    { class: "notice error", role: "alert" },
    icon("alert"),
    element(
      "div",
      { class: "notice-text" },
      element("p", {}, element("strong", {}, message)),
      remedy && element("p", {}, remedy),
      wait > 0 && element("p", {}, `Wait ${waitInWords(wait)} before trying again.`),
      element("p", { class: "reference" }, reference.join(" · ")),
    ),
    retry && retryButton(retry, wait),
  );
}

/**
 * Not to be pressed before its time. The count is for the eye: the box says once how long it is.
 *
 * @param {() => void} retry
 * @param {number} wait Seconds.
 */
function retryButton(retry, wait) {
  const count = element("span", { class: "count-down", "aria-hidden": "true" });
  const node = button({ class: "button" }, retry, icon("retry"), "Try again", count);
  const until = performance.now() + wait * 1000;

  function countDown() {
    const left = Math.ceil((until - performance.now()) / 1000);
    node.disabled = left > 0;
    count.textContent = left > 0 ? `in ${left} s` : "";
    if (left > 0) setTimeout(countDown, until - performance.now() - (left - 1) * 1000);
  }

  countDown();
  return node;
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
