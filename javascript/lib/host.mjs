/**
 * Everything the page knows about where it is: SD.Next's page or its own. No other module looks at globals
 * or at elements outside the root.
 */

/** @import { PromptTarget } from "./types.mjs" */
import { pagePrefix } from "./api.mjs";

/** SD.Next's prompt boxes. Its home, "Images", is the Control tab. */
const PROMPT_BOXES = /** @type {Record<PromptTarget, string>} */ ({
  control: "#control_prompt textarea",
  text: "#txt2img_prompt textarea",
  image: "#img2img_prompt textarea",
});

/**
 * The globals of SD.Next and Gradio that the page may use; none of them exists stand-alone.
 * @typedef {{
 *   gradioApp?: unknown,
 *   gradio_config?: { root?: string },
 *   subpath?: string,
 *   authFetch?: (url: string, init?: RequestInit) => Promise<Response | undefined>,
 *   onUiLoaded?: (callback: () => void) => void,
 *   onUiReady?: (callback: () => void) => void,
 * }} HostGlobals
 * @typedef {ReturnType<typeof createHost>} Host
 */

/** @param {Window} page */
export function createHost(page) {
  const globals = /** @type {Window & HostGlobals} */ (page);
  const { document } = page;

  /** @param {PromptTarget} target */
  const promptBox = (target) => /** @type {HTMLTextAreaElement | null} */ (document.querySelector(PROMPT_BOXES[target]));

  return {
    inHost: () => globals.gradioApp !== undefined || globals.gradio_config !== undefined,

    prefix: () =>
      pagePrefix({
        subpath: globals.subpath,
        root: globals.gradio_config?.root,
        pathname: page.location.pathname,
      }),

    /** With `--auth`, SD.Next's own fetch carries who is logged in.
     * @param {string} url @param {RequestInit} init */
    send: (url, init) => (globals.authFetch ? globals.authFetch(url, init) : page.fetch(url, init)),

    /** @param {string} path @returns {string} the same address for a WebSocket */
    socketUrl(path) {
      const url = new URL(path, page.location.href);
      url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
      return url.href;
    },

    /** Calls back when SD.Next says its page is built: once, twice or never.
     * @param {() => void} callback */
    onReady(callback) {
      globals.onUiLoaded?.(callback);
      globals.onUiReady?.(callback);
    },

    /** @returns {PromptTarget[]} */
    promptTargets: () =>
      /** @type {PromptTarget[]} */ (Object.keys(PROMPT_BOXES)).filter((target) => promptBox(target) !== null),

    /**
     * Writes into a prompt box the way typing does, so that Gradio takes notice.
     * @param {PromptTarget} target
     * @param {(existing: string) => string} change
     * @returns {boolean} whether the box was there
     */
    writePrompt(target, change) {
      const box = promptBox(target);
      if (!box) return false;
      box.value = change(box.value);
      box.dispatchEvent(new Event("input", { bubbles: true }));
      return true;
    },

    /**
     * Marks the root with what SD.Next's theme is like, measured: themes do not follow the system's choice, and few
     * say which colour is readable on their accent (which `style.css` sets as the root's outline colour).
     * @param {HTMLElement} root
     */
    markTheme(root) {
      root.dataset.theme = luminance(backgroundOf(root, page)) < 0.4 ? "dark" : "light";
      root.dataset.accent = luminance(page.getComputedStyle(root).outlineColor) < 0.55 ? "dark" : "light";
    },

    storage: () => allowed(() => page.localStorage),
    sessionStorage: () => allowed(() => page.sessionStorage),
  };
}

/**
 * The colour behind the root: the first ancestor that paints one.
 * @param {HTMLElement} root
 * @param {Window} page
 */
function backgroundOf(root, page) {
  for (let element = /** @type {HTMLElement | null} */ (root); element; element = element.parentElement) {
    const colour = page.getComputedStyle(element).backgroundColor;
    const [, , , alpha = 1] = numbersIn(colour);
    if (alpha > 0.5) return colour;
  }
  return "rgb(255, 255, 255)";
}

/** @param {string} colour `rgb(…)` or `rgba(…)` */
function luminance(colour) {
  const [red = 255, green = 255, blue = 255] = numbersIn(colour);
  return (0.299 * red + 0.587 * green + 0.114 * blue) / 255;
}

/** @param {string} colour */
const numbersIn = (colour) => (colour.match(/[\d.]+/g) ?? []).map(Number);

/**
 * A storage, or null where the browser forbids even asking for it.
 * @param {() => Storage} get
 */
function allowed(get) {
  try {
    return get();
  } catch {
    return null;
  }
}
