/** The evidence of an answer: citation marks in its text, and the list beneath. */

import { button, element } from "./dom.js";
import { counted, score } from "./words.js";

/**
 * @typedef {import("./types.js").Citation} Citation
 * @typedef {import("./types.js").Passage} Passage
 *
 * @typedef {object} Source What the document panel opens.
 * @property {string} documentId
 * @property {string} title
 * @property {string} externalId
 * @property {number|null} number Of the citation.
 * @property {readonly string[]} headingPath
 * @property {number|null} page
 * @property {number|null} score
 * @property {{start: number, end: number}|null} span In code points.
 * @property {string} text What the span held when it was cited.
 *
 * @callback OpenSource
 * @param {Source} source
 * @returns {void}
 */

/**
 * @param {Citation} citation
 * @param {readonly Passage[]} passages
 * @returns {Source}
 */
export function sourceOfCitation(citation, passages) {
  const passage = passages.find((candidate) => candidate.chunk_id === citation.chunk_id);
  return {
    documentId: citation.document_id,
    title: citation.title,
    externalId: citation.external_id,
    number: citation.number,
    headingPath: passage?.heading_path ?? [],
    page: citation.page,
    score: citation.score,
    span: citation.span,
    text: citation.text,
  };
}

/**
 * @param {Passage} passage
 * @returns {Source}
 */
export function sourceOfPassage(passage) {
  return {
    documentId: passage.document_id,
    title: passage.title,
    externalId: passage.external_id,
    number: null,
    headingPath: passage.heading_path ?? [],
    page: passage.page ?? null,
    score: passage.scores.fused,
    span: { start: passage.start, end: passage.end },
    text: passage.text,
  };
}

/**
 * @param {number} number
 * @param {readonly Source[]} sources
 * @param {OpenSource} open
 * @returns {Node} A button where the source is known; plain while the answer is still arriving.
 */
export function citationMark(number, sources, open) {
  const source = sources.find((candidate) => candidate.number === number);
  if (!source) return element("span", { class: "citation pending" }, String(number));
  const label = `Source ${number}: ${source.title}`;
  const attributes = { class: "citation", "aria-label": label, title: source.title };
  return button(attributes, () => open(source), String(number));
}

/**
 * @param {readonly Source[]} cited
 * @param {readonly Source[]} others Passages that were read and not cited.
 * @param {OpenSource} open
 * @returns {HTMLElement|null}
 */
export function sourcesList(cited, others, open) {
  if (cited.length + others.length === 0) return null;
  const list = (/** @type {readonly Source[]} */ sources) =>
    element("ol", { class: "sources" }, ...sources.map((source) => sourceItem(source, open)));
  const rest =
    others.length > 0 &&
    element(
      "details",
      { class: "other-passages" },
      element("summary", {}, othersInWords(cited.length, others.length)),
      list(others),
    );
  return element(
    "div",
    { class: "evidence" },
    cited.length > 0 && element("h3", {}, "Sources"),
    cited.length > 0 && list(cited),
    rest,
  );
}

/**
 * Where there is no answer, the passages are what was asked for: more of each is seen at once.
 *
 * @param {readonly Source[]} passages
 * @param {OpenSource} open
 * @returns {HTMLElement}
 */
export function passagesList(passages, open) {
  return element(
    "div",
    { class: "evidence" },
    element("h3", {}, counted(passages.length, "passage")),
    element("ol", { class: "sources to-read" }, ...passages.map((source) => sourceItem(source, open))),
  );
}

/**
 * @param {number} cited
 * @param {number} others
 */
function othersInWords(cited, others) {
  if (cited === 0) return `${counted(others, "passage")} read`;
  return `${counted(others, "more passage")} read and not cited`;
}

/**
 * @param {Source} source
 * @param {OpenSource} open
 */
function sourceItem(source, open) {
  return element(
    "li",
    { class: "source" },
    source.number !== null && element("span", { class: "source-number" }, String(source.number)),
    element(
      "div",
      { class: "source-text" },
      button({ class: "source-title" }, () => open(source), source.title || source.externalId),
      element("p", { class: "source-place" }, placeOf(source)),
      element("p", { class: "source-quote" }, source.text),
    ),
  );
}

/**
 * @param {Source} source
 * @returns {string} Heading path, page and score, as far as they are known.
 */
export function placeOf(source) {
  const headings = source.headingPath.filter((heading) => heading !== source.title);
  return [
    headings.length > 0 ? headings.join(" › ") : source.externalId,
    source.page !== null && `page ${source.page}`,
    source.score !== null && `score ${score(source.score)}`,
  ]
    .filter(Boolean)
    .join(" · ");
}
