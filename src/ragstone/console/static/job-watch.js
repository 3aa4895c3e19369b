/** Following jobs until they end. */

import { ApiError } from "./errors.js";
import { isFinished } from "./job-list.js";

/** @typedef {import("./types.js").Job} Job */

/** Milliseconds between two looks: quick at first, since most jobs are short. */
const FIRST_WAIT = 400;
const LONGEST_WAIT = 4000;

/**
 * @param {object} options
 * @param {import("./api.js").Api} options.api
 * @param {(jobs: readonly Job[]) => void} options.onJobs Newest first, at every look.
 * @param {(job: Job) => void} options.onFinished For each job that was seen running.
 * @param {(error: unknown) => void} options.onError Watching has then ended.
 */
export function createJobWatch({ api, onJobs, onFinished, onError }) {
  /** @type {Map<string, Job>} Not yet finished when last seen. */
  const unfinished = new Map();
  /** @type {Map<string, Job>} Seen to end here. */
  const ended = new Map();
  let timer = 0;
  let wait = FIRST_WAIT;
  let looking = false;
  let again = false;

  /** One look at a time, so that none shows what was true before another: who asks during one gets the next. */
  async function look() {
    clearTimeout(timer);
    again = looking;
    if (looking) return;
    looking = true;
    await lookOnce();
    looking = false;
    if (again) void look();
  }

  async function lookOnce() {
    try {
      const jobs = await jobsToShow();
      const listed = new Set(jobs.map((job) => job.id));
      const missing = [...unfinished.keys()].filter((id) => !listed.has(id));
      const others = await Promise.all(missing.map(jobUnlessForgotten));
      take([...jobs, ...others.filter((job) => job !== null)]);
    } catch (error) {
      onError(error);
    }
  }

  /**
   * Only admins may list everybody's jobs; others see those that were submitted here.
   * @returns {Promise<readonly Job[]>}
   */
  async function jobsToShow() {
    try {
      return (await api.jobs()).jobs;
    } catch (error) {
      if (!(error instanceof ApiError) || error.code !== "forbidden") throw error;
      return [...ended.values()].reverse();
    }
  }

  /**
   * @param {string} id
   * @returns {Promise<Job|null>}
   */
  async function jobUnlessForgotten(id) {
    try {
      return await api.job(id);
    } catch (error) {
      if (!(error instanceof ApiError) || error.code !== "unknown_job") throw error;
      unfinished.delete(id);
      return null;
    }
  }

  /** @param {readonly Job[]} jobs */
  function take(jobs) {
    onJobs(jobs);
    for (const job of jobs) {
      if (!isFinished(job)) unfinished.set(job.id, job);
      else if (unfinished.delete(job.id)) {
        ended.set(job.id, job);
        onFinished(job);
      }
    }
    if (unfinished.size > 0 && !again) {
      timer = setTimeout(look, wait);
      wait = Math.min(wait * 1.5, LONGEST_WAIT);
    }
  }

  return {
    look,
    /** @param {readonly Job[]} jobs Just acknowledged by the server. */
    follow(jobs) {
      for (const job of jobs) if (!ended.has(job.id)) unfinished.set(job.id, job);
      wait = FIRST_WAIT;
      void look();
    },
  };
}
