/** Builds the page's parts and joins them: the one place where they know of each other. */

/** @import { Host } from "./host.mjs" */
/** @import { FeedEvent } from "./types.mjs" */
import { createActiveSet } from "./actions/active_set.mjs";
import { createCompose } from "./actions/compose.mjs";
import { createGeneration } from "./actions/generation.mjs";
import { createLibrary } from "./actions/library.mjs";
import { createApi } from "./api.mjs";
import { createFeed } from "./feed.mjs";
import { initialState, recall, remember } from "./state.mjs";
import { createStore } from "./store.mjs";
import { debounce } from "./timing.mjs";

const KEY = "lora_manager.key";
const REMEMBER_DELAY_MS = 400;

/** @typedef {ReturnType<typeof createApp>} App */

/** @param {{ host: Host, base: string }} options `base` is the API's address below the page's prefix */
export function createApp({ host, base }) {
  const inHost = host.inHost();
  const saved = recall(host.storage());
  const store = createStore(initialState({ inHost, ...saved }));
  const api = createApi({
    base: () => base,
    prefix: host.prefix,
    send: host.send,
    key: () => host.sessionStorage()?.getItem(KEY) ?? null,
    onUnauthorized() {
      // Inside SD.Next its own login decides; a key form there would only confuse.
      if (inHost) return;
      feed.stop();
      store.set({ auth: { needed: true, refused: api.hasKey() } });
    },
  });

  const save = debounce(() => remember(host.storage(), store.get()), REMEMBER_DELAY_MS);
  const library = createLibrary({ store, api });
  const compose = createCompose({ store, api, host });
  const activeSet = createActiveSet({
    store,
    api,
    show: library.replace,
    onWritten() {
      compose.soon();
      if (store.get().query.activeOnly) void library.load();
    },
  });
  const generation = createGeneration({ store, api, onPrompt: compose.soon, onChange: save });
  const feed = createFeed({
    ticket: async () => {
      try {
        return (await api.post("/ws/ticket")).ticket ?? null;
      } catch (error) {
        if (/** @type {any} */ (error).status === 404) return null;
        throw error;
      }
    },
    address: (ticket) => host.socketUrl(api.url("/ws/progress", { ticket })),
    onEvent: hear,
    onState: (connection) => store.set({ connection }),
    onRetry: () => void generation.catchUp(),
  });

  let wasOffline = false;
  store.subscribe(() => {
    wasOffline ||= store.get().connection === "offline";
  });

  /** @param {FeedEvent} event */
  function hear(event) {
    if (event.type === "subscription_confirmed" && (wasOffline || store.get().list.status === "error")) {
      wasOffline = false;
      refresh();
      void generation.catchUp();
    }
    generation.hear(event);
    if (event.type === "library_changed") {
      void library.load();
      void library.loadInfo();
      void activeSet.load();
    }
    const { jobs, scan } = store.get();
    const id = String(event.data.job_id ?? "");
    if (event.type === "generation_complete" && (id === scan.jobId || jobs[id]?.kind === "library.scan")) {
      const { status, error } = jobs[id];
      const problem = status === "failed" ? new Error(error ?? status) : null;
      store.set({ scan: { jobId: null, problem } });
      void library.load();
      void library.loadInfo();
      void activeSet.load();
    }
  }

  /** Everything that another page, or a server that was away, may have changed. */
  function refresh() {
    void library.load();
    void library.loadInfo();
    void activeSet.load();
    void generation.loadBackends();
    void generation.loadInjection();
  }

  let started = false;
  return {
    store,
    api,
    host,
    library,
    activeSet,
    compose,
    generation,
    /** The page is in sight: the first time, load; later, look what others changed meanwhile. */
    shown() {
      store.set({ promptTargets: host.promptTargets() });
      if (started) {
        feed.hurry();
        void activeSet.load();
        void generation.loadInjection();
        return;
      }
      started = true;
      refresh();
      feed.start();
    },
    hurry: () => feed.hurry(),
    /** @param {string} key */
    useKey(key) {
      host.sessionStorage()?.setItem(KEY, key);
      store.set({ auth: { needed: false, refused: false } });
      refresh();
      feed.start();
    },
    stop: () => feed.stop(),
  };
}
