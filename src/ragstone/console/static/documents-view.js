/** Documents: upload, watch the jobs, browse, delete. */

import { createDocumentList } from "./document-list.js";
import { element } from "./dom.js";
import { countsInWords, createJobList } from "./job-list.js";
import { createJobWatch } from "./job-watch.js";
import { announce, errorBox } from "./notices.js";
import { createUploadBox } from "./upload-box.js";
import { jobStateInWords } from "./words.js";

/** Uploads at one time; a folder of files waits its turn. */
const AT_ONCE = 2;

/**
 * @param {object} parts
 * @param {HTMLElement} parts.root
 * @param {import("./api.js").Api} parts.api
 * @param {import("./collections.js").Collections} parts.collections
 * @param {import("./sources.js").OpenSource} parts.openSource
 */
export function startDocumentsView({ root, api, collections, openSource }) {
  const jobs = createJobList();
  const jobsFailure = element("div");
  const countsFailure = element("div");
  const documents = createDocumentList({ api, openSource, onDeleted: () => void refresh() });
  const uploads = createUploadBox(({ files, collection, access }) => {
    for (const file of files) upload(file, collection, access);
  });
  const enqueue = createQueue(AT_ONCE);
  const heading = element("h1", { id: "documents-heading", tabindex: -1 }, "Documents");
  root.append(heading, uploads.node, countsFailure, jobsFailure, jobs.node, documents.node);

  const watch = createJobWatch({
    api,
    onJobs(found) {
      jobsFailure.replaceChildren();
      jobs.show(found);
    },
    onFinished(job) {
      announce(`${job.source_name}: ${jobStateInWords(job.state)}. ${countsInWords(job)}`);
      void refresh();
      documents.reload();
    },
    onError: (error) => jobsFailure.replaceChildren(errorBox(error, () => void watch.look())),
  });

  /** The counts change with every job and deletion. */
  async function refresh() {
    try {
      await collections.refresh();
      countsFailure.replaceChildren();
    } catch (error) {
      countsFailure.replaceChildren(errorBox(error, () => void refresh()));
    }
  }

  /**
   * Shown from now on, also while it waits its turn.
   *
   * @param {File} file
   * @param {string} collection
   * @param {string[]} access
   */
  function upload(file, collection, access) {
    const row = jobs.addUpload(file.name);
    enqueue(async () => {
      try {
        const accepted = await api.upload(file, collection, access);
        row.sent(accepted.jobs);
        watch.follow(accepted.jobs);
      } catch (error) {
        row.failed(error, () => upload(file, collection, access));
      }
    });
  }

  function show() {
    const current = collections.current();
    uploads.setCollections(collections.all().map((each) => each.name), current);
    documents.show(current);
  }

  collections.onChange(show);
  return {
    focus: () => heading.focus(),
    /** Called when the section comes into view. */
    enter() {
      void watch.look();
      documents.reload();
    },
  };
}

/**
 * @param {number} atOnce
 * @returns {(task: () => Promise<void>) => void}
 */
function createQueue(atOnce) {
  /** @type {(() => Promise<void>)[]} */
  const waiting = [];
  let running = 0;

  function next() {
    if (running >= atOnce) return;
    const task = waiting.shift();
    if (!task) return;
    running += 1;
    void task().finally(() => {
      running -= 1;
      next();
    });
  }

  return (task) => {
    waiting.push(task);
    next();
  };
}
