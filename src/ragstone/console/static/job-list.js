/** Jobs and uploads under way: what was read, how far it is, and what could not be read. */

import { button, element } from "./dom.js";
import { errorBox } from "./notices.js";
import { counted, jobStateInWords } from "./words.js";

/**
 * @typedef {import("./types.js").Job} Job
 * @typedef {ReturnType<typeof createJobList>} JobList
 */

/** Of the jobs that went well; what runs or failed is always shown. */
const SHOWN_AT_FIRST = 3;

/** @param {Job} job */
export function isFinished(job) {
  return job.state !== "queued" && job.state !== "running";
}

export function createJobList() {
  const uploads = element("ul", { class: "jobs" });
  const list = element("ul", { class: "jobs" });
  const more = button({ class: "quiet-button", hidden: true }, showAll, "Show all");
  const node = element(
    "section",
    { "aria-labelledby": "jobs-heading", hidden: true },
    element("h2", { id: "jobs-heading" }, "Recent jobs"),
    uploads,
    list,
    more,
  );
  /** @type {Map<string, {row: HTMLElement, drawn: string}>} */
  const rows = new Map();
  let limit = SHOWN_AT_FIRST;

  function showAll() {
    limit = Infinity;
    trim();
  }

  function trim() {
    const all = [...list.children];
    const over = all.filter((row, at) => at >= limit && row.classList.contains("done"));
    for (const row of all) row.toggleAttribute("hidden", over.includes(row));
    more.hidden = over.length === 0;
    more.textContent = `Show all ${all.length}`;
    node.hidden = all.length + uploads.childElementCount === 0;
  }

  /** @param {readonly Job[]} jobs Newest first. Rows that did not change are left alone. */
  function show(jobs) {
    jobs.forEach((job, at) => {
      const known = rows.get(job.id) ?? { row: element("li", { class: "job" }), drawn: "" };
      const drawn = JSON.stringify([job.state, job.counts, job.errors]);
      if (known.drawn !== drawn) drawJob(known.row, job);
      known.drawn = drawn;
      rows.set(job.id, known);
      if (list.children[at] !== known.row) list.insertBefore(known.row, list.children[at] ?? null);
    });
    trim();
  }

  return {
    node,
    show,

    /** @param {string} name A file that is about to be sent. */
    addUpload(name) {
      const row = element("li", { class: "job" }, ...uploadRow(name));
      uploads.append(row);
      trim();
      return {
        /** @param {readonly Job[]} jobs That it became. What a look has shown of them is newer. */
        sent(jobs) {
          row.remove();
          show(jobs.filter((job) => !rows.has(job.id)));
        },
        /**
         * @param {unknown} error
         * @param {() => void} retry
         */
        failed(error, retry) {
          const again = () => {
            row.remove();
            retry();
          };
          row.className = "job failed";
          row.replaceChildren(jobHead(name, "Not uploaded"), errorBox(error, again));
        },
      };
    },
  };
}

/** @param {string} name */
function uploadRow(name) {
  return [jobHead(name, "Uploading"), element("progress", { "aria-label": `Uploading ${name}` })];
}

/**
 * @param {HTMLElement} row
 * @param {Job} job
 */
function drawJob(row, job) {
  row.className = `job ${job.state}`;
  row.replaceChildren(jobHead(job.source_name, jobStateInWords(job.state)));
  if (!isFinished(job)) row.append(progress(job));
  row.append(element("p", { class: "job-counts" }, countsInWords(job)));
  if (job.errors && job.errors.length > 0) row.append(errorList(job.errors));
}

/**
 * @param {string} name
 * @param {string} state
 */
function jobHead(name, state) {
  return element(
    "div",
    { class: "job-head" },
    element("span", { class: "job-name" }, name),
    element("span", { class: "job-state" }, state),
  );
}

/** @param {Job} job */
function progress(job) {
  const { total = 0, added = 0, changed = 0, unchanged = 0, failed = 0 } = job.counts ?? {};
  const finished = added + changed + unchanged + failed;
  return element("progress", {
    "aria-label": `Progress of ${job.source_name}`,
    max: total > 0 ? total : null,
    value: total > 0 ? finished : null,
  });
}

/**
 * @param {Job} job
 * @returns {string} Such as "help · 3 of 10 documents: 2 added, 1 unchanged · 41 chunks".
 */
export function countsInWords(job) {
  const { total = 0, added = 0, changed = 0, unchanged = 0, failed = 0, chunks = 0 } = job.counts ?? {};
  const parts = Object.entries({ added, changed, unchanged, failed })
    .filter(([, count]) => count > 0)
    .map(([what, count]) => `${count.toLocaleString("en")} ${what}`);
  const finished = added + changed + unchanged + failed;
  const documents = isFinished(job)
    ? counted(total, "document")
    : `${finished.toLocaleString("en")} of ${counted(total, "document")}`;
  const read = total > 0 ? `${documents}${parts.length > 0 ? `: ${parts.join(", ")}` : ""}` : "";
  return [job.collection, read, chunks > 0 && counted(chunks, "chunk")].filter(Boolean).join(" · ");
}

/** @param {NonNullable<Job["errors"]>} errors */
function errorList(errors) {
  return element(
    "ul",
    { class: "job-errors" },
    ...errors.map((error) =>
      element(
        "li",
        {},
        element("strong", {}, error.external_id),
        ` ${error.message} `,
        element("code", {}, error.code),
      ),
    ),
  );
}
