/**
 * The little Markdown that answers use, as elements: paragraphs, headings, lists, code, bold,
 * emphasis and citation marks. Links, images and HTML stay the text that they are: a model
 * that was talked into an address by a document cannot make the page show or fetch it.
 */

import { append, element } from "./dom.js";

/**
 * @callback CitationMark
 * @param {number} number
 * @returns {Node} What stands for `[number]`.
 */

const FENCE = /^\s*(```|~~~)/;
const BULLET = /^\s*[-*+]\s+/;
const NUMBERED = /^\s*(\d{1,9})[.)]\s+/;
const HEADING = /^#{1,6}\s+/;

/**
 * @param {string} text
 * @param {CitationMark} citationMark
 * @returns {DocumentFragment}
 */
export function renderMarkdown(text, citationMark) {
  const fragment = document.createDocumentFragment();
  const lines = text.split("\n");
  let at = 0;
  while (at < lines.length) {
    const line = lines[at];
    if (line.trim() === "") {
      at += 1;
      continue;
    }
    const block = FENCE.test(line)
      ? codeBlock(lines, at)
      : BULLET.test(line) || NUMBERED.test(line)
        ? list(lines, at, citationMark)
        : paragraph(lines, at, citationMark);
    fragment.append(block.node);
    at = block.next;
  }
  return fragment;
}

/**
 * @typedef {{node: HTMLElement, next: number}} Block
 *
 * @param {string[]} lines
 * @param {number} start
 * @returns {Block}
 */
function codeBlock(lines, start) {
  let end = start + 1;
  while (end < lines.length && !FENCE.test(lines[end])) end += 1;
  const code = element("code", {}, lines.slice(start + 1, end).join("\n"));
  return { node: element("pre", { tabindex: 0 }, code), next: end + 1 };
}

/**
 * @param {string[]} lines
 * @param {number} start
 * @param {CitationMark} citationMark
 * @returns {Block}
 */
function list(lines, start, citationMark) {
  const first = NUMBERED.exec(lines[start]);
  const marker = first ? NUMBERED : BULLET;
  const node = first
    ? element("ol", { start: first[1] === "1" ? null : first[1] })
    : element("ul");
  let next = start;
  while (next < lines.length && marker.test(lines[next])) {
    const words = [lines[next].replace(marker, "")];
    next += 1;
    while (next < lines.length && continuesItem(lines[next])) words.push(lines[next++].trim());
    node.append(element("li", {}, inline(words.join(" "), citationMark)));
    if (lines[next]?.trim() === "" && marker.test(lines[next + 1] ?? "")) next += 1;
  }
  return { node, next };
}

/** @param {string} line */
function continuesItem(line) {
  return line.trim() !== "" && !startsBlock(line);
}

/**
 * @param {string[]} lines
 * @param {number} start
 * @param {CitationMark} citationMark
 * @returns {Block}
 */
function paragraph(lines, start, citationMark) {
  if (HEADING.test(lines[start])) {
    const words = lines[start].replace(HEADING, "");
    const node = element("p", { class: "answer-heading" }, inline(words, citationMark));
    return { node, next: start + 1 };
  }
  let next = start + 1;
  while (next < lines.length && lines[next].trim() !== "" && !startsBlock(lines[next])) next += 1;
  const words = lines.slice(start, next).join(" ");
  return { node: element("p", {}, inline(words, citationMark)), next };
}

/** @param {string} line */
function startsBlock(line) {
  return FENCE.test(line) || BULLET.test(line) || NUMBERED.test(line) || HEADING.test(line);
}

/** A longer word may not be kept from breaking: it could be wider than a phone. */
const LONGEST_HELD = 20;

const INLINE =
  /`([^`]+)`|\*\*(?=\S)(.+?\S|\S)\*\*|(?<![\w*])\*(?=\S)([^*]+?)\*(?![\w*])|\[(\d{1,3}(?:\s*,\s*\d{1,3})*)\]/g;

/**
 * @param {string} text
 * @param {CitationMark} citationMark
 * @returns {DocumentFragment}
 */
function inline(text, citationMark) {
  const fragment = document.createDocumentFragment();
  let last = 0;
  for (const match of text.matchAll(INLINE)) {
    const [, code, bold, emphasis, numbers] = match;
    const before = text.slice(last, match.index);
    last = match.index + match[0].length;
    if (numbers !== undefined) {
      fragment.append(marked(before, numbers.split(",").map(Number), citationMark));
      continue;
    }
    append(fragment, before);
    if (code !== undefined) fragment.append(element("code", {}, code));
    else if (bold !== undefined) fragment.append(element("strong", {}, inline(bold, citationMark)));
    else fragment.append(element("em", {}, inline(emphasis, citationMark)));
  }
  append(fragment, text.slice(last));
  return fragment;
}

/**
 * Words, and the marks of their sources on the same line as the last of them.
 *
 * @param {string} words
 * @param {number[]} numbers
 * @param {CitationMark} citationMark
 * @returns {DocumentFragment}
 */
function marked(words, numbers, citationMark) {
  const fragment = document.createDocumentFragment();
  const trimmed = words.trimEnd();
  const lastWord = /\S*$/.exec(trimmed)?.[0] ?? "";
  const held = lastWord.length <= LONGEST_HELD ? lastWord : "";
  append(fragment, trimmed.slice(0, trimmed.length - held.length));
  fragment.append(element("span", { class: "held" }, held, ...numbers.map(citationMark)));
  return fragment;
}
