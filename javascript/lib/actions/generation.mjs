/** Making a picture: the form, the switch that adds the set, the job and its result. */

/** @import { Api, Problem } from "../api.mjs" */
/** @import { Store } from "../store.mjs" */
/** @import { Backend, FeedEvent, GenerationForm, State } from "../types.mjs" */
import { asWarnings } from "../format.mjs";
import { applyEvent, eventOfDelivery, isEnded, newJob } from "../jobs.mjs";
import { text } from "../text.mjs";

/**
 * @param {{
 *   store: Store<State>,
 *   api: Api,
 *   onPrompt: () => void,
 *   onChange: () => void,
 * }} parts `onPrompt` is told when the prompt's words changed, `onChange` when something worth remembering did
 */
export function createGeneration({ store, api, onPrompt, onChange }) {
  /** The form each of our own jobs was started with. @type {Map<string, GenerationForm>} */
  const forms = new Map();

  /** @param {Partial<State["generation"]>} patch */
  const set = (patch) => store.set(({ generation }) => ({ generation: { ...generation, ...patch } }));

  async function loadBackends() {
    try {
      /** @type {{ backends: Backend[] }} */
      const { backends } = await api.get("/generation/backends");
      store.set({ backends: { items: backends, problem: null } });
    } catch (error) {
      store.set(({ backends }) => ({ backends: { ...backends, problem: /** @type {Error} */ (error) } }));
    }
  }

  async function loadInjection() {
    try {
      const { available, enabled } = await api.get("/injection");
      if (available) store.set({ injection: { hosted: true, enabled } });
    } catch {
      // Without an answer the switch governs this page's own button, as it does stand-alone.
    }
  }

  /** @param {boolean} enabled */
  async function setInjection(enabled) {
    const { injection } = store.get();
    store.set({ injection: { ...injection, enabled } });
    onChange();
    if (!injection.hosted) return;
    try {
      const answer = await api.put("/injection", { enabled });
      store.set({ injection: { hosted: true, enabled: answer?.enabled ?? enabled } });
    } catch (error) {
      store.set({
        injection,
        notice: {
          problem: /** @type {Error} */ (error),
          retry: () => {
            store.set({ notice: null });
            void setInjection(enabled);
          },
        },
      });
    }
  }

  async function start() {
    const { form, injection, active, generation } = store.get();
    if (generation.starting) return;
    set({ starting: true, problem: null, warnings: [] });
    const { backend, ...params } = form;
    const query = { mode: "deferred", return_format: "url", backend };
    const prefix = form.prompt.trim();
    try {
      const answer =
        injection.enabled && active.items.length
          ? await api.post(
              "/generation/compose-and-generate",
              { compose_request: prefix ? { prefix } : {}, generation_params: { ...params, prompt: prefix } },
              query,
            )
          : await api.post("/generation/generate", { ...params, prompt: prefix }, query);
      forms.set(answer.job_id, form);
      store.set(({ jobs }) => ({
        jobs: jobs[answer.job_id] ? jobs : { ...jobs, [answer.job_id]: newJob(answer.job_id, { kind: "generation" }) },
      }));
      set({ starting: false, jobId: answer.job_id, warnings: asWarnings(answer.warnings) });
      settle(answer.job_id);
    } catch (error) {
      set({ starting: false, problem: /** @type {Error} */ (error) });
    }
  }

  async function cancel() {
    const { jobId } = store.get().generation;
    if (!jobId) return;
    try {
      await api.post(`/generation/jobs/${jobId}/cancel`);
    } catch (error) {
      set({ problem: /** @type {Error} */ (error) });
    }
  }

  /** Shows the picture of our job, once it has one; its end may have come before we knew its id. @param {string} id */
  function settle(id) {
    const job = store.get().jobs[id];
    if (id !== store.get().generation.jobId || !isEnded(job)) return;
    if (job.images.length) {
      set({ shown: { job, form: forms.get(id) ?? store.get().form } });
      store.set({ said: text.said.finished });
    }
    forms.delete(id);
  }

  /** @param {FeedEvent} event */
  function hear(event) {
    store.set(({ jobs }) => ({ jobs: applyEvent(jobs, event) }));
    if (event.type === "generation_complete") settle(String(event.data.job_id));
  }

  return {
    loadBackends,
    loadInjection,
    setInjection,
    start,
    cancel,
    hear,
    /** @param {Partial<GenerationForm>} patch */
    setForm(patch) {
      store.set(({ form }) => ({ form: { ...form, ...patch } }));
      if ("prompt" in patch) onPrompt();
      onChange();
    },
    /** Asks once how our job is, when its events may have been missed. */
    async catchUp() {
      const { jobs, generation } = store.get();
      const id = generation.jobId;
      if (!id || isEnded(jobs[id])) return;
      try {
        const event = eventOfDelivery((await api.get(`/generation/jobs/${id}`)).delivery);
        if (event) hear(event);
      } catch (error) {
        const { status, code, message } = /** @type {Problem} */ (error);
        // A 404 with a code of ours: the server is there and knows no such job. Without: it is still starting.
        if (status === 404 && code !== "http_404" && code !== "not_found") {
          hear({ type: "generation_complete", data: { job_id: id, status: "failed", error_message: message } });
        }
      }
    },
  };
}
