/** What the feed's events make of the jobs: one start, progress that never falls, one end. */

/** @import { FeedEvent, Job, Jobs, JobStatus } from "./types.mjs" */

/** Ended jobs beyond this many are forgotten, oldest first. */
const KEEP_ENDED = 30;

/** @type {Record<string, JobStatus>} */
const STATUS_WORDS = {
  pending: "queued",
  queued: "queued",
  running: "processing",
  retrying: "processing",
  processing: "processing",
  succeeded: "completed",
  completed: "completed",
  failed: "failed",
  cancelled: "cancelled",
};

/** @param {Job | undefined | null} job */
export const isEnded = (job) =>
  job?.status === "completed" || job?.status === "failed" || job?.status === "cancelled";

/**
 * @param {string} id
 * @param {Partial<Job>} [fields]
 * @returns {Job}
 */
export function newJob(id, fields = {}) {
  return {
    id,
    kind: null,
    status: "queued",
    progress: 0,
    step: null,
    steps: null,
    etaS: null,
    message: null,
    preview: null,
    images: [],
    error: null,
    info: null,
    durationS: null,
    ...fields,
  };
}

/**
 * The jobs after `event`; the same object when it changes nothing (other types, no id, already ended).
 * @param {Jobs} jobs
 * @param {FeedEvent} event
 * @returns {Jobs}
 */
export function applyEvent(jobs, event) {
  const { data } = event;
  const id = typeof data.job_id === "string" ? data.job_id : "";
  if (!id || isEnded(jobs[id])) return jobs;
  const before = jobs[id] ?? newJob(id);
  const kind = textOr(data.kind, before.kind);
  const status = STATUS_WORDS[String(data.status)];
  if (event.type === "generation_started") {
    return { ...jobs, [id]: { ...before, kind, status: "processing", etaS: numberOr(data.estimated_duration, before.etaS) } };
  }
  if (event.type === "progress_update") {
    return {
      ...jobs,
      [id]: {
        ...before,
        kind,
        // The end has its own event, which also brings the pictures.
        status: status && !isEnded({ ...before, status }) ? status : before.status,
        progress: Math.max(before.progress, Math.min(1, numberOr(data.progress, 0) ?? 0)),
        step: numberOr(data.current_step, before.step),
        steps: numberOr(data.total_steps, before.steps),
        etaS: numberOr(data.eta_seconds, null),
        message: textOr(data.message, before.message),
        preview: textOr(data.preview_image, before.preview),
        error: textOr(data.error_message, before.error),
      },
    };
  }
  if (event.type === "generation_complete") {
    const ended = status && isEnded({ ...before, status }) ? status : data.error_message ? "failed" : "completed";
    return prune({
      ...jobs,
      [id]: {
        ...before,
        kind,
        status: ended,
        progress: ended === "completed" ? 1 : before.progress,
        etaS: null,
        message: textOr(data.message, before.message),
        preview: null,
        images: Array.isArray(data.images) ? data.images.filter((image) => typeof image === "string") : [],
        error: textOr(data.error_message, null),
        info: data.generation_info ?? null,
        durationS: numberOr(data.total_duration, null),
      },
    });
  }
  return jobs;
}

/**
 * The feed event that a stored job amounts to, for one whose end was missed while the line was down.
 * @param {any} delivery the `delivery` of `GET /generation/jobs/{id}`
 * @returns {FeedEvent | null}
 */
export function eventOfDelivery(delivery) {
  const status = STATUS_WORDS[String(delivery?.status)];
  if (typeof delivery?.id !== "string" || !status) return null;
  const result = delivery.result ?? {};
  const ended = status === "completed" || status === "failed" || status === "cancelled";
  return {
    type: ended ? "generation_complete" : "progress_update",
    data: {
      job_id: delivery.id,
      status,
      progress: delivery.progress ?? 0,
      images: result.images,
      generation_info: result.generation_info,
      error_message: result.error_message ?? delivery.error ?? delivery.error_message ?? null,
    },
  };
}

/** @param {Jobs} jobs */
function prune(jobs) {
  const ended = Object.keys(jobs).filter((id) => isEnded(jobs[id]));
  const forget = new Set(ended.slice(0, Math.max(0, ended.length - KEEP_ENDED)));
  return forget.size ? Object.fromEntries(Object.entries(jobs).filter(([id]) => !forget.has(id))) : jobs;
}

/**
 * @param {unknown} value
 * @param {string | null} otherwise
 */
const textOr = (value, otherwise) => (typeof value === "string" && value ? value : otherwise);

/**
 * @param {unknown} value
 * @param {number | null} otherwise
 */
const numberOr = (value, otherwise) => (typeof value === "number" && Number.isFinite(value) ? value : otherwise);
