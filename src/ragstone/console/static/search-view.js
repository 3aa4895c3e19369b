/** Search: what each leg finds, side by side, for whoever wants to know why. */

import { button, element } from "./dom.js";
import { isAbort } from "./errors.js";
import { announce, degradedNotices, errorBox } from "./notices.js";
import { sourceOfPassage } from "./sources.js";
import { counted, duration, score } from "./words.js";

/**
 * @typedef {import("./types.js").Passage} Passage
 * @typedef {import("./types.js").SearchMode} SearchMode
 *
 * @typedef {object} Mode
 * @property {SearchMode} name
 * @property {string} title
 * @property {string} explanation
 * @property {(passage: Passage) => number|null|undefined} score
 */

/** @type {readonly Mode[]} */
const MODES = [
  { name: "hybrid", title: "Hybrid", explanation: "Both, fused", score: (passage) => passage.scores.fused },
  { name: "dense", title: "Dense", explanation: "By meaning (cosine)", score: (passage) => passage.scores.dense },
  { name: "lexical", title: "Lexical", explanation: "By words (BM25)", score: (passage) => passage.scores.lexical },
];

/**
 * @param {object} parts
 * @param {HTMLElement} parts.root
 * @param {import("./api.js").Api} parts.api
 * @param {import("./collections.js").Collections} parts.collections
 * @param {import("./sources.js").OpenSource} parts.openSource
 */
export function startSearchView({ root, api, collections, openSource }) {
  const input = element("input", { id: "search-query", type: "search", required: true, autocomplete: "off" });
  const amount = element(
    "select",
    { id: "search-amount" },
    ...[5, 10, 20, 50].map((count) => element("option", { value: count, selected: count === 10 }, String(count))),
  );
  const form = element(
    "form",
    { class: "search-form", role: "search" },
    element("div", { class: "field grow" }, element("label", { for: input.id }, "Search for"), input),
    element("div", { class: "field" }, element("label", { for: amount.id }, "Passages"), amount),
    element("button", { type: "submit", class: "button primary" }, "Search"),
  );
  const results = element("div", { class: "search-results" });
  const heading = element("h1", { id: "search-heading", tabindex: -1 }, "Search");
  const intro = element("p", { class: "intro" }, "The passages themselves, as each way of searching ranks them.");
  root.append(heading, intro, form, results);
  let running = new AbortController();
  /** What was searched for before the server had said which collections there are. */
  let waiting = "";

  /** @param {string} query */
  async function search(query) {
    const collection = collections.current();
    if (query === "") return;
    if (collection === null) {
      waiting = query;
      results.replaceChildren(element("p", { class: "loading" }, "There is no collection to search yet."));
      return;
    }
    waiting = "";
    running.abort();
    running = new AbortController();
    const { signal } = running;
    const columns = MODES.map(column);
    results.replaceChildren(...columns.map((each) => each.node));
    await Promise.all(
      columns.map(async ({ mode, show, fail }) => {
        try {
          const request = { query, collection, top_k: Number(amount.value), mode: mode.name };
          show(await api.search(request, signal));
        } catch (error) {
          if (!isAbort(error)) fail(error, () => void search(query));
        }
      }),
    );
    if (!signal.aborted) announce("Search finished.");
  }

  /** @param {Mode} mode */
  function column(mode) {
    const note = element("p", { class: "column-note" }, `${mode.explanation} · searching…`);
    const body = element("div");
    const id = `results-${mode.name}`;
    const title = element("h2", { id }, mode.title);
    return {
      mode,
      node: element("section", { class: "search-column", "aria-labelledby": id }, title, note, body),
      /** @param {Awaited<ReturnType<import("./api.js").Api["search"]>>} found */
      show({ passages, degraded = [], timings_ms: timings = {} }) {
        const time = timings.total ?? Object.values(timings).reduce((sum, each) => sum + each, 0);
        const facts = [mode.explanation, counted(passages.length, "passage"), time > 0 && duration(time)];
        note.textContent = facts.filter(Boolean).join(" · ");
        body.replaceChildren(
          ...degradedNotices(degraded),
          element("ol", { class: "hits" }, ...passages.map((passage) => hit(passage, mode, openSource))),
        );
      },
      /**
       * @param {unknown} error
       * @param {() => void} retry
       */
      fail(error, retry) {
        note.textContent = mode.explanation;
        body.replaceChildren(errorBox(error, retry));
      },
    };
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void search(input.value.trim());
  });
  let searched = collections.current();
  collections.onChange(() => {
    if (collections.current() === searched) return;
    searched = collections.current();
    running.abort();
    results.replaceChildren();
    void search(waiting);
  });
  return { focus: () => input.focus() };
}

/**
 * @param {Passage} passage
 * @param {Mode} mode
 * @param {import("./sources.js").OpenSource} openSource
 */
function hit(passage, mode, openSource) {
  const source = { ...sourceOfPassage(passage), score: mode.score(passage) ?? null };
  const legs = `dense ${score(passage.scores.dense)} · lexical ${score(passage.scores.lexical)}`;
  const headings = source.headingPath.filter((each) => each !== source.title).join(" › ");
  return element(
    "li",
    { class: "hit" },
    element(
      "div",
      { class: "hit-head" },
      button({ class: "source-title" }, () => openSource(source), source.title || source.externalId),
      element("span", { class: "hit-score" }, score(source.score)),
    ),
    headings !== "" && element("p", { class: "source-place" }, headings),
    element("p", { class: "source-quote" }, passage.text),
    mode.name === "hybrid" && element("p", { class: "source-place" }, legs),
  );
}
