/** Finds the root element, whenever and wherever it turns up, and puts the page into it. */

import { createApp } from "./app.mjs";
import { Page } from "./components/page.mjs";
import { AppContext } from "./context.mjs";
import { createHost } from "./host.mjs";
import { html, render } from "../vendor/htm-preact.mjs";

const ROOT_ID = "lora_manager";

/**
 * Safe to call more than once: a root that has a page keeps it. SD.Next's Modern UI moves the root after the first paint,
 * and Gradio may replace it; so the search goes on for as long as the page lives.
 * @param {Window} page
 */
export function mountWhenFound(page) {
  const { document } = page;
  const host = createHost(page);
  /** @type {HTMLElement | null} */
  let mounted = null;
  /** @type {ReturnType<typeof createApp> | null} */
  let app = null;
  let unwatch = () => {};

  function look() {
    if (mounted?.isConnected) return;
    const root = document.getElementById(ROOT_ID);
    if (!root || root === mounted || root.dataset.mounted) return;
    unwatch();
    if (mounted) render(null, mounted);
    mounted = root;
    root.dataset.mounted = "true";
    app ??= createApp({ host, base: root.dataset.api || "/v1" });
    root.replaceChildren();
    render(html`<${AppContext.Provider} value=${app}><${Page} /><//>`, root);
    unwatch = watch(page, root, host, app.shown);
  }

  new MutationObserver(look).observe(document.documentElement, { childList: true, subtree: true });
  host.onReady(() => {
    look();
    app?.store.set({ promptTargets: host.promptTargets() });
  });
  page.addEventListener("online", () => app?.hurry());
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) app?.hurry();
  });
  look();
}

/**
 * Fits the root to the window each time it comes into sight, and says that it did. A hidden tab has no size.
 * @param {Window} page
 * @param {HTMLElement} root
 * @param {ReturnType<typeof createHost>} host
 * @param {() => void} onShown
 */
function watch(page, root, host, onShown) {
  let inSight = false;

  function fit() {
    const box = root.getBoundingClientRect();
    const visible = box.width > 0;
    if (visible) {
      const top = Math.max(0, Math.round(box.top + page.scrollY));
      root.style.setProperty("--lm-top", `${top}px`);
      if (host.inHost()) host.markTheme(root);
    }
    if (visible && !inSight) onShown();
    inSight = visible;
  }

  const sizes = new ResizeObserver(fit);
  sizes.observe(root);
  page.addEventListener("resize", fit);
  fit();
  return () => {
    sizes.disconnect();
    page.removeEventListener("resize", fit);
  };
}
