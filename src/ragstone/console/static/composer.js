/** The question box: Enter sends, Shift+Enter begins a line, and a button stops the answer. */

import { button, element } from "./dom.js";
import { icon } from "./icons.js";

/** @typedef {ReturnType<typeof createComposer>} Composer */

/**
 * @param {object} actions
 * @param {(question: string) => void} actions.send
 * @param {() => void} actions.stop
 */
export function createComposer({ send, stop }) {
  const input = element("textarea", {
    id: "question",
    rows: 1,
    placeholder: "Ask a question",
    "aria-describedby": "question-hint",
    autocomplete: "off",
  });
  const sendButton = element(
    "button",
    { type: "submit", class: "round-button primary", "aria-label": "Send", title: "Send" },
    icon("send"),
  );
  const stopButton = button(
    { class: "round-button", "aria-label": "Stop", title: "Stop", hidden: true },
    // It stands where the send button was: the second half of a double click was meant for that.
    (event) => {
      if (event.detail < 2) stop();
    },
    icon("stop"),
  );
  const form = element(
    "form",
    { class: "composer" },
    element("label", { class: "visually-hidden", for: "question" }, "Your question"),
    input,
    sendButton,
    stopButton,
  );
  const hint = element(
    "p",
    { class: "hint", id: "question-hint" },
    element("span", { class: "keys-hint" }, "Enter sends, Shift+Enter begins a new line. "),
    "Answers cite the documents: check what matters.",
  );
  let streaming = false;

  function grow() {
    // Where `field-sizing` is not known.
    input.style.setProperty("height", "auto");
    input.style.setProperty("height", `${input.scrollHeight}px`);
  }

  function submit() {
    const question = input.value.trim();
    if (question === "" || streaming) return;
    input.value = "";
    grow();
    send(question);
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  input.addEventListener("input", grow);
  input.addEventListener("keydown", (event) => {
    // An input method uses Enter to choose a word.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    submit();
  });

  return {
    node: element("div", { class: "composer-bar", hidden: true }, form, hint),
    /** Not on touch screens, where it would open the keyboard over the answer. */
    focus() {
      if (matchMedia("(hover: hover)").matches) input.focus();
    },

    /** @param {boolean} present Whether an answer is arriving, which can be stopped. */
    setStreaming(present) {
      streaming = present;
      const hadFocus = document.activeElement === sendButton || document.activeElement === stopButton;
      sendButton.hidden = present;
      stopButton.hidden = !present;
      if (hadFocus) (present ? stopButton : input).focus();
    },
  };
}
