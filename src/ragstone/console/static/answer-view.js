/** One question and its answer, from the first byte to the last. */

import { answerDetails } from "./answer-details.js";
import { button, element } from "./dom.js";
import { icon } from "./icons.js";
import { renderMarkdown } from "./markdown.js";
import { announce, degradedNotices, errorBox, notice } from "./notices.js";
import { citationMark, passagesList, sourceOfCitation, sourceOfPassage, sourcesList } from "./sources.js";
import { counted, kindInWords } from "./words.js";

/**
 * @typedef {import("./types.js").Answer} Answer
 * @typedef {import("./types.js").AnswerEvent} AnswerEvent
 * @typedef {import("./types.js").Passage} Passage
 * @typedef {import("./sources.js").Source} Source
 * @typedef {import("./sources.js").OpenSource} OpenSource
 * @typedef {ReturnType<typeof createAnswerView>} AnswerView
 */

/**
 * @param {object} options
 * @param {string} options.question
 * @param {string} options.collection
 * @param {OpenSource} options.openSource
 * @param {() => void} options.retry
 */
export function createAnswerView({ question, collection, openSource, retry }) {
  let text = "";
  /** @type {Passage[]} */
  let passages = [];
  /** @type {Source[]} */
  let cited = [];
  /** @type {Answer|null} */
  let answer = null;
  let drawing = 0;

  const status = element("p", { class: "answer-status" }, `Searching ${collection}…`);
  const notices = element("div", { class: "notices" });
  const body = element("div", { class: "answer-text" });
  const foot = element("div", { class: "answer-foot" });
  const node = element(
    "article",
    { class: "exchange streaming", "aria-busy": "true" },
    element("h2", { class: "question" }, question),
    element("div", { class: "answer" }, status, notices, body, foot),
  );

  function draw() {
    drawing = 0;
    body.replaceChildren(renderMarkdown(text, (number) => citationMark(number, cited, openSource)));
  }

  /** Many deltas may come between two frames; one drawing serves them all. */
  function drawSoon() {
    if (drawing === 0) drawing = requestAnimationFrame(draw);
  }

  function stopStreaming() {
    cancelAnimationFrame(drawing);
    draw();
    node.classList.remove("streaming");
    node.removeAttribute("aria-busy");
  }

  /** @param {Answer} done */
  function finish(done) {
    answer = done;
    text = done.answer;
    passages = done.passages;
    cited = done.citations.map((citation) => sourceOfCitation(citation, passages));
    stopStreaming();
    status.replaceWith(element("p", { class: `kind ${done.answer_kind}` }, kindInWords(done)));
    const passagesOnly = done.answer_kind === "passages";
    // Then the text itself says that there is no answer.
    notices.replaceChildren(...degradedNotices(done.degraded.filter((rung) => !passagesOnly || rung !== "passages_only")));
    const used = new Set(done.citations.map((citation) => citation.chunk_id));
    const others = passages.filter((passage) => !used.has(passage.chunk_id)).map(sourceOfPassage);
    const evidence = passagesOnly ? passagesList(others, openSource) : sourcesList(cited, others, openSource);
    appendAll(foot, evidence, answerDetails(done), passagesOnly ? null : copyButton(done.answer));
    const sources = cited.length > 0 ? ` ${counted(cited.length, "source")}.` : "";
    announce(`${kindInWords(done)}. ${body.textContent}${sources}`);
  }

  /** What has come so far stays, and is called what it is. @param {string} reason */
  function breakOff(reason) {
    stopStreaming();
    status.remove();
    if (text !== "") foot.append(notice(reason));
    appendAll(foot, sourcesList(cited, text === "" ? [] : passages.map(sourceOfPassage), openSource));
  }

  return {
    node,
    /** @returns {Answer|null} Once it is complete. */
    answer: () => answer,

    /** @param {AnswerEvent} event */
    show(event) {
      if (event.type === "passages") {
        passages = event.passages;
        status.textContent = `Reading ${counted(passages.length, "passage")}…`;
        notices.replaceChildren(...degradedNotices(event.degraded ?? []));
      } else if (event.type === "delta") {
        text += event.text;
        status.textContent = "Writing…";
        drawSoon();
      } else if (event.type === "citations") {
        cited = event.citations.map((citation) => sourceOfCitation(citation, passages));
        drawSoon();
      } else if (event.type === "done") {
        finish(event.answer);
      }
    },

    /** @param {unknown} error */
    fail(error) {
      breakOff("This answer is incomplete.");
      const box = errorBox(error, retry);
      foot.append(box);
      box.scrollIntoView({ block: "nearest" });
    },

    stop() {
      breakOff("Stopped. This answer is incomplete.");
      foot.append(button({ class: "button" }, retry, icon("retry"), "Ask again"));
      announce("Stopped.");
    },
  };
}

/**
 * @param {HTMLElement} parent
 * @param {...(HTMLElement|null)} children
 */
function appendAll(parent, ...children) {
  parent.append(...children.filter((child) => child !== null));
}

/** @param {string} text */
function copyButton(text) {
  // Browsers have no clipboard on a page that came over plain HTTP from another machine.
  if (!navigator.clipboard) return null;
  const label = element("span", {}, "Copy answer");
  const attributes = { class: "quiet-button" };
  return button(
    attributes,
    () => {
      navigator.clipboard.writeText(text).then(
        () => {
          label.textContent = "Copied";
          announce("Copied.");
        },
        () => {
          label.textContent = "The browser did not allow it";
        },
      );
    },
    icon("copy"),
    label,
  );
}
