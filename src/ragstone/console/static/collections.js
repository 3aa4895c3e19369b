/** Which collections there are, and which one is asked. */

import { element } from "./dom.js";
import { remember, remembered } from "./storage.js";

/**
 * @typedef {import("./types.js").Collection} Collection
 * @typedef {ReturnType<typeof createCollections>} Collections
 */

/**
 * @param {import("./api.js").Api} api
 * @param {HTMLElement} picker
 * @param {HTMLSelectElement} select
 */
export function createCollections(api, picker, select) {
  /** @type {Collection[]} */
  let all = [];
  /** @type {string|null} */
  let current = null;
  /** @type {Set<() => void>} */
  const listeners = new Set();
  /** Requests so far, and the one whose answer is shown: what an older one brings is no news. */
  let asked = 0;
  let answered = 0;
  let drawn = "";

  function show() {
    const choices = JSON.stringify(all.map(({ name, document_count: count }) => [name, count]));
    // Drawn again, the list would change under the hand of whoever has it open.
    if (choices !== drawn) select.replaceChildren(...all.map(choice));
    drawn = choices;
    if (current !== null) select.value = current;
    picker.hidden = all.length === 0;
    for (const listener of listeners) listener();
  }

  /** @param {string} name */
  function pick(name) {
    current = name;
    remember("collection", name);
    show();
  }

  select.addEventListener("change", () => pick(select.value));

  return {
    all: () => all,
    /** @returns {string|null} Null when there is none. */
    current: () => current,
    pick,

    /** Reads them again; keeps the choice while it exists. */
    async refresh() {
      const mine = (asked += 1);
      const answer = await api.collections().catch((error) => {
        if (mine > answered) throw error;
      });
      if (!answer || mine < answered) return;
      answered = mine;
      all = answer.collections;
      const names = new Set(all.map((collection) => collection.name));
      const wishes = [current, remembered("collection"), answer.default, all[0]?.name];
      current = wishes.find((name) => typeof name === "string" && names.has(name)) ?? null;
      show();
    },

    /** @param {() => void} listener Called after every change. */
    onChange(listener) {
      listeners.add(listener);
    },
  };
}

/** @param {Collection} collection */
function choice({ name, document_count: count }) {
  return element("option", { value: name }, count === null ? name : `${name} (${count.toLocaleString("en")})`);
}
