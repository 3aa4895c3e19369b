/** What an answer cost, what it would have cost, and whether it was made before: in words. */

import { counted, waitInWords } from "./words.js";

const NANODOLLARS = 1e9;

/** @type {Record<string, string>} */
const SAVINGS = {
  answer_cache: "by an answer made before",
  shared: "by sharing the answer",
  prompt_cache: "by the provider's prompt cache",
  routing: "by the choice of the model",
  compression: "by sending fewer sentences",
};

/** @type {Record<string, string>} */
const STANDINGS = {
  economy: "nearly spent, so the cheapest model is asked",
  exhausted: "spent, or too little left of it to ask a model",
};

/**
 * @param {number} nanodollars
 * @returns {string} With at least two digits that count: "$0.00042", "$0.02", "$1.50".
 */
export function dollars(nanodollars) {
  const amount = nanodollars / NANODOLLARS;
  if (amount === 0) return "$0";
  if (amount >= 0.1) return `$${amount.toFixed(2)}`;
  return `$${amount.toFixed(Math.min(9, 1 - Math.floor(Math.log10(amount))))}`;
}

/**
 * @param {import("./types.js").Answer} answer
 * @returns {string[]} For the line that is always seen; empty where nothing was paid or saved.
 */
export function costAtAGlance({ cache, receipt }) {
  const found = { hit: "made before", joined: "shared" }[cache ?? ""];
  return [receipt?.nanodollars ? dollars(receipt.nanodollars) : "", found ?? ""].filter(Boolean);
}

/**
 * @param {import("./types.js").Answer} answer
 * @returns {[string, string][]} Names and values, of what there is something to say.
 */
export function receiptInWords({ cache, cache_age_seconds: age, receipt }) {
  /** @type {[string, string][]} */
  const facts = [];
  if (cache === "hit") {
    const since = age === null || age === undefined ? "earlier" : `${waitInWords(Math.ceil(age))} ago`;
    facts.push(["Cache", `made ${since} for an equal question, and still true`]);
  }
  if (cache === "joined") facts.push(["Cache", "made for several who asked the same at the same time"]);
  if (!receipt) return facts;
  if (receipt.charges?.length) facts.push(["Cost", cost(receipt)]);
  for (const [kind, saved] of Object.entries(receipt.saved_nanodollars ?? {})) {
    facts.push(["Saved", `${dollars(saved)} ${SAVINGS[kind] ?? ""}`.trim()]);
  }
  const standing = STANDINGS[receipt.standing ?? ""];
  if (standing) facts.push(["Budget", standing]);
  return facts;
}

/** @param {import("./types.js").Receipt} receipt */
function cost({ nanodollars, charges = [], shared_by: shared = 1 }) {
  const parts = [nanodollars ? dollars(nanodollars) : "nothing: what was asked is free"];
  if (charges.length > 1) parts.push(`in ${counted(charges.length, "call")}`);
  if (shared > 1) parts.push(`shared by ${shared}`);
  return parts.join(", ");
}
