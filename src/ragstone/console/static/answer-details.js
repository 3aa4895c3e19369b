/** "How this answer was made": the time of every stage, tokens, cost, model, trace. */

import { element } from "./dom.js";
import { costAtAGlance, receiptInWords } from "./receipt.js";
import { counted, duration, stageInWords } from "./words.js";

/**
 * @param {import("./types.js").Answer} answer
 * @returns {HTMLElement}
 */
export function answerDetails(answer) {
  const { total, ...stages } = answer.timings_ms;
  const sum = Object.values(stages).reduce((before, each) => before + each, 0);
  const glance = [duration(total ?? sum), ...costAtAGlance(answer)].join(", ");
  return element(
    "details",
    { class: "making" },
    element("summary", {}, `How this answer was made (${glance})`),
    timings(stages),
    facts(answer),
  );
}

/** @param {Record<string, number>} stages Milliseconds. */
function timings(stages) {
  const longest = Math.max(...Object.values(stages), 0.001);
  const rows = Object.entries(stages).map(([stage, milliseconds]) => {
    const bar = element("span", { class: "bar" });
    // Through the object model: a style attribute is what the content security policy forbids.
    bar.style.setProperty("--share", String(milliseconds / longest));
    return element(
      "tr",
      {},
      element("th", { scope: "row" }, stageInWords(stage)),
      element("td", { class: "bar-cell" }, bar),
      element("td", { class: "number" }, duration(milliseconds)),
    );
  });
  return element(
    "table",
    { class: "timings" },
    element("caption", { class: "visually-hidden" }, "Time by stage"),
    element("tbody", {}, ...rows),
  );
}

/** @param {import("./types.js").Answer} answer */
function facts(answer) {
  return element(
    "dl",
    { class: "facts" },
    ...fact("Written by", answer.model === "extractive" ? "no model: sentences of the documents" : answer.model),
    ...fact("Collection", answer.collection),
    ...fact("Tokens", tokens(answer.usage)),
    ...receiptInWords(answer).flatMap(([name, value]) => fact(name, value)),
    ...(answer.notices ?? []).flatMap((each) => fact("Because", [each.message, each.code].filter(Boolean).join(" · "))),
    ...fact("Trace", element("code", {}, answer.trace_id)),
  );
}

/**
 * @param {string} name
 * @param {Node|string} value
 */
function fact(name, value) {
  return [element("dt", {}, name), element("dd", {}, value)];
}

/** @param {import("./types.js").Usage} usage */
function tokens(usage) {
  const parts = [`${counted(usage.input_tokens ?? 0, "token")} in`, `${usage.output_tokens ?? 0} out`];
  if (usage.cached_input_tokens) parts.push(`${usage.cached_input_tokens} of them cached`);
  if (usage.embedding_tokens) parts.push(`${usage.embedding_tokens} embedded`);
  if (usage.estimated) parts.push("estimated");
  return parts.join(", ");
}
