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

  function show() {
    select.replaceChildren(
      ...all.map((collection) =>
        element(
          "option",
          { value: collection.name, selected: collection.name === current },
          collection.document_count === null
            ? collection.name
            : `${collection.name} (${collection.document_count.toLocaleString("en")})`,
        ),
      ),
    );
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
      const answer = await api.collections();
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
