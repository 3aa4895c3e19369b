/** Server-sent events from a fetched body (WHATWG HTML, 9.2.6), which EventSource cannot POST. */

/** @typedef {{name: string, data: string}} ServerSentEvent */

/**
 * Every event of the stream, in order. Comments, `id` and `retry` are passed over.
 *
 * @param {ReadableStream<Uint8Array>} body
 * @returns {AsyncGenerator<ServerSentEvent, void, void>}
 */
export async function* serverSentEvents(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  /** @type {string[]} */
  let data = [];
  let name = "message";
  let pending = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      pending += done ? decoder.decode() : decoder.decode(value, { stream: true });
      const { lines, rest } = completeLines(pending, done);
      pending = rest;
      for (const line of lines) {
        if (line === "") {
          if (data.length > 0) yield { name, data: data.join("\n") };
          data = [];
          name = "message";
        } else if (line.startsWith("data:")) {
          data.push(valueOf(line));
        } else if (line.startsWith("event:")) {
          name = valueOf(line);
        }
      }
      if (done) return;
    }
  } finally {
    // Also when the consumer leaves early. The stream may have failed already: nothing is lost.
    reader.cancel().catch(() => undefined);
  }
}

/** @param {string} line */
function valueOf(line) {
  return line.slice(line.indexOf(":") + 1).replace(/^ /, "");
}

/**
 * A carriage return at the very end may be half of a pair, so it waits for the next piece.
 *
 * @param {string} text
 * @param {boolean} atEnd
 * @returns {{lines: string[], rest: string}}
 */
function completeLines(text, atEnd) {
  const held = !atEnd && text.endsWith("\r") ? "\r" : "";
  const lines = text.slice(0, text.length - held.length).split(/\r\n|\n|\r/);
  const rest = (lines.pop() ?? "") + held;
  return { lines, rest };
}
