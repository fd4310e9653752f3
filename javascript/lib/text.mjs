/**
 * Every word the page says, in one place. A translation is another object of this shape; nothing else in the
 * page holds text for people.
 */

/** @import { Problem } from "./api.mjs" */
import { count } from "./format.mjs";

export const text = {
  brand: "LoRA Manager",
  root: "LoRA Manager",
  panes: { library: "Library", set: "Set", generate: "Generate" },
  panesLabel: "Parts of the LoRA Manager",

  library: {
    label: "LoRA library",
    search: "Search LoRAs",
    searchHint: "Name, tag, trigger word …",
    searchKey: "Press / to search",
    clearSearch: "Clear the search",
    sort: "Sort by",
    sorts: { name: "Name", created_at: "Newest", updated_at: "Changed last", file_size: "Largest" },
    activeOnly: "Active only",
    scan: "Scan",
    scanHint: "Look for new, moved and deleted files in the library folders",
    listLabel: "LoRAs",
    loading: "Loading the library …",
    shown: (/** @type {number} */ shown, /** @type {number} */ total) =>
      shown === total ? `${count(total)} LoRAs` : `${count(shown)} of ${count(total)} LoRAs`,
    nothingFound: "Nothing matches this search",
    nothingFoundNext: "Try fewer words, or clear the search to see the whole library.",
    nothingActive: "No LoRA is active",
    nothingActiveNext: "Turn “Active only” off and pick one from the library.",
    empty: "The library is empty",
    emptyNext: "Put .safetensors files into one of these folders, then scan:",
    emptyNoRoots: "No library folder is set. Start the server with --library FOLDER, or set LORA_MANAGER_LIBRARY_ROOTS, then scan.",
    scanning: "Looking through the library folders …",
  },

  card: {
    active: (/** @type {number} */ place) => `active, number ${place} in the set`,
    favorite: "Favourite",
    missing: "File missing",
    changed: "File changed",
    unreadable: "Unreadable",
    hidden: "Hidden by another file of the same name",
  },

  set: {
    title: "Active set",
    empty: "No LoRA is active yet",
    emptyNext: "Pick cards in the library: they land here, in the order of your clicks.",
    clear: "Clear all",
    weight: (/** @type {string} */ name) => `Weight of ${name}`,
    weightSlider: (/** @type {string} */ name) => `Weight of ${name}, slider`,
    up: (/** @type {string} */ name) => `Move ${name} up`,
    down: (/** @type {string} */ name) => `Move ${name} down`,
    remove: (/** @type {string} */ name) => `Remove ${name} from the set`,
    drag: "Drag to change the order",
    inject: "Use in generations",
    injectHosted: "On: every picture SD.Next makes gets the active set",
    injectHere: "On: pictures made with the Generate button below get the active set",
    label: "Active set, in prompt order",
  },

  compose: {
    title: "Composed prompt",
    empty: "Write a prompt or activate a LoRA to see what will be sent.",
    composing: "Composing …",
    copy: "Copy",
    copied: "Copied",
    copyFailed: "Select the text and copy it by hand",
    send: { control: "To Images", text: "To Text", image: "To Image" },
    sendLong: {
      control: "Put it into the prompt of the Images (Control) tab",
      text: "Put it into the prompt of the Text tab",
      image: "Put it into the prompt of the Image tab",
    },
    sent: "Sent",
  },

  generate: {
    title: "Generate",
    prompt: "Prompt",
    promptHint: "What the picture shows; the active set is added behind it",
    negative: "Negative prompt",
    negativeHint: "What it must not show",
    steps: "Steps",
    width: "Width",
    height: "Height",
    swap: "Swap width and height",
    seed: "Seed",
    randomSeed: "New seed for each picture (-1)",
    cfg: "CFG scale",
    sampler: "Sampler",
    backend: "Backend",
    backendDefault: "Default",
    unavailable: "not available",
    noBackends: "No backend can make pictures now:",
    start: "Generate",
    starting: "Starting …",
    cancel: "Cancel",
    cancelling: "Cancelling …",
    queued: "Waiting for its turn …",
    working: "Working …",
    step: (/** @type {number} */ step, /** @type {number} */ steps) => `Step ${step} of ${steps}`,
    eta: (/** @type {string} */ time) => `about ${time} left`,
    progress: "Progress of the picture",
    cancelled: "Cancelled",
    failed: "The picture could not be made",
    noImage: "The job ended without a picture",
    picture: (/** @type {string} */ prompt) => (prompt ? `Generated picture: ${prompt}` : "Generated picture"),
    openPicture: "Open the picture in its full size",
    seedOf: (/** @type {number} */ seed) => `Seed ${seed}`,
    reuseSeed: "Use again",
    took: (/** @type {string} */ time) => `in ${time}`,
    infotext: "Parameters",
    offlineHint: "The progress line is down; the picture shows up when it is back.",
  },

  status: {
    label: "Status",
    connection: { connecting: "Connecting …", online: "Connected", offline: "Offline, trying again …" },
    total: (/** @type {number} */ total) => `${count(total)} ${total === 1 ? "LoRA" : "LoRAs"}`,
    active: (/** @type {number} */ active) => `${count(active)} active`,
    unreadable: (/** @type {number} */ files) => `${count(files)} unreadable`,
    missing: (/** @type {number} */ files) => `${count(files)} missing`,
    lastScan: (/** @type {string} */ age) => `scanned ${age}`,
    scanning: "Scanning the library",
    folderProblem: (/** @type {string} */ path, /** @type {string} */ problem) => `${path}: ${problem}`,
  },

  key: {
    title: "This server asks for a key",
    explain: "Paste an API key. Whoever runs the server makes one with “lora-manager key add”. It is kept until you close this browser tab.",
    label: "API key",
    save: "Continue",
    refused: "The server refuses this key.",
  },

  said: {
    activated: (/** @type {string} */ name) => `${name} activated`,
    removed: (/** @type {string} */ name) => `${name} removed from the set`,
    moved: (/** @type {string} */ name, /** @type {number} */ place, /** @type {number} */ of) =>
      `${name} is now number ${place} of ${of}`,
    cleared: "The set is empty",
    finished: "The picture is finished",
  },

  retry: "Try again",
  dismiss: "Dismiss",

  problems: {
    offline: "No connection to the LoRA Manager's server. The page comes back by itself when the server does.",
    unreachable: "The LoRA Manager's server does not answer. Is it running?",
    notThere: "The LoRA Manager's API is not there. SD.Next may still be starting; if this stays, look for “lora manager” in its log.",
    notJson: "The server answered with something that is not from the LoRA Manager. A proxy may be in between.",
    unauthorized: "The server does not know you. Log in again and reload the page.",
    tooMany: "Too many requests at once. Wait a minute, then try again.",
    unknown: "Something went wrong in the page",
  },
};

/**
 * A problem as one line for a person: what the server says, or what its silence means.
 * @param {Error | Problem} problem
 */
export function explain(problem) {
  const { status, code, detail, errors } = /** @type {Partial<Problem>} */ (problem);
  if (status === undefined) return `${text.problems.unknown}: ${problem.message}`;
  if (status === 0) return text.problems.unreachable;
  if (code === "not_json") return text.problems.notJson;
  if (status === 401) return text.problems.unauthorized;
  if (code === "http_404") return text.problems.notThere;
  if (code === "http_429") return text.problems.tooMany;
  const fields = (errors ?? []).map(fieldError).filter(Boolean).join("; ");
  return [detail || problem.message, fields].filter(Boolean).join(" — ");
}

/** @param {any} error */
function fieldError(error) {
  if (typeof error?.msg !== "string") return "";
  const where = Array.isArray(error.loc) ? error.loc.filter((/** @type {unknown} */ part) => part !== "body").join(".") : "";
  return where ? `${where}: ${error.msg}` : error.msg;
}
