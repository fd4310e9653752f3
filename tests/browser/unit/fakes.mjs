/** Stand-ins for what leaves the page: the API, the socket and SD.Next's globals. */

import { Problem } from "../../../javascript/lib/api.mjs";

/** @import { Api } from "../../../javascript/lib/api.mjs" */
/** @import { Adapter } from "../../../javascript/lib/types.mjs" */

/**
 * @typedef {{ method: string, path: string, body?: any, query?: any }} Call
 */

/**
 * An API whose answers a test gives: `answer` gets each call and returns the body, or a promise of it, or throws.
 * @param {(call: Call) => unknown} answer
 */
export function fakeApi(answer) {
  /** @type {Call[]} */
  const calls = [];
  /** @param {Call} call @returns {Promise<any>} */
  const make = async (call) => {
    calls.push(call);
    return await answer(call);
  };
  const api = /** @type {Api} */ ({
    get: (path, query) => make({ method: "GET", path, query }),
    post: (path, body, query) => make({ method: "POST", path, body, query }),
    patch: (path, body) => make({ method: "PATCH", path, body }),
    put: (path, body) => make({ method: "PUT", path, body }),
    blob: async () => new Blob(),
    address: (address) => address,
    url: (path) => path,
    hasKey: () => false,
  });
  return { api, calls, writes: () => calls.filter(({ method }) => method !== "GET") };
}

/** @param {number} status @param {string} code */
export const problem = (status, code = "conflict") => new Problem({ status, code, detail: `detail of ${code}` });

/**
 * @param {string} name
 * @param {Partial<Adapter>} [fields]
 * @returns {Adapter}
 */
export const adapter = (name, fields = {}) => ({
  id: `id-${name}`,
  name,
  tags: [],
  trained_words: [],
  weight: 1,
  active: false,
  ordinal: null,
  ...fields,
});

/** A WebSocket under the test's hand. */
export class FakeSocket {
  /** @type {FakeSocket[]} */
  static opened = [];

  /** @param {string} url */
  constructor(url) {
    this.url = url;
    /** @type {any[]} */
    this.sent = [];
    this.closed = false;
    /** @type {(() => void) | null} */
    this.onopen = null;
    /** @type {((event: { data: string }) => void) | null} */
    this.onmessage = null;
    /** @type {(() => void) | null} */
    this.onclose = null;
    /** @type {(() => void) | null} */
    this.onerror = null;
    FakeSocket.opened.push(this);
  }

  static last() {
    return FakeSocket.opened[FakeSocket.opened.length - 1];
  }

  /** @param {string} text */
  send(text) {
    this.sent.push(JSON.parse(text));
  }

  /** @param {unknown} message */
  say(message) {
    this.onmessage?.({ data: JSON.stringify(message) });
  }

  close() {
    this.closed = true;
    this.onclose?.();
  }
}

/** Lets everything that already waits in promises happen. */
export async function settled() {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
}

/** A promise to be kept later. */
export function deferred() {
  /** @type {(value?: any) => void} */
  let resolve = () => {};
  /** @type {(reason: unknown) => void} */
  let reject = () => {};
  const promise = new Promise((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}
