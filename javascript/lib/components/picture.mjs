/** A running job, and what came out of it. */

/** @import { GenerationForm, Job } from "../types.mjs" */
import { html } from "../../vendor/htm-preact.mjs";
import { useApp, useStore } from "../context.mjs";
import { duration } from "../format.mjs";
import { isEnded } from "../jobs.mjs";
import { readInfo } from "../prompt.mjs";
import { text } from "../text.mjs";
import { ErrorLine, ProgressBar, useSource } from "./basics.mjs";
import { Button } from "./button.mjs";

const { generate: words } = text;

/** @param {{ job: Job, onRetry: () => void }} props */
export function JobProgress({ job, onRetry }) {
  const offline = useStore((state) => state.connection !== "online");
  if (job.status === "failed") {
    return html`<${ErrorLine} problem=${failure(job)} onRetry=${onRetry} />`;
  }
  if (job.status === "cancelled") return html`<p class="lm-quiet-line" role="status">${words.cancelled}</p>`;
  if (isEnded(job)) {
    return job.images.length ? null : html`<p class="lm-quiet-line" role="status">${words.noImage}</p>`;
  }
  const started = job.status === "processing";
  const facts = [
    job.step !== null && job.steps ? words.step(job.step, job.steps) : job.message || (started ? words.working : words.queued),
    job.etaS !== null && job.etaS > 0 && words.eta(duration(job.etaS)),
  ].filter(Boolean);
  return html`
    <div class="lm-progress">
      <${LivePreview} preview=${job.preview} />
      <${ProgressBar} label=${words.progress} value=${started ? job.progress : null} testid="lm-progress" />
      <div class="lm-progress-facts">
        <span>${facts.join(" · ")}</span>
        ${started && html`<span>${Math.round(job.progress * 100)} %</span>`}
      </div>
      ${offline && html`<p class="lm-quiet-line">${words.offlineHint}</p>`}
    </div>
  `;
}

/** @param {{ preview: string | null }} props an address, a data URL, or bare base64 */
function LivePreview({ preview }) {
  const { api } = useApp();
  if (!preview) return null;
  const bare = !/^(data:|https?:|\/v1\/|\/api\/)/.test(preview);
  return html`<img class="lm-live" alt="" src=${bare ? `data:image/jpeg;base64,${preview}` : api.address(preview)} />`;
}

/** @param {{ shown: { job: Job, form: GenerationForm } }} props */
export function Picture({ shown: { job, form } }) {
  const { generation } = useApp();
  const { seed, text: infotext } = readInfo(job.info);
  return html`
    <figure class="lm-result">
      ${job.images.map(
        (address) => html`<${ResultImage} key=${address} address=${address} prompt=${form.prompt} />`,
      )}
      <figcaption>
        <div class="lm-result-facts">
          ${seed !== null &&
          html`<span>${words.seedOf(seed)}</span>
            <${Button}
              class="lm-button lm-quiet lm-small"
              data-testid="lm-reuse-seed"
              onClick=${() => generation.setForm({ seed })}
            >
              ${words.reuseSeed}
            <//>`}
          <span class="lm-spring"></span>
          <span>${form.width} × ${form.height}</span>
          ${job.durationS !== null && html`<span>${words.took(duration(job.durationS))}</span>`}
        </div>
        ${infotext &&
        html`<details class="lm-infotext" open>
          <summary>${words.infotext}</summary>
          <pre data-testid="lm-infotext">${infotext}</pre>
        </details>`}
      </figcaption>
    </figure>
  `;
}

/** @param {{ address: string, prompt: string }} props */
function ResultImage({ address, prompt }) {
  const source = useSource(address);
  if (!source) return null;
  return html`
    <a href=${source} target="_blank" rel="noopener" title=${words.openPicture}>
      <img class="lm-image" data-testid="lm-image" src=${source} alt=${words.picture(prompt)} />
    </a>
  `;
}

/** @param {Job} job */
function failure(job) {
  const problem = new Error(job.error ?? words.failed);
  // Not an error of the page: what the job says is the whole message.
  return Object.assign(problem, { status: -1, code: "job_failed", detail: job.error ?? words.failed, errors: [] });
}
