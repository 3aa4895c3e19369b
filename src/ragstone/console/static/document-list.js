/** The documents of the chosen collection, page by page. */

import { confirmed } from "./dialogs.js";
import { arrange, button, element } from "./dom.js";
import { icon } from "./icons.js";
import { announce, errorBox } from "./notices.js";
import { counted } from "./words.js";

/** @typedef {import("./types.js").StoredDocument} StoredDocument */

/**
 * @param {object} parts
 * @param {import("./api.js").Api} parts.api
 * @param {import("./sources.js").OpenSource} parts.openSource
 * @param {() => void} parts.onDeleted
 */
export function createDocumentList({ api, openSource, onDeleted }) {
  const heading = element("h2", { id: "documents-list-heading", tabindex: -1 }, "Documents");
  const list = element("ul", { class: "documents" });
  const foot = element("div", { class: "list-foot" });
  const labelled = { "aria-labelledby": "documents-list-heading", hidden: true };
  const node = element("section", labelled, heading, list, foot);
  /** @type {string|null} */
  let shown = null;
  /** Raised by every new listing, so that a late page of an old one is dropped. */
  let listing = 0;
  /** @type {Map<string, {item: HTMLElement, drawn: string}>} The rows that stand there, by id. */
  const rows = new Map();
  /** @type {Set<string>} Ids that are being deleted. */
  const deleting = new Set();
  /** @type {string[]} Ids that were deleted here, which a page that was asked for before still has. */
  const deleted = [];

  /** From the first page on; what is shown stays until it has come. */
  function reload() {
    listing += 1;
    node.hidden = shown === null;
    if (shown !== null) void load(shown, null);
  }

  /**
   * @param {string} collection
   * @param {string|null} after
   */
  async function load(collection, after) {
    const mine = listing;
    const before = deleted.length;
    foot.replaceChildren(element("p", { class: "loading" }, "Loading…"));
    try {
      const page = await api.documents(collection, after);
      if (mine !== listing) return;
      const gone = new Set(deleted.slice(before));
      draw(page.documents.filter((each) => !gone.has(each.id)).toSorted(byName), after === null);
      const more = () => void load(collection, page.next);
      foot.replaceChildren(
        ...(page.next ? [button({ class: "button" }, more, "Show more")] : []),
        ...(list.childElementCount === 0 ? [element("p", { class: "loading" }, "This collection is empty.")] : []),
      );
    } catch (error) {
      if (mine === listing) foot.replaceChildren(errorBox(error, () => void load(collection, after)));
    }
  }

  /**
   * @param {readonly StoredDocument[]} page
   * @param {boolean} first
   */
  function draw(page, first) {
    const known = new Map(rows);
    if (first) rows.clear();
    for (const stored of page) {
      const drawn = JSON.stringify(stored);
      const present = known.get(stored.id);
      rows.set(stored.id, present?.drawn === drawn ? present : { item: row(stored), drawn });
    }
    arrange(list, [...rows.values()].map(({ item }) => item));
  }

  /** @param {StoredDocument} stored */
  function row(stored) {
    const item = element("li", { class: "document" });
    const remove = button(
      { class: "icon-button", "aria-label": `Delete ${stored.title}`, title: "Delete" },
      () => void deleteAfterAsking(stored),
      icon("trash"),
    );
    item.append(
      icon("document"),
      element(
        "div",
        { class: "document-words" },
        button({ class: "document-title" }, () => openSource(wholeDocument(stored)), stored.title || stored.external_id),
        element("p", { class: "document-facts" }, factsOf(stored)),
      ),
      remove,
    );
    return item;
  }

  /** @param {StoredDocument} stored */
  async function deleteAfterAsking(stored) {
    if (deleting.has(stored.id)) return;
    const sure = await confirmed({
      title: "Delete this document?",
      text: `“${stored.title}” can then no longer be found or cited. Its file on disk is not touched.`,
      action: "Delete",
    });
    if (!sure) return;
    deleting.add(stored.id);
    rows.get(stored.id)?.item.querySelector(".notice")?.remove();
    try {
      await api.deleteDocument(stored.id);
      deleted.push(stored.id);
      remove(stored.id);
      announce(`${stored.title} was deleted.`);
      onDeleted();
    } catch (error) {
      rows.get(stored.id)?.item.append(errorBox(error, () => void deleteAfterAsking(stored)));
    } finally {
      deleting.delete(stored.id);
    }
  }

  /** The focus of whoever stayed with the row goes to the next one. @param {string} id */
  function remove(id) {
    const item = rows.get(id)?.item;
    rows.delete(id);
    if (item === undefined) return;
    const stayed = item.contains(document.activeElement) || document.activeElement === document.body;
    const neighbour = item.nextElementSibling ?? item.previousElementSibling;
    item.remove();
    const next = neighbour?.querySelector(".document-title") ?? heading;
    if (stayed && next instanceof HTMLElement) next.focus();
  }

  return {
    node,
    /** @param {string|null} collection Read from the server when it is another one than before. */
    show(collection) {
      if (collection === shown) return;
      shown = collection;
      rows.clear();
      list.replaceChildren();
      heading.textContent = `Documents in ${collection}`;
      reload();
    },
    reload,
  };
}

/**
 * Pages come in the order of ids, which says nothing to a reader.
 *
 * @param {StoredDocument} one
 * @param {StoredDocument} other
 */
function byName(one, other) {
  return one.external_id.localeCompare(other.external_id, "en", { numeric: true });
}

/** @param {StoredDocument} stored */
function factsOf(stored) {
  const updated =
    stored.updated_at !== undefined &&
    new Date(stored.updated_at * 1000).toLocaleDateString("en", { dateStyle: "medium" });
  return [
    stored.external_id,
    counted(stored.character_count, "character"),
    counted(stored.chunk_count, "chunk"),
    updated,
  ]
    .filter(Boolean)
    .join(" · ");
}

/**
 * @param {StoredDocument} stored
 * @returns {import("./sources.js").Source}
 */
function wholeDocument(stored) {
  return {
    documentId: stored.id,
    title: stored.title,
    externalId: stored.external_id,
    number: null,
    headingPath: [],
    page: null,
    score: null,
    span: null,
    text: "",
  };
}
