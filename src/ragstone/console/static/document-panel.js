/** The side panel: a document's text, with the cited words highlighted and in view. */

import { createDialog, shownUntilClosed } from "./dialogs.js";
import { documentText, locate } from "./document-text.js";
import { button, element } from "./dom.js";
import { isAbort } from "./errors.js";
import { icon } from "./icons.js";
import { errorBox, notice } from "./notices.js";
import { placeOf } from "./sources.js";
import { counted } from "./words.js";

/** @typedef {import("./sources.js").Source} Source */

/**
 * @param {import("./api.js").Api} api
 * @returns {import("./sources.js").OpenSource}
 */
export function createDocumentPanel(api) {
  return (source) => {
    const { dialog, heading } = createDialog(source.title || source.externalId, "panel");
    const content = element("div", {
      class: "panel-content",
      tabindex: 0,
      role: "region",
      "aria-label": "Text of the document",
    });
    const facts = element("p", { class: "panel-facts" }, source.externalId);
    dialog.append(panelHead(dialog, heading, source, facts), content);
    const loading = new AbortController();
    void shownUntilClosed(dialog).then(() => loading.abort());
    void load(api, source, content, facts, loading.signal);
  };
}

/**
 * @param {HTMLDialogElement} dialog
 * @param {HTMLElement} heading
 * @param {Source} source
 * @param {HTMLElement} facts
 */
function panelHead(dialog, heading, source, facts) {
  const close = button(
    { class: "icon-button", "aria-label": "Close", title: "Close", autofocus: true },
    () => dialog.close(),
    icon("close"),
  );
  const label = source.number === null ? null : element("span", { class: "source-number" }, String(source.number));
  return element(
    "header",
    { class: "panel-head" },
    element("div", { class: "panel-title" }, label, heading),
    close,
    source.span && element("p", { class: "panel-place" }, placeOf(source)),
    facts,
  );
}

/**
 * @param {import("./api.js").Api} api
 * @param {Source} source
 * @param {HTMLElement} content
 * @param {HTMLElement} facts
 * @param {AbortSignal} signal
 */
async function load(api, source, content, facts, signal) {
  content.replaceChildren(element("p", { class: "loading" }, "Loading the document…"));
  try {
    const { document: stored, text } = await api.document(source.documentId, signal);
    const size = [counted(stored.character_count, "character"), counted(stored.chunk_count, "chunk")];
    facts.textContent = [source.externalId, ...size].join(" · ");
    show(source, text, content);
  } catch (error) {
    if (isAbort(error)) return;
    const retry = () => void load(api, source, content, facts, signal);
    content.replaceChildren(errorBox(error, retry), ...asItWasCited(source));
  }
}

/**
 * @param {Source} source
 * @param {string} text
 * @param {HTMLElement} content
 */
function show(source, text, content) {
  const highlight = locate(text, source);
  const { node, mark } = documentText(text, highlight);
  content.replaceChildren(node);
  if (mark) {
    mark.scrollIntoView({ block: "center" });
  } else if (source.span) {
    content.prepend(notice("The document has changed since: these words are no longer in it."), ...asItWasCited(source));
  }
}

/**
 * The evidence stays visible also when its document has gone.
 *
 * @param {Source} source
 */
function asItWasCited(source) {
  if (source.text === "") return [];
  return [element("blockquote", { class: "cited-before" }, element("mark", {}, source.text))];
}
