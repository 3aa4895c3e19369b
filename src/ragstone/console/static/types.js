/**
 * What the HTTP API sends, as far as the page reads it. Types only.
 *
 * @typedef {{fused: number, dense?: number|null, lexical?: number|null}} Scores
 *
 * @typedef {object} Passage
 * @property {string} chunk_id
 * @property {string} document_id
 * @property {string} external_id
 * @property {string} title
 * @property {string} text
 * @property {number} start Offset into the document's text, in code points.
 * @property {number} end
 * @property {string[]} [heading_path] Left out when empty.
 * @property {number|null} [page]
 * @property {Scores} scores
 *
 * @typedef {object} Citation
 * @property {number} number
 * @property {string} document_id
 * @property {string} external_id
 * @property {string} chunk_id
 * @property {string} title
 * @property {number|null} page
 * @property {{start: number, end: number}} span In code points.
 * @property {number} score
 * @property {string} text
 *
 * @typedef {object} Usage
 * @property {number} [input_tokens]
 * @property {number} [output_tokens]
 * @property {number} [cached_input_tokens]
 * @property {number} [embedding_tokens]
 * @property {boolean} [estimated]
 *
 * @typedef {object} Receipt What an answer cost whoever asked, in nano-dollars.
 * @property {number} nanodollars
 * @property {{kind: string, model: string}[]} [charges] Every call.
 * @property {Record<string, number>} [saved_nanodollars]
 * @property {number} [shared_by]
 * @property {"normal"|"economy"|"exhausted"} [standing] Of the budgets.
 *
 * @typedef {object} Answer
 * @property {string} answer
 * @property {"generated"|"extractive"|"passages"|"not_found"} answer_kind
 * @property {Citation[]} citations
 * @property {Passage[]} passages
 * @property {Usage} usage
 * @property {Record<string, number>} timings_ms
 * @property {string[]} degraded
 * @property {{code: string, message: string}[]} [notices] The errors behind `degraded`.
 * @property {"hit"|"miss"|"joined"|"off"} [cache] `hit`: made for an earlier, equal question.
 * @property {number|null} [cache_age_seconds] Of a hit.
 * @property {Receipt} [receipt]
 * @property {string} collection
 * @property {string} model
 * @property {string} trace_id
 *
 * @typedef {{type: "passages", passages: Passage[], trace_id: string, degraded?: string[]}} PassagesEvent
 * @typedef {{type: "delta", text: string}} DeltaEvent
 * @typedef {{type: "citations", citations: Citation[]}} CitationsEvent
 * @typedef {{type: "done", answer: Answer}} DoneEvent
 * @typedef {PassagesEvent|DeltaEvent|CitationsEvent|DoneEvent} AnswerEvent
 *
 * @typedef {{role: "user"|"assistant", content: string}} Turn
 *
 * @typedef {object} Collection
 * @property {string} name
 * @property {number|null} document_count Null where the key has no scope `admin`.
 * @property {number|null} chunk_count
 *
 * @typedef {object} StoredDocument
 * @property {string} id
 * @property {string} external_id
 * @property {string} title
 * @property {number} version
 * @property {number} chunk_count
 * @property {number} character_count
 * @property {string} [collection]
 * @property {number} [updated_at] Unix seconds.
 *
 * @typedef {object} JobCounts
 * @property {number} [total]
 * @property {number} [added]
 * @property {number} [changed]
 * @property {number} [unchanged]
 * @property {number} [failed]
 * @property {number} [chunks]
 *
 * @typedef {object} Job
 * @property {string} id
 * @property {string} [collection]
 * @property {"queued"|"running"|"done"|"done_with_errors"|"failed"} state
 * @property {string} source_name
 * @property {JobCounts} [counts]
 * @property {{external_id: string, code: string, message: string}[]} [errors]
 *
 * @typedef {object} Status How the server is doing, as far as it says so to everybody.
 * @property {string|null} rung The last rung that load has taken.
 * @property {{name: string, breaker: "closed"|"half_open"|"open"}[]} dependencies
 *
 * @typedef {"hybrid"|"dense"|"lexical"} SearchMode
 */

export {};
