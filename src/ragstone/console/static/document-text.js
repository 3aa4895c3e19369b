/** A document's text with one span highlighted, without drawing a whole book at once. */

import { button, element } from "./dom.js";
import { codeUnitOffsets } from "./offsets.js";

/** Characters drawn around the span, and added by each "show more". */
const WINDOW = 40_000;

/**
 * @typedef {{start: number, end: number}} Range Code units.
 *
 * @param {string} text
 * @param {import("./sources.js").Source} source
 * @returns {Range|null} Where the cited words stand now; null when they no longer do.
 */
export function locate(text, source) {
  if (source.span === null) return null;
  const [start, end] = codeUnitOffsets(text, [source.span.start, source.span.end]);
  if (text.slice(start, end) === source.text) return { start, end };
  const moved = text.indexOf(source.text);
  if (source.text === "" || moved < 0) return null;
  return { start: moved, end: moved + source.text.length };
}

/**
 * @param {string} text
 * @param {Range|null} highlight
 * @returns {{node: HTMLElement, mark: HTMLElement|null}}
 */
export function documentText(text, highlight) {
  const around = highlight ?? { start: 0, end: 0 };
  const mark = highlight && element("mark", { tabindex: -1 }, text.slice(around.start, around.end));
  const before = element("span");
  const after = element("span");
  const node = element("div", { class: "document-text" }, before, mark, after);
  let from = around.start;
  let to = around.end;

  const earlier = button({ class: "quiet-button" }, showEarlier, "Show earlier text");
  const later = button({ class: "quiet-button" }, showLater, "Show later text");

  function showEarlier() {
    const start = wholeCharacter(text, Math.max(0, from - WINDOW));
    before.prepend(text.slice(start, from));
    from = start;
    if (from === 0) earlier.remove();
    else node.prepend(earlier);
  }

  function showLater() {
    const end = wholeCharacter(text, Math.min(text.length, to + WINDOW));
    after.append(text.slice(to, end));
    to = end;
    if (to === text.length) later.remove();
    else node.append(later);
  }

  showEarlier();
  showLater();
  return { node, mark };
}

/**
 * @param {string} text
 * @param {number} offset
 * @returns {number} Never between the two halves of one character.
 */
function wholeCharacter(text, offset) {
  const unit = text.charCodeAt(offset);
  return unit >= 0xdc00 && unit <= 0xdfff ? offset - 1 : offset;
}
