/** Talks to the v1 API: where it is, who asks, and one kind of error for everything that can go wrong. */

/** What the API (or the way to it) answered instead of a result. Status 0: no answer at all. */
export class Problem extends Error {
  /**
   * @param {{ status: number, code: string, title?: string, detail?: string, errors?: unknown[] }} fields
   */
  constructor({ status, code, title = "", detail = "", errors = [] }) {
    super(detail || title || code);
    this.name = "Problem";
    this.status = status;
    this.code = code;
    this.title = title;
    this.detail = detail;
    /** @type {unknown[]} */
    this.errors = errors;
  }
}

/** @param {Error} problem whether nobody answered at all */
export const isUnreachable = (problem) => /** @type {Partial<Problem>} */ (problem).code === "unreachable";

/**
 * The folder the page is served under, without a slash at the end: SD.Next's `--subpath`, a proxy's
 * prefix, or nothing.
 * @param {{ subpath?: unknown, root?: unknown, pathname: string }} page `root` is `gradio_config.root`
 */
export function pagePrefix({ subpath, root, pathname }) {
  const folder = pathname.slice(0, pathname.lastIndexOf("/"));
  for (const candidate of [subpath, root]) {
    if (typeof candidate !== "string" || candidate === "") continue;
    const path = candidate.replace(/^https?:\/\/[^/]*/, "").replace(/\/+$/, "");
    if (path) return path.startsWith("/") ? path : `/${path}`;
  }
  return folder;
}

/**
 * An address of the API, below the page's prefix; one that names its server is left alone.
 * @param {string} prefix
 * @param {string} address
 */
export function withPrefix(prefix, address) {
  if (!address.startsWith("/") || address.startsWith("//")) return address;
  if (prefix && (address === prefix || address.startsWith(`${prefix}/`))) return address;
  return prefix + address;
}

/**
 * @typedef {Record<string, string | number | boolean | null | undefined>} Params
 * @typedef {{ query?: Params, body?: unknown, signal?: AbortSignal }} CallOptions
 * @typedef {ReturnType<typeof createApi>} Api
 */

/**
 * @param {{
 *   base: () => string,
 *   prefix: () => string,
 *   send: (url: string, init: RequestInit) => Promise<Response | undefined>,
 *   key?: () => string | null,
 *   onUnauthorized?: () => void,
 * }} options `base` and `prefix` are asked each time: SD.Next learns its own prefix late
 */
export function createApi({ base, prefix, send, key = () => null, onUnauthorized = () => {} }) {
  /**
   * @param {string} method
   * @param {string} path below the API's base
   * @param {CallOptions} [options]
   * @returns {Promise<any>}
   */
  async function call(method, path, { query, body, signal } = {}) {
    /** @type {Record<string, string>} */
    const headers = { Accept: "application/json" };
    const secret = key();
    if (secret) headers["X-API-Key"] = secret;
    /** @type {RequestInit} */
    const init = { method, headers, signal, credentials: "same-origin" };
    if (body !== undefined) {
      headers["Content-Type"] = "application/json";
      init.body = JSON.stringify(body);
    }
    const response = await reach(url(base() + path, query), init);
    if (response.status === 401) onUnauthorized();
    if (!response.ok) throw await problemOf(response);
    if (response.status === 204) return null;
    return await jsonOf(response);
  }

  /**
   * @param {string} address
   * @param {RequestInit} init
   */
  async function reach(address, init) {
    let response;
    try {
      response = await send(address, init);
    } catch (error) {
      if (init.signal?.aborted) throw error;
      throw new Problem({ status: 0, code: "unreachable" });
    }
    // SD.Next's authFetch swallows a failed connection and answers nothing.
    if (!response) throw new Problem({ status: 0, code: "unreachable" });
    return response;
  }

  /**
   * @param {string} path
   * @param {Params} [query]
   */
  function url(path, query = {}) {
    const params = new URLSearchParams();
    for (const [name, value] of Object.entries(query)) {
      if (value !== null && value !== undefined && value !== "") params.set(name, String(value));
    }
    const text = params.toString();
    return withPrefix(prefix(), path) + (text ? `?${text}` : "");
  }

  /**
   * A picture as a blob, for when an `<img>` cannot say who is asking.
   * @param {string} address
   */
  async function blob(address) {
    const secret = key();
    const response = await reach(withPrefix(prefix(), address), {
      headers: secret ? { "X-API-Key": secret } : {},
      credentials: "same-origin",
    });
    if (!response.ok) throw await problemOf(response);
    return await response.blob();
  }

  return {
    /** @param {string} path @param {Params} [query] @param {AbortSignal} [signal] */
    get: (path, query, signal) => call("GET", path, { query, signal }),
    /** @param {string} path @param {unknown} [body] @param {Params} [query] */
    post: (path, body, query) => call("POST", path, { body, query }),
    /** @param {string} path @param {unknown} body */
    patch: (path, body) => call("PATCH", path, { body }),
    /** @param {string} path @param {unknown} body */
    put: (path, body) => call("PUT", path, { body }),
    blob,
    /** An address the API gave (a preview, a picture), as this page has to ask for it.
     * @param {string} address */
    address: (address) => withPrefix(prefix(), address),
    /** @param {string} path @param {Params} [query] */
    url: (path, query) => url(base() + path, query),
    hasKey: () => Boolean(key()),
  };
}

/** @param {Response} response */
async function jsonOf(response) {
  try {
    return await response.json();
  } catch {
    throw new Problem({ status: response.status, code: "not_json" });
  }
}

/** @param {Response} response */
async function problemOf(response) {
  /** @type {any} */
  let body = null;
  try {
    body = await response.json();
  } catch {
    // Not ours: a proxy's page, or the host's plain text. The status has to do.
  }
  const detail = typeof body?.detail === "string" ? body.detail : "";
  return new Problem({
    status: response.status,
    code: typeof body?.code === "string" ? body.code : `http_${response.status}`,
    title: typeof body?.title === "string" ? body.title : response.statusText,
    detail,
    errors: Array.isArray(body?.errors) ? body.errors : [],
  });
}
