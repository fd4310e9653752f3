/** The page's one state: replaced, never changed in place, so that "is it the same object" means "is it the same". */

/**
 * @template S
 * @typedef {{
 *   get: () => S,
 *   set: (patch: Partial<S> | ((state: S) => Partial<S>)) => void,
 *   subscribe: (listener: () => void) => () => void,
 * }} Store
 */

/**
 * @template {object} S
 * @param {S} initial
 * @returns {Store<S>}
 */
export function createStore(initial) {
  let state = initial;
  /** @type {Set<() => void>} */
  const listeners = new Set();
  return {
    get: () => state,
    set(patch) {
      const changes = typeof patch === "function" ? patch(state) : patch;
      const keys = /** @type {(keyof S)[]} */ (Object.keys(changes));
      if (keys.every((key) => Object.is(state[key], changes[key]))) return;
      state = { ...state, ...changes };
      for (const listener of [...listeners]) listener();
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
