import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createApi, pagePrefix, Problem, withPrefix } from "../../../javascript/lib/api.mjs";

/**
 * @param {(url: string, init: any) => Response | undefined | Promise<Response>} send
 * @param {Partial<Parameters<typeof createApi>[0]>} [options]
 */
const apiWith = (send, options = {}) =>
  createApi({ base: () => "/v1", prefix: () => "", send: async (url, init) => send(url, init), ...options });

/** @param {unknown} body @param {ResponseInit} [init] */
const json = (body, init) => new Response(JSON.stringify(body), init);

describe("pagePrefix", () => {
  for (const [what, page, expected] of /** @type {[string, Parameters<typeof pagePrefix>[0], string][]} */ ([
    ["nothing at the root", { pathname: "/" }, ""],
    ["the folder of a page behind a proxy", { pathname: "/lora/" }, "/lora"],
    ["SD.Next's own subpath first", { subpath: "/sd", root: "/other", pathname: "/x/" }, "/sd"],
    ["a subpath written without its slash", { subpath: "sd/", pathname: "/" }, "/sd"],
    ["an empty subpath counts as none", { subpath: "", root: "", pathname: "/sd/" }, "/sd"],
    ["the path of a root that is a whole address", { root: "http://host:7860/sd/", pathname: "/" }, "/sd"],
    ["a root without a path says nothing", { root: "http://host:7860", pathname: "/sd/" }, "/sd"],
  ])) {
    it(what, () => assert.equal(pagePrefix(page), expected));
  }
});

describe("withPrefix", () => {
  it("puts the prefix before an address of this server", () => {
    assert.equal(withPrefix("/sd", "/v1/adapters/1/preview"), "/sd/v1/adapters/1/preview");
  });
  it("does not put it there twice", () => assert.equal(withPrefix("/sd", "/sd/v1/x"), "/sd/v1/x"));
  it("takes only whole folders for the prefix", () => assert.equal(withPrefix("/sd", "/sdapi/v1"), "/sd/sdapi/v1"));
  it("leaves other servers alone", () => {
    assert.equal(withPrefix("/sd", "https://host/x"), "https://host/x");
    assert.equal(withPrefix("/sd", "//host/x"), "//host/x");
  });
});

describe("a call", () => {
  it("leaves out what is not asked, and encodes what is", async () => {
    /** @type {string[]} */
    const urls = [];
    const api = apiWith((url) => (urls.push(url), json({})));
    await api.get("/adapters", { search: "a&b=100%", page: 2, tags: null, sort: undefined, base: "", active_only: false });
    assert.deepEqual(urls, ["/v1/adapters?search=a%26b%3D100%25&page=2&active_only=false"]);
  });

  it("sends a body as JSON, and none where there is none", async () => {
    /** @type {any[]} */
    const inits = [];
    const api = apiWith((_, init) => (inits.push(init), json({})));
    await api.post("/compose", { prefix: "ä" });
    await api.post("/library/scan");
    assert.equal(inits[0].body, '{"prefix":"ä"}');
    assert.equal(inits[0].headers["Content-Type"], "application/json");
    assert.equal(inits[1].body, undefined);
    assert.equal(inits[1].headers["Content-Type"], undefined);
  });

  it("carries the key, where there is one", async () => {
    /** @type {any[]} */
    const inits = [];
    await apiWith((_, init) => (inits.push(init), json({})), { key: () => "secret" }).get("/x");
    await apiWith((_, init) => (inits.push(init), json({}))).get("/x");
    assert.equal(inits[0].headers["X-API-Key"], "secret");
    assert.equal("X-API-Key" in inits[1].headers, false);
  });

  it("turns a problem document into a Problem", async () => {
    const api = apiWith(() => json({ title: "Conflict", status: 409, detail: "Taken.", code: "name_taken" }, { status: 409 }));
    await assert.rejects(api.get("/x"), (error) => {
      assert.ok(error instanceof Problem);
      assert.deepEqual([error.status, error.code, error.message], [409, "name_taken", "Taken."]);
      return true;
    });
  });

  it("keeps the status of an answer that is not ours", async () => {
    const api = apiWith(() => new Response("<html>Bad gateway", { status: 502, statusText: "Bad Gateway" }));
    await assert.rejects(api.get("/x"), { status: 502, code: "http_502", message: "Bad Gateway" });
  });

  it("does not take a page for an answer", async () => {
    await assert.rejects(apiWith(() => new Response("<html>")).get("/x"), { code: "not_json" });
  });

  it("says unreachable when the connection fails", async () => {
    await assert.rejects(apiWith(() => Promise.reject(new TypeError("failed"))).get("/x"), { code: "unreachable", status: 0 });
  });

  it("says unreachable when SD.Next's authFetch answers nothing", async () => {
    await assert.rejects(apiWith(() => undefined).get("/x"), { code: "unreachable" });
  });

  it("tells of a missing login, and fails", async () => {
    let asked = 0;
    const api = apiWith(() => json({ code: "unauthorized" }, { status: 401 }), { onUnauthorized: () => asked++ });
    await assert.rejects(api.get("/x"), { status: 401 });
    assert.equal(asked, 1);
  });

  it("has nothing to read in a 204", async () => {
    assert.equal(await apiWith(() => new Response(null, { status: 204 })).post("/x"), null);
  });
});
