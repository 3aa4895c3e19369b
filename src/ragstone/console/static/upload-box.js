/** Where files are dropped or picked, and which collection they go to. */

import { button, element } from "./dom.js";
import { icon } from "./icons.js";
import { counted } from "./words.js";

const FORMATS = "Markdown, text, HTML, PDF, DOCX, CSV, TSV, JSON and JSONL";

/**
 * @typedef {{files: File[], collection: string, access: string[]}} Upload
 *
 * @param {(upload: Upload) => void} onUpload
 */
export function createUploadBox(onUpload) {
  const names = element("datalist", { id: "collection-names" });
  const collection = element("input", {
    id: "upload-collection",
    list: "collection-names",
    autocomplete: "off",
    spellcheck: "false",
    required: true,
  });
  const access = element("input", {
    id: "upload-access",
    value: "*",
    autocomplete: "off",
    spellcheck: "false",
    "aria-describedby": "access-hint",
  });
  const picker = element("input", {
    type: "file",
    multiple: true,
    class: "visually-hidden",
    tabindex: -1,
    "aria-label": "Files to upload",
  });
  const choose = button({ class: "button primary" }, () => picker.click(), icon("upload"), "Choose files");
  const held = element("p", { class: "drop-held", role: "status" });
  const zone = element(
    "div",
    { class: "drop-zone" },
    element("p", { class: "drop-title" }, "Drop files here, or"),
    choose,
    picker,
    element("p", { class: "hint" }, `${FORMATS}; a JSONL file may hold many documents.`),
    held,
  );

  /** @type {File[]} Chosen while no collection was named, so that nobody has to choose them again. */
  let waiting = [];
  /** Empty until the server has said which collections there are. */
  let proposed = "";

  /** @param {FileList|null|undefined} files */
  function take(files) {
    waiting.push(...(files ?? []));
    send();
    if (waiting.length > 0 && proposed !== "") collection.reportValidity();
  }

  function send() {
    const name = collection.value.trim();
    if (waiting.length > 0 && name !== "") {
      onUpload({
        files: waiting,
        collection: name,
        access: access.value.split(",").map((entry) => entry.trim()).filter(Boolean),
      });
      waiting = [];
    }
    const words = `${counted(waiting.length, "file")} waiting for the name of a collection.`;
    held.textContent = waiting.length > 0 ? words : "";
  }

  picker.addEventListener("change", () => {
    take(picker.files);
    picker.value = "";
  });
  acceptDrops(zone, take);
  collection.addEventListener("change", send);

  return {
    node: element("div", { class: "upload-box" }, zone, options(collection, names, access)),

    /**
     * @param {readonly string[]} known
     * @param {string|null} current
     */
    setCollections(known, current) {
      names.replaceChildren(...known.map((name) => element("option", { value: name })));
      const before = proposed;
      proposed = current ?? "default";
      // A name that somebody typed is left alone, and may be half of one.
      if (collection.value !== before) return;
      collection.value = proposed;
      send();
    },
  };
}

/**
 * @param {HTMLInputElement} collection
 * @param {HTMLElement} names
 * @param {HTMLInputElement} access
 */
function options(collection, names, access) {
  return element(
    "div",
    { class: "upload-options" },
    element("div", { class: "field" }, element("label", { for: collection.id }, "Into collection"), collection, names),
    element(
      "div",
      { class: "field" },
      element("label", { for: access.id }, "Who may read them"),
      access,
      element("p", { class: "hint", id: "access-hint" }, "* for everyone, or for example group:staff, user:ann"),
    ),
  );
}

/**
 * @param {HTMLElement} zone
 * @param {(files: FileList|undefined) => void} take
 */
function acceptDrops(zone, take) {
  zone.addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.classList.add("over");
  });
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    take(event.dataTransfer?.files);
  });
}
