/** Making a picture here: what to make, how far it is, and the picture. */

/** @import { Backend, GenerationForm } from "../types.mjs" */
import { html, useEffect, useState } from "../../vendor/htm-preact.mjs";
import { useApp, useStore } from "../context.mjs";
import { isEnded } from "../jobs.mjs";
import { text } from "../text.mjs";
import { ErrorLine, Warnings } from "./basics.mjs";
import { Button, Heading } from "./button.mjs";
import { Icon } from "./icons.mjs";
import { JobProgress, Picture } from "./picture.mjs";

const { generate: words } = text;

/** Offered while a backend does not name its own. */
const SAMPLERS = ["DPM++ 2M", "DPM++ 2M SDE", "DPM++ SDE", "Euler", "Euler a", "DDIM", "UniPC", "LMS", "Heun"];

export function GeneratePanel() {
  const { generation } = useApp();
  const form = useStore((state) => state.form);
  const { starting, problem, warnings, jobId, shown } = useStore((state) => state.generation);
  const job = useStore((state) => (jobId ? (state.jobs[jobId] ?? null) : null));
  const composing = useStore((state) => state.injection.enabled && state.active.items.length > 0);
  const running = starting || (job !== null && !isEnded(job));
  const [cancelling, setCancelling] = useState(false);
  useEffect(() => setCancelling(false), [jobId, running]);

  /** @param {keyof GenerationForm} field */
  const onText = (field) => (/** @type {any} */ event) => generation.setForm({ [field]: event.currentTarget.value });
  const nothingToMake = !form.prompt.trim() && !composing;

  return html`
    <form
      class="lm-section lm-generate"
      onSubmit=${(/** @type {Event} */ event) => {
        event.preventDefault();
        if (!running && !nothingToMake) void generation.start();
      }}
      onKeyDown=${(/** @type {KeyboardEvent} */ event) => {
        if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
        event.preventDefault();
        event.stopPropagation();
        if (!running && !nothingToMake) void generation.start();
      }}
    >
      <div class="lm-section-head"><${Heading} level="2">${words.title}<//></div>
      <label class="lm-field">
        <b class="lm-label">${words.prompt}</b>
        <textarea
          class="lm-input"
          data-testid="lm-prompt"
          rows="3"
          placeholder=${words.promptHint}
          value=${form.prompt}
          onInput=${onText("prompt")}
        ></textarea>
      </label>
      <label class="lm-field">
        <b class="lm-label">${words.negative}</b>
        <textarea
          class="lm-input"
          data-testid="lm-negative"
          rows="2"
          placeholder=${words.negativeHint}
          value=${form.negative_prompt}
          onInput=${onText("negative_prompt")}
        ></textarea>
      </label>
      <div class="lm-fields">
        <${NumberField} field="steps" label=${words.steps} min="1" max="500" step="1" />
        <${NumberField} field="cfg_scale" label=${words.cfg} min="0" max="50" step="0.5" />
        <div class="lm-field lm-size">
          <${NumberField} field="width" label=${words.width} min="64" max="8192" step="8" />
          <${Button}
            class="lm-button lm-quiet lm-square"
            aria-label=${words.swap}
            title=${words.swap}
            onClick=${() => generation.setForm({ width: form.height, height: form.width })}
          >
            <${Icon} name="swap" />
          <//>
          <${NumberField} field="height" label=${words.height} min="64" max="8192" step="8" />
        </div>
        <div class="lm-field lm-seed">
          <${NumberField} field="seed" label=${words.seed} min="-1" step="1" />
          <${Button}
            class="lm-button lm-quiet lm-square"
            aria-label=${words.randomSeed}
            title=${words.randomSeed}
            onClick=${() => generation.setForm({ seed: -1 })}
          >
            <${Icon} name="shuffle" />
          <//>
        </div>
        <${SamplerField} />
        <${BackendField} />
      </div>
      <${BackendTrouble} />
      <div class="lm-actions">
        <${Button}
          type="submit"
          class="lm-button lm-primary lm-wide"
          data-testid="lm-generate"
          disabled=${running || nothingToMake}
        >
          <${Icon} name="spark" />${starting ? words.starting : words.start}
        <//>
        ${running &&
        html`<${Button}
          class="lm-button"
          data-testid="lm-cancel"
          disabled=${!job || cancelling}
          onClick=${() => {
            setCancelling(true);
            generation.cancel().finally(() => setCancelling(false));
          }}
        >
          ${cancelling ? words.cancelling : words.cancel}
        <//>`}
      </div>
      <${ErrorLine} problem=${problem} onRetry=${generation.start} />
      <${Warnings} warnings=${warnings} />
      ${job && html`<${JobProgress} job=${job} onRetry=${generation.start} />`}
      ${shown && html`<${Picture} shown=${shown} />`}
    </form>
  `;
}

/**
 * @param {{ field: "steps" | "width" | "height" | "seed" | "cfg_scale", label: string, min: string, max?: string, step: string }} props
 */
function NumberField({ field, label, min, max, step }) {
  const { generation } = useApp();
  const value = useStore((state) => state.form[field]);
  return html`
    <label class="lm-field">
      <b class="lm-label">${label}</b>
      <input
        type="number"
        class="lm-input"
        data-testid=${`lm-${field.replace("_", "-")}`}
        min=${min}
        max=${max}
        step=${step}
        value=${value}
        onChange=${(/** @type {any} */ event) => {
          const number = event.currentTarget.valueAsNumber;
          if (Number.isFinite(number)) generation.setForm({ [field]: step === "1" || step === "8" ? Math.round(number) : number });
          else event.currentTarget.value = String(value);
        }}
      />
    </label>
  `;
}

function SamplerField() {
  const { generation } = useApp();
  const value = useStore((state) => state.form.sampler_name);
  const backend = useChosenBackend();
  const samplers = backend?.samplers?.length ? backend.samplers : SAMPLERS;
  const names = samplers.includes(value) ? samplers : [value, ...samplers];
  return html`
    <label class="lm-field">
      <b class="lm-label">${words.sampler}</b>
      <select
        class="lm-input"
        data-testid="lm-sampler"
        value=${value}
        onChange=${(/** @type {any} */ event) => generation.setForm({ sampler_name: event.currentTarget.value })}
      >
        ${names.map((/** @type {string} */ name) => html`<option key=${name} value=${name}>${name}</option>`)}
      </select>
    </label>
  `;
}

function BackendField() {
  const { generation } = useApp();
  const { items } = useStore((state) => state.backends);
  const chosen = useStore((state) => state.form.backend);
  const standard = items.find((backend) => backend.default);
  const known = chosen === "" || items.some(({ name }) => name === chosen);
  return html`
    <label class="lm-field lm-across">
      <b class="lm-label">${words.backend}</b>
      <select
        class="lm-input"
        data-testid="lm-backend"
        value=${chosen}
        onFocus=${generation.loadBackends}
        onChange=${(/** @type {any} */ event) => generation.setForm({ backend: event.currentTarget.value })}
      >
        <option value="">${words.backendDefault}${standard ? ` (${standard.name})` : ""}</option>
        ${!known && html`<option value=${chosen}>${chosen}</option>`}
        ${items.map(
          (/** @type {Backend} */ { name, available, model }) => html`
            <option key=${name} value=${name} disabled=${!available}>
              ${name}${available ? (model ? ` · ${model}` : "") : ` · ${words.unavailable}`}
            </option>
          `,
        )}
      </select>
    </label>
  `;
}

/** Why the backend that would be used cannot be, or why none can. */
function BackendTrouble() {
  const { generation } = useApp();
  const { items, problem } = useStore((state) => state.backends);
  const backend = useChosenBackend();
  if (problem) return html`<${ErrorLine} problem=${problem} onRetry=${generation.loadBackends} />`;
  const none = items.length > 0 && items.every(({ available }) => !available);
  const troubled = none ? items : backend && !backend.available ? [backend] : [];
  if (!troubled.length) return null;
  return html`
    <div class="lm-note" role="status">
      ${none && html`<strong>${words.noBackends}</strong>`}
      <ul>
        ${troubled.map(({ name, reason }) => html`<li key=${name}><b>${name}</b> — ${reason || words.unavailable}</li>`)}
      </ul>
      <${Button} class="lm-button lm-small" onClick=${generation.loadBackends}>${text.retry}<//>
    </div>
  `;
}

function useChosenBackend() {
  return useStore(({ backends, form }) =>
    backends.items.find((backend) => (form.backend ? backend.name === form.backend : backend.default)),
  );
}
