/** The HTTP API: the only module that sends requests. */

import { brokenOff, connectionLost, fromServer, isAbort, notUnderstood } from "./errors.js";
import { serverSentEvents } from "./sse.js";

/**
 * @typedef {import("./types.js").AnswerEvent} AnswerEvent
 * @typedef {import("./types.js").Collection} Collection
 * @typedef {import("./types.js").StoredDocument} StoredDocument
 * @typedef {import("./types.js").Job} Job
 * @typedef {import("./types.js").Passage} Passage
 * @typedef {import("./types.js").Status} Status
 *
 * @typedef {object} Keyring
 * @property {() => Attempt} attempt For one request.
 *
 * @typedef {object} Attempt
 * @property {string|null} key To send it with.
 * @property {(reason: string) => Promise<boolean>} renew Called when that was refused. Whether there is
 *   another key to try with.
 *
 * @typedef {object} RequestOptions
 * @property {string} [method]
 * @property {BodyInit} [body]
 * @property {Record<string, string>} [headers]
 * @property {AbortSignal} [signal]
 *
 * @typedef {ReturnType<typeof createApi>} Api
 */

/**
 * @param {Keyring} keyring
 * @param {(reachable: boolean) => void} onReachable Told after every attempt.
 */
export function createApi(keyring, onReachable) {
  /**
   * @param {string} path
   * @param {RequestOptions} [options]
   * @returns {Promise<Response>} Successful; everything else is thrown.
   */
  async function request(path, options = {}) {
    for (;;) {
      const { key, renew } = keyring.attempt();
      const response = await send(path, withKey(key, options));
      if (response.ok) return response;
      const error = await errorOf(response);
      if (response.status === 401 && (await renew(error.message))) continue;
      throw error;
    }
  }

  /**
   * @param {string} path
   * @param {RequestOptions} options
   */
  async function send(path, options) {
    try {
      // Relative to the page, so that a proxy may serve everything below a prefix.
      const response = await fetch(new URL(path, document.baseURI), { cache: "no-store", ...options });
      onReachable(true);
      return response;
    } catch (error) {
      if (isAbort(error)) throw error;
      onReachable(false);
      throw connectionLost();
    }
  }

  /**
   * @param {string} path
   * @param {RequestOptions} [options]
   * @returns {Promise<any>}
   */
  async function json(path, options) {
    const response = await request(path, options);
    try {
      return await response.json();
    } catch (error) {
      throw error instanceof SyntaxError ? notUnderstood() : isAbort(error) ? error : connectionLost();
    }
  }

  return {
    /**
     * For looks in the background: never asks for a key.
     *
     * @returns {Promise<Status>}
     */
    async status() {
      const response = await send("v1/status", withKey(keyring.attempt().key, {}));
      if (!response.ok) throw await errorOf(response);
      return response.json();
    },

    /** @returns {Promise<{collections: Collection[], default: string}>} */
    collections: () => json("v1/collections"),

    /**
     * @param {string} collection
     * @param {string|null} after
     * @returns {Promise<{documents: StoredDocument[], next: string|null}>}
     */
    documents(collection, after) {
      const query = new URLSearchParams({ collection, ...(after ? { after } : {}) });
      return json(`v1/documents?${query}`);
    },

    /**
     * @param {string} id
     * @param {AbortSignal} [signal]
     * @returns {Promise<{document: StoredDocument, text: string}>}
     */
    document: (id, signal) => json(`v1/documents/${encodeURIComponent(id)}`, { signal }),

    /** @param {string} id */
    async deleteDocument(id) {
      await request(`v1/documents/${encodeURIComponent(id)}`, { method: "DELETE" });
    },

    /**
     * @param {File} file
     * @param {string} collection
     * @param {string[]} access
     * @returns {Promise<{jobs: Job[]}>}
     */
    upload(file, collection, access) {
      const form = new FormData();
      form.append("collection", collection);
      for (const entry of access) form.append("access", entry);
      form.append("file", file, file.name);
      return json("v1/documents", { method: "POST", body: form });
    },

    /** @returns {Promise<{jobs: Job[]}>} */
    jobs: () => json("v1/jobs"),

    /**
     * @param {string} id
     * @returns {Promise<Job>}
     */
    job: (id) => json(`v1/jobs/${encodeURIComponent(id)}`),

    /**
     * @param {{query: string, collection: string, top_k: number, mode: string}} search
     * @param {AbortSignal} [signal]
     * @returns {Promise<{passages: Passage[], degraded?: string[], timings_ms?: Record<string, number>}>}
     */
    search: (search, signal) => json("v1/search", { ...posted(search), signal }),

    /**
     * The events of one answer. Ends after `done`; every other end is thrown.
     *
     * @param {object} question
     * @param {AbortSignal} signal
     * @returns {AsyncGenerator<AnswerEvent, void, void>}
     */
    async *answers(question, signal) {
      const response = await request("v1/answers", { ...posted({ ...question, stream: true }), signal });
      if (response.body === null) throw notUnderstood();
      try {
        for await (const { name, data } of serverSentEvents(response.body)) {
          const event = parsed(data);
          if (name === "error") throw fromServer(event.error, "The answer failed.");
          yield event;
          if (event.type === "done") return;
        }
      } catch (error) {
        // A body that breaks off is a TypeError in every browser.
        throw error instanceof TypeError ? brokenOff() : error;
      }
      throw brokenOff();
    },
  };
}

/**
 * @param {string|null} key
 * @param {RequestOptions} options
 * @returns {RequestOptions}
 */
function withKey(key, options) {
  return key === null ? options : { ...options, headers: { ...options.headers, Authorization: `Bearer ${key}` } };
}

/**
 * @param {object} body
 * @returns {RequestOptions}
 */
function posted(body) {
  return {
    method: "POST",
    body: JSON.stringify(body),
    headers: { "Content-Type": "application/json" },
  };
}

/** @param {string} data */
function parsed(data) {
  try {
    return JSON.parse(data);
  } catch {
    throw notUnderstood();
  }
}

/** @param {Response} response */
async function errorOf(response) {
  const otherwise = `The server answered with status ${response.status}.`;
  try {
    return fromServer((await response.json())?.error, otherwise);
  } catch (error) {
    if (isAbort(error)) throw error;
    return fromServer(null, otherwise);
  }
}
