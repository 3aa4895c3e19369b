/** A failure as the page shows it: what happened, and what to do. */

export class ApiError extends Error {
  /**
   * @param {object} details
   * @param {string} details.code
   * @param {string} details.message
   * @param {string|null} [details.remedy]
   * @param {number|null} [details.retryAfter] Seconds.
   * @param {string|null} [details.traceId]
   */
  constructor({ code, message, remedy = null, retryAfter = null, traceId = null }) {
    super(message);
    this.name = "ApiError";
    this.code = code;
    this.remedy = remedy;
    this.retryAfter = retryAfter;
    this.traceId = traceId;
  }
}

/** @returns {ApiError} */
export function connectionLost() {
  return new ApiError({
    code: "connection_lost",
    message: "The server cannot be reached.",
    remedy: "Check that it is running and that this device is online, then try again.",
  });
}

/** @returns {ApiError} */
export function brokenOff() {
  return new ApiError({
    code: "connection_lost",
    message: "The connection was lost before the answer was complete.",
    remedy: "What has arrived is kept above. Ask again for the whole answer.",
  });
}

/** @returns {ApiError} */
export function notUnderstood() {
  return new ApiError({
    code: "protocol_error",
    message: "The server sent something that this page does not understand.",
    remedy: "Reload the page. If that does not help, something between here and the server changes its answers.",
  });
}

/**
 * The `error` member of a response or of an event. A proxy may have answered instead.
 *
 * @param {any} error
 * @param {string} otherwise What to say when it is not in the form that Ragstone sends.
 * @returns {ApiError}
 */
export function fromServer(error, otherwise) {
  const told = typeof error === "object" && error !== null ? error : {};
  return new ApiError({
    code: String(told.code ?? "unknown"),
    message: String(told.message ?? otherwise),
    remedy: told.remedy ? String(told.remedy) : null,
    retryAfter: typeof told.retry_after === "number" ? told.retry_after : null,
    traceId: told.trace_id ? String(told.trace_id) : null,
  });
}

/**
 * @param {unknown} error
 * @returns {ApiError} Faults of the page itself are shown too, never hidden.
 */
export function asApiError(error) {
  if (error instanceof ApiError) return error;
  console.error(error);
  return new ApiError({
    code: "page_error",
    message: "Something went wrong in this page.",
    remedy: error instanceof Error ? error.message : null,
  });
}

/**
 * @param {unknown} error
 * @returns {boolean} Whether someone pressed stop or left.
 */
export function isAbort(error) {
  return error instanceof DOMException && error.name === "AbortError";
}
