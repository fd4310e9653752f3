import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createHost } from "../../../javascript/lib/host.mjs";

/** @param {Record<string, any>} globals @param {Record<string, any>} [boxes] by selector */
const hostWith = (globals, boxes = {}) =>
  createHost(
    /** @type {any} */ ({
      location: { pathname: "/", href: "http://host:7860/" },
      document: { querySelector: (/** @type {string} */ selector) => boxes[selector] ?? null },
      fetch: async () => "fetch",
      ...globals,
    }),
  );

describe("the host", () => {
  it("is SD.Next when its globals are there", () => {
    assert.equal(hostWith({}).inHost(), false);
    assert.equal(hostWith({ gradioApp: () => null }).inHost(), true);
    assert.equal(hostWith({ gradio_config: {} }).inHost(), true);
  });

  it("lends its own fetch, asked each time, since it turns up late", async () => {
    /** @type {any} */
    const globals = { location: { pathname: "/", href: "" }, document: {}, fetch: async () => "fetch" };
    const host = createHost(globals);
    assert.equal(await host.send("/x", {}), "fetch");
    globals.authFetch = async () => "authFetch";
    assert.equal(await host.send("/x", {}), "authFetch");
  });

  it("knows its prompt boxes", () => {
    assert.deepEqual(hostWith({}).promptTargets(), []);
    assert.deepEqual(hostWith({}, { "#control_prompt textarea": {}, "#img2img_prompt textarea": {} }).promptTargets(), ["control", "image"]);
  });

  it("writes a prompt the way typing does", () => {
    /** @type {Event[]} */
    const events = [];
    const box = { value: "a cat", dispatchEvent: (/** @type {Event} */ event) => events.push(event) };
    const host = hostWith({}, { "#txt2img_prompt textarea": box });
    assert.equal(host.writePrompt("text", (old) => `${old}!`), true);
    assert.equal(box.value, "a cat!");
    assert.deepEqual(events.map(({ type, bubbles }) => [type, bubbles]), [["input", true]]);
    assert.equal(host.writePrompt("image", () => ""), false);
  });

  it("makes socket addresses of the page's own kind", () => {
    assert.equal(hostWith({}).socketUrl("/sd/v1/ws/progress?ticket=t"), "ws://host:7860/sd/v1/ws/progress?ticket=t");
    const secure = hostWith({ location: { pathname: "/", href: "https://host/" } });
    assert.equal(secure.socketUrl("/v1/ws/progress"), "wss://host/v1/ws/progress");
  });

  it("does without storage where a browser forbids it", () => {
    const page = { location: { pathname: "/", href: "" }, document: {} };
    Object.defineProperty(page, "localStorage", { get: () => { throw new Error("SecurityError"); } });
    assert.equal(createHost(/** @type {any} */ (page)).storage(), null);
  });
});
