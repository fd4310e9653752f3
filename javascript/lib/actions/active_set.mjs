/**
 * The active set: every change shows at once, is written in the order it was made, and is taken back from
 * the server's own state when writing fails.
 */

/** @import { Api } from "../api.mjs" */
/** @import { Store } from "../store.mjs" */
/** @import { Adapter, State } from "../types.mjs" */
import { clampWeight, inComposeOrder, moved, ordinalChanges } from "../order.mjs";
import { text } from "../text.mjs";
import { createLane, createLatest } from "../timing.mjs";

/** While a slider moves, the weight is written this long after it last did. */
const WEIGHT_DELAY_MS = 180;

/**
 * @param {{
 *   store: Store<State>,
 *   api: Api,
 *   show: (adapter: Adapter) => void,
 *   onWritten: () => void,
 * }} parts `show` updates the library list; `onWritten` is told when the server has a new set
 */
export function createActiveSet({ store, api, show, onWritten }) {
  const inTurn = createLane();
  const ask = createLatest();
  /** Weights not yet written. @type {Map<string, ReturnType<typeof setTimeout>>} */
  const waiting = new Map();

  /** @param {Adapter[]} items */
  const setItems = (items) => store.set(({ active }) => ({ active: { ...active, items } }));
  /** @param {string} id */
  const find = (id) => store.get().active.items.find((item) => item.id === id);
  /** @param {string} said */
  const say = (said) => store.set({ said });

  async function load() {
    const isNewest = ask();
    store.set(({ active }) => ({ active: { ...active, status: active.status === "ready" ? "ready" : "loading" } }));
    try {
      const { items } = await api.get("/adapters", { active_only: true, per_page: 1000 });
      if (!isNewest()) return;
      store.set({ active: { status: "ready", problem: null, items: inComposeOrder(items) } });
      onWritten();
    } catch (error) {
      if (isNewest()) {
        store.set(({ active }) => ({ active: { ...active, status: "error", problem: /** @type {Error} */ (error) } }));
      }
    }
  }

  /**
   * @param {() => Promise<void>} task
   * @param {() => void} retry
   */
  async function write(task, retry) {
    try {
      await inTurn(task);
      onWritten();
    } catch (error) {
      store.set({
        notice: {
          problem: /** @type {Error} */ (error),
          retry: () => {
            store.set({ notice: null });
            retry();
          },
        },
      });
      await load();
      for (const item of store.get().active.items) show(item);
    }
  }

  /** What the server answered, unless a newer weight is still to be written. @param {Adapter} adapter */
  function merge(adapter) {
    const here = find(adapter.id);
    const record = here && waiting.has(adapter.id) ? { ...adapter, weight: here.weight } : adapter;
    setItems(store.get().active.items.map((item) => (item.id === record.id ? record : item)));
    show(record);
  }

  /** @param {Adapter} adapter */
  function activate(adapter) {
    if (find(adapter.id)) return;
    const ordinal = store.get().active.items.length;
    const on = { ...adapter, active: true, ordinal };
    setItems([...store.get().active.items, on]);
    show(on);
    say(text.said.activated(adapter.name));
    void write(
      async () => {
        try {
          merge((await api.post(`/adapters/${adapter.id}/activate`, { ordinal })).adapter);
          await writeOrder();
        } catch (error) {
          show(adapter);
          throw error;
        }
      },
      () => activate(adapter),
    );
  }

  /** @param {Adapter} adapter */
  function deactivate(adapter) {
    const off = { ...adapter, active: false };
    clearTimeout(waiting.get(adapter.id));
    waiting.delete(adapter.id);
    setItems(store.get().active.items.filter(({ id }) => id !== adapter.id));
    show(off);
    say(text.said.removed(adapter.name));
    void write(
      async () => show((await api.post(`/adapters/${adapter.id}/deactivate`)).adapter),
      () => deactivate(adapter),
    );
  }

  /** Writes the order as it is when its turn comes; earlier orders need no writing. */
  async function writeOrder() {
    for (const { id, ordinal } of ordinalChanges(store.get().active.items)) {
      if (find(id)) merge((await api.patch(`/adapters/${id}`, { ordinal })).adapter);
    }
  }

  /** @param {string} id */
  function writeWeight(id) {
    void write(
      async () => {
        const item = find(id);
        if (item) merge((await api.patch(`/adapters/${id}`, { weight: item.weight })).adapter);
      },
      () => writeWeight(id),
    );
  }

  return {
    load,
    /** @param {Adapter} adapter */
    toggle(adapter) {
      const here = find(adapter.id);
      if (here) deactivate(here);
      else activate(adapter);
    },
    /** @param {string} id */
    remove(id) {
      const item = find(id);
      if (item) deactivate(item);
    },
    /** @param {string} id @param {number} value */
    setWeight(id, value) {
      const item = find(id);
      const weight = item ? clampWeight(item, value) : null;
      if (!item || weight === null || weight === item.weight) return;
      setItems(store.get().active.items.map((other) => (other.id === id ? { ...item, weight } : other)));
      clearTimeout(waiting.get(id));
      waiting.set(
        id,
        setTimeout(() => {
          waiting.delete(id);
          writeWeight(id);
        }, WEIGHT_DELAY_MS),
      );
    },
    /** @param {string} id @param {number} to */
    move(id, to) {
      const { items } = store.get().active;
      const next = moved(items, items.findIndex((item) => item.id === id), to);
      if (next === items) return;
      setItems(next);
      say(text.said.moved(next[to].name, to + 1, next.length));
      void write(writeOrder, () => void write(writeOrder, () => {}));
    },
    clear() {
      const gone = store.get().active.items;
      if (!gone.length) return;
      setItems([]);
      for (const adapter of gone) show({ ...adapter, active: false });
      say(text.said.cleared);
      const ids = gone.map(({ id }) => id);
      void write(
        async () => void (await api.post("/adapters/bulk", { action: "deactivate", lora_ids: ids })),
        () => this.clear(),
      );
    },
    /** @param {string} id */
    weightOf: (id) => find(id)?.weight,
    /** @param {string} id the adapter's place in the set from 0, or -1 */
    place: (id) => store.get().active.items.findIndex((item) => item.id === id),
  };
}
