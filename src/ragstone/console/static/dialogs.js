/** Modal dialogs. The element keeps focus inside, closes on Esc and gives focus back. */

import { button, element } from "./dom.js";

let identifiers = 0;

/**
 * @param {string} title
 * @param {string} className
 * @returns {{dialog: HTMLDialogElement, heading: HTMLElement}} Named by its heading, not yet shown.
 */
export function createDialog(title, className) {
  const id = `dialog-${(identifiers += 1)}`;
  const heading = element("h2", { id }, title);
  const dialog = element("dialog", { class: className, "aria-labelledby": id });
  dialog.addEventListener("mousedown", (event) => {
    if (event.target === dialog && !isSecondHalf(event) && isOutside(dialog, event)) dialog.close();
  });
  return { dialog, heading };
}

/**
 * Of a double click, which was meant for what opened the dialog.
 *
 * @param {MouseEvent} event
 */
function isSecondHalf(event) {
  return event.detail > 1;
}

/**
 * The backdrop belongs to the dialog element, so a click on it is told by its place.
 *
 * @param {HTMLElement} dialog
 * @param {MouseEvent} event
 */
function isOutside(dialog, event) {
  const box = dialog.getBoundingClientRect();
  return (
    event.clientX < box.left ||
    event.clientX > box.right ||
    event.clientY < box.top ||
    event.clientY > box.bottom
  );
}

/**
 * Shows it, and removes it when it has closed.
 *
 * @param {HTMLDialogElement} dialog
 * @returns {Promise<void>} When it has closed.
 */
export function shownUntilClosed(dialog) {
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve();
    });
  });
}

/**
 * @param {object} words
 * @param {string} words.title
 * @param {string} words.text
 * @param {string} words.action What the confirming button says.
 * @returns {Promise<boolean>}
 */
export async function confirmed({ title, text, action }) {
  const { dialog, heading } = createDialog(title, "message-dialog");
  let agreed = false;
  const cancel = button({ class: "button", autofocus: true }, () => dialog.close(), "Cancel");
  const agree = button(
    { class: "button danger" },
    (event) => {
      if (isSecondHalf(event)) return;
      agreed = true;
      dialog.close();
    },
    action,
  );
  dialog.append(heading, element("p", {}, text), element("div", { class: "actions" }, cancel, agree));
  await shownUntilClosed(dialog);
  return agreed;
}

/**
 * @param {string} reason What the server said.
 * @returns {Promise<string|null>} The key that was typed, or null.
 */
export async function askForKey(reason) {
  const { dialog, heading } = createDialog("This server asks for an API key", "message-dialog");
  const input = element("input", {
    id: "api-key",
    type: "password",
    autocomplete: "off",
    spellcheck: "false",
    required: true,
    autofocus: true,
  });
  /** @type {string|null} */
  let key = null;
  const form = element(
    "form",
    {},
    element("label", { for: "api-key" }, "API key"),
    input,
    element("p", { class: "hint" }, "It is kept in this tab only, and forgotten when the tab closes."),
    element(
      "div",
      { class: "actions" },
      button({ class: "button" }, () => dialog.close(), "Cancel"),
      element("button", { type: "submit", class: "button primary" }, "Use this key"),
    ),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    key = input.value.trim() || null;
    dialog.close();
  });
  dialog.append(heading, element("p", {}, reason), form);
  await shownUntilClosed(dialog);
  return key;
}
