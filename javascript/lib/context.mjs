/** How components reach the app's parts and read the store. */

/** @import { App } from "./app.mjs" */
/** @import { State } from "./types.mjs" */
import { createContext, useContext, useLayoutEffect, useRef, useState } from "../vendor/htm-preact.mjs";

export const AppContext = createContext(/** @type {App} */ (/** @type {unknown} */ (null)));

export const useApp = () => useContext(AppContext);

/**
 * A part of the state; the component is drawn again when that part is another object.
 * @template T
 * @param {(state: State) => T} select
 * @returns {T}
 */
export function useStore(select) {
  const { store } = useApp();
  const [, redraw] = useState(0);
  const value = select(store.get());
  const drawn = useRef({ select, value });
  drawn.current = { select, value };
  useLayoutEffect(() => {
    const check = () => {
      if (!Object.is(drawn.current.select(store.get()), drawn.current.value)) redraw(countUp);
    };
    check();
    return store.subscribe(check);
  }, [store]);
  return value;
}

/** @param {number} n */
const countUp = (n) => n + 1;
