/** The conversation: questions, answers, and the box to ask in. */

import { createAnswerView } from "./answer-view.js";
import { createComposer } from "./composer.js";
import { button, element } from "./dom.js";
import { isAbort } from "./errors.js";
import { examplesFor } from "./examples.js";
import { icon } from "./icons.js";
import { announce } from "./notices.js";
import { counted } from "./words.js";

/**
 * @typedef {import("./answer-view.js").AnswerView} AnswerView
 * @typedef {import("./types.js").Turn} Turn
 *
 * @typedef {object} Exchange
 * @property {string} question
 * @property {string} collection
 * @property {AnswerView} view
 */

/** Enough for any "and what about ..."; the server understands follow-ups, it does not archive. */
const TURNS_SENT = 12;

/**
 * @param {object} parts
 * @param {HTMLElement} parts.root
 * @param {import("./api.js").Api} parts.api
 * @param {import("./collections.js").Collections} parts.collections
 * @param {import("./sources.js").OpenSource} parts.openSource
 */
export function startAskView({ root, api, collections, openSource }) {
  /** @type {Exchange[]} */
  let exchanges = [];
  /** @type {AbortController|null} */
  let running = null;
  /** Of the answer that came last, or is still coming. */
  let ended = Promise.resolve();

  const heading = element("h1", { id: "ask-heading", class: "visually-hidden" }, "Ask");
  const log = element("div", { class: "conversation" });
  const empty = element("div", { class: "empty" });
  /** The collection that the examples in `empty` are of; "" while it is not known. @type {string|null} */
  let invited = "";
  const size = element("p", { class: "empty-text" });
  const composer = createComposer({ send: ask, stop: () => running?.abort() });
  const startOver = button({ class: "quiet-button new-conversation", hidden: true }, clear, icon("plus"), "New conversation");
  root.append(heading, empty, log, startOver, composer.node);

  /** @param {string} collection */
  function conversation(collection) {
    /** @type {Turn[]} */
    const turns = [];
    for (const exchange of exchanges) {
      const answer = exchange.view.answer();
      if (answer === null || exchange.collection !== collection) continue;
      turns.push({ role: "user", content: exchange.question });
      turns.push({ role: "assistant", content: answer.answer });
    }
    return turns.slice(-TURNS_SENT);
  }

  /**
   * @param {string} question
   * @param {string|null} [collection]
   */
  function ask(question, collection = collections.current()) {
    if (collection === null || running !== null) return;
    /** @type {Exchange} */
    const exchange = {
      question,
      collection,
      view: createAnswerView({ question, collection, openSource, retry: () => askAgain(exchange) }),
    };
    const turns = conversation(collection);
    exchanges.push(exchange);
    log.append(exchange.view.node);
    showEmpty();
    exchange.view.node.scrollIntoView({ block: "start" });
    ended = run(exchange, turns);
  }

  /**
   * When its turn has come: one answer at a time.
   *
   * @param {Exchange} exchange
   */
  function askAgain(exchange) {
    if (running !== null) {
      void ended.then(() => askAgain(exchange));
      return;
    }
    if (!exchanges.includes(exchange)) return; // asked again already, or cleared away
    exchanges = exchanges.filter((other) => other !== exchange);
    const { node } = exchange.view;
    const stayed = node.contains(document.activeElement) || document.activeElement === document.body;
    node.remove();
    if (stayed) composer.focus();
    ask(exchange.question, exchange.collection);
  }

  /**
   * @param {Exchange} exchange
   * @param {Turn[]} turns
   */
  async function run({ question, collection, view }, turns) {
    const controller = new AbortController();
    running = controller;
    composer.setStreaming(true);
    try {
      const request = { question, collection, ...(turns.length > 0 ? { conversation: turns } : {}) };
      for await (const event of api.answers(request, controller.signal)) view.show(event);
    } catch (error) {
      if (running !== controller) return; // cleared away
      if (isAbort(error)) view.stop();
      else view.fail(error);
    } finally {
      if (running === controller) ready();
    }
  }

  function ready() {
    running = null;
    composer.setStreaming(false);
  }

  function clear() {
    running?.abort();
    ready();
    exchanges = [];
    log.replaceChildren();
    showEmpty();
    composer.focus();
    announce("New conversation.");
  }

  function showEmpty() {
    const none = collections.current() === null;
    composer.node.hidden = none;
    empty.hidden = exchanges.length > 0;
    startOver.hidden = exchanges.length === 0;
    if (empty.hidden) return;
    size.textContent = `Answers come from ${sizeInWords()}, with the passages they rest on.`;
    // The examples stay as they are while only the count changes: somebody may be about to press one.
    if (collections.current() === invited) return;
    invited = collections.current();
    empty.replaceChildren(...(none ? nothingToAsk() : invitation()));
  }

  function sizeInWords() {
    const chosen = collections.all().find((each) => each.name === collections.current());
    if (!chosen) return "your documents";
    const count = chosen.document_count;
    return `${count === null ? "the documents" : counted(count, "document")} in ${chosen.name}`;
  }

  function invitation() {
    const chips = examplesFor(collections.current()).map((question) =>
      element("li", {}, button({ class: "example" }, () => ask(question), question)),
    );
    return [
      element("p", { class: "empty-title" }, "Ask your documents"),
      size,
      ...(chips.length > 0 ? [element("ul", { class: "examples", "aria-label": "Example questions" }, ...chips)] : []),
    ];
  }

  collections.onChange(showEmpty);
  return { focus: composer.focus };
}

/** What to do when there is no collection yet. */
function nothingToAsk() {
  return [
    element("p", { class: "empty-title" }, "There are no documents yet"),
    element("p", { class: "empty-text" }, "Point Ragstone at a folder in a terminal:"),
    element("pre", { class: "command", tabindex: 0 }, element("code", {}, "ragstone ingest ./docs")),
    element("p", { class: "empty-text" }, "or ", element("a", { href: "#/documents" }, "upload documents here"), "."),
  ];
}
