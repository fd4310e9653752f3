/** Waiting, and forgetting what came too late. */

/**
 * Calls `fn` once, `delayMs` after the last call; `cancel` forgets a waiting one.
 * @template {unknown[]} A
 * @param {(...args: A) => void} fn
 * @param {number} delayMs
 */
export function debounce(fn, delayMs) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  /** @param {A} args */
  const later = (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => fn(...args), delayMs);
  };
  later.cancel = () => clearTimeout(timer);
  return later;
}

/**
 * Numbers questions, so that the answer to an older one can be told from the newest.
 * `const isNewest = ask()`, then after the wait: `if (!isNewest()) return`.
 */
export function createLatest() {
  let newest = 0;
  return () => {
    const mine = ++newest;
    return () => mine === newest;
  };
}

/**
 * Runs tasks one after the other: writes to one list arrive in the order a person made them.
 * A task that fails does not stop the next.
 */
export function createLane() {
  /** @type {Promise<unknown>} */
  let last = Promise.resolve();
  /**
   * @template T
   * @param {() => Promise<T>} task
   * @returns {Promise<T>}
   */
  return (task) => {
    const run = last.then(task, task);
    last = run.catch(() => undefined);
    return run;
  };
}
