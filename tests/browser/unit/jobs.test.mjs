import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { applyEvent, eventOfDelivery, isEnded } from "../../../javascript/lib/jobs.mjs";

/** @import { FeedEvent, Jobs } from "../../../javascript/lib/types.mjs" */

/** @param {string} type @param {Record<string, unknown>} [data] @returns {FeedEvent} */
const event = (type, data = {}) => ({ type, data: { job_id: "j", ...data } });

/** @param {...FeedEvent} events @returns {Jobs} */
const after = (...events) => events.reduce(applyEvent, /** @type {Jobs} */ ({}));

describe("applyEvent", () => {
  it("follows a job from start to picture", () => {
    const { j } = after(
      event("generation_started", { kind: "generation", estimated_duration: 4 }),
      event("progress_update", { progress: 0.5, current_step: 10, total_steps: 20, eta_seconds: 2, status: "processing" }),
      event("generation_complete", { status: "completed", images: ["/v1/results/r/images/0"], generation_info: { seed: 7 }, total_duration: 4.2 }),
    );
    assert.deepEqual([j.status, j.progress, j.images, j.durationS, j.step], ["completed", 1, ["/v1/results/r/images/0"], 4.2, 10]);
  });

  it("never lets progress fall", () => {
    const { j } = after(event("progress_update", { progress: 0.6 }), event("progress_update", { progress: 0.2 }));
    assert.equal(j.progress, 0.6);
  });

  it("ends once: what comes later changes nothing", () => {
    const ended = after(event("generation_complete", { status: "cancelled" }));
    assert.equal(applyEvent(ended, event("progress_update", { progress: 0.9, status: "processing" })), ended);
    assert.equal(applyEvent(ended, event("generation_complete", { status: "completed", images: ["x"] })), ended);
  });

  it("waits for the end event, which brings the pictures, even if progress already says completed", () => {
    const { j } = after(event("progress_update", { progress: 1, status: "completed" }));
    assert.equal(isEnded(j), false);
  });

  it("takes an end with an error message and no status for a failure", () => {
    const { j } = after(event("generation_complete", { error_message: "out of memory" }));
    assert.deepEqual([j.status, j.error], ["failed", "out of memory"]);
  });

  it("takes delivery words as well", () => {
    assert.equal(after(event("generation_complete", { status: "succeeded" })).j.status, "completed");
  });

  it("is not upset by odd values", () => {
    const { j } = after(event("progress_update", { progress: "half", current_step: null, eta_seconds: Infinity }));
    assert.deepEqual([j.progress, j.step, j.etaS], [0, null, null]);
    assert.deepEqual(after(event("generation_complete", { images: [1, null, "a"] })).j.images, ["a"]);
  });

  it("leaves the jobs as they are for events that are about none", () => {
    /** @type {Jobs} */
    const jobs = {};
    for (const type of ["connected", "pong", "error"]) assert.equal(applyEvent(jobs, { type, data: {} }), jobs);
    assert.equal(applyEvent(jobs, event("something_new")), jobs);
  });

  it("forgets old ended jobs, never running ones", () => {
    let jobs = applyEvent({}, { type: "progress_update", data: { job_id: "running", progress: 0.1 } });
    for (let n = 0; n < 100; n++) jobs = applyEvent(jobs, { type: "generation_complete", data: { job_id: `j${n}`, status: "completed" } });
    assert.ok("running" in jobs);
    assert.ok("j99" in jobs);
    assert.ok(Object.keys(jobs).length < 40);
  });
});

describe("eventOfDelivery", () => {
  it("is an end with its pictures for a finished job", () => {
    const made = eventOfDelivery({ id: "j", status: "succeeded", result: { images: ["a"], generation_info: "Seed: 3" } });
    assert.equal(made?.type, "generation_complete");
    assert.deepEqual(after(/** @type {FeedEvent} */ (made)).j.images, ["a"]);
  });
  it("is progress for a running one", () => assert.equal(eventOfDelivery({ id: "j", status: "running" })?.type, "progress_update"));
  it("is nothing for what it does not know", () => {
    assert.equal(eventOfDelivery({ id: "j", status: "?" }), null);
    assert.equal(eventOfDelivery(undefined), null);
  });
});
