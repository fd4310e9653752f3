/** What the store starts with, and what of it survives a reload. */

/** @import { GenerationForm, State } from "./types.mjs" */

/** @type {GenerationForm} */
export const DEFAULT_FORM = {
  prompt: "",
  negative_prompt: "",
  steps: 20,
  width: 512,
  height: 512,
  seed: -1,
  cfg_scale: 7,
  sampler_name: "DPM++ 2M",
  backend: "",
};

/**
 * @param {{ inHost: boolean, form?: Partial<GenerationForm>, injectHere?: boolean }} options
 * @returns {State}
 */
export function initialState({ inHost, form = {}, injectHere = true }) {
  return {
    inHost,
    pane: "library",
    connection: "connecting",
    auth: { needed: false, refused: false },
    library: { info: null },
    query: { search: "", sort: "name", activeOnly: false },
    list: { status: "idle", problem: null, epoch: 0, total: 0, filtered: 0, pages: new Map() },
    active: { status: "idle", problem: null, items: [] },
    compose: { status: "idle", problem: null, prompt: "", tokens: [], warnings: [] },
    injection: { hosted: false, enabled: injectHere },
    form: { ...DEFAULT_FORM, ...form },
    backends: { items: [], problem: null },
    jobs: {},
    generation: { jobId: null, starting: false, problem: null, warnings: [], shown: null },
    scan: { jobId: null, problem: null },
    promptTargets: [],
    said: "",
    notice: null,
  };
}

const FORM_KEY = "lora_manager.form";
const INJECT_KEY = "lora_manager.inject";

/**
 * What a person set on this page before; a browser that forbids storage just forgets.
 * @param {Storage | null} storage
 * @returns {{ form: Partial<GenerationForm>, injectHere: boolean }}
 */
export function recall(storage) {
  const saved = parse(storage?.getItem(FORM_KEY));
  /** @type {Record<string, unknown>} */
  const form = {};
  for (const [key, normal] of Object.entries(DEFAULT_FORM)) {
    if (typeof saved[key] === typeof normal) form[key] = saved[key];
  }
  return { form, injectHere: storage?.getItem(INJECT_KEY) !== "off" };
}

/**
 * @param {Storage | null} storage
 * @param {State} state
 */
export function remember(storage, state) {
  try {
    storage?.setItem(FORM_KEY, JSON.stringify(state.form));
    if (!state.injection.hosted) storage?.setItem(INJECT_KEY, state.injection.enabled ? "on" : "off");
  } catch {
    // Storage is full or forbidden: the page works without.
  }
}

/**
 * @param {string | null | undefined} json
 * @returns {Record<string, unknown>}
 */
function parse(json) {
  try {
    return JSON.parse(json ?? "{}") ?? {};
  } catch {
    return {};
  }
}
