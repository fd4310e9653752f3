import assert from "node:assert/strict";
import { describe, it, mock } from "node:test";
import { age, asWarnings, breakable, duration, hue, initials } from "../../../javascript/lib/format.mjs";
import { DEFAULT_FORM, initialState, recall, remember } from "../../../javascript/lib/state.mjs";
import { createStore } from "../../../javascript/lib/store.mjs";
import { explain, text } from "../../../javascript/lib/text.mjs";
import { createLane, createLatest, debounce } from "../../../javascript/lib/timing.mjs";
import { Problem } from "../../../javascript/lib/api.mjs";
import { deferred, settled } from "./fakes.mjs";

describe("the store", () => {
  it("tells of changes, and only of changes", () => {
    const store = createStore({ a: 1, b: 2 });
    let told = 0;
    const forget = store.subscribe(() => told++);
    store.set({ a: 1 });
    assert.equal(told, 0);
    store.set(({ a }) => ({ a: a + 1 }));
    assert.deepEqual([told, store.get()], [1, { a: 2, b: 2 }]);
    forget();
    store.set({ a: 5 });
    assert.equal(told, 1);
  });
});

describe("timing", () => {
  it("debounce calls once, with the last words", () => {
    mock.timers.enable({ apis: ["setTimeout"] });
    /** @type {string[]} */
    const heard = [];
    const say = debounce((/** @type {string} */ word) => heard.push(word), 150);
    say("a");
    mock.timers.tick(100);
    say("ab");
    mock.timers.tick(149);
    assert.deepEqual(heard, []);
    mock.timers.tick(1);
    say("abc");
    say.cancel();
    mock.timers.tick(500);
    assert.deepEqual(heard, ["ab"]);
    mock.timers.reset();
  });

  it("latest knows which question is the newest", () => {
    const ask = createLatest();
    const first = ask();
    const second = ask();
    assert.deepEqual([first(), second()], [false, true]);
  });

  it("a lane runs one task after the other, past failures", async () => {
    const inTurn = createLane();
    const gate = deferred();
    /** @type {string[]} */
    const done = [];
    const failing = inTurn(async () => {
      await gate.promise;
      done.push("first");
      throw new Error("no");
    });
    const next = inTurn(async () => done.push("second"));
    await settled();
    assert.deepEqual(done, []);
    gate.resolve();
    await assert.rejects(failing);
    await next;
    assert.deepEqual(done, ["first", "second"]);
  });
});

describe("format", () => {
  it("duration", () => assert.deepEqual([0.4, 59.4, 61, 3725].map(duration), ["0 s", "59 s", "1 min 01 s", "1 h 02 min"]));
  it("age says nothing of what is no time", () => {
    assert.equal(age("never", 0), "");
    assert.match(age("2026-01-01T00:00:00Z", Date.parse("2026-01-01T00:05:00Z")), /5/);
  });
  it("initials", () => {
    assert.deepEqual(["add_detail-xl", "noir", "élan vital", "日本語", "", "__"].map(initials), ["AD", "NO", "ÉV", "日本", "?", "?"]);
  });
  it("hue is steady and a hue", () => {
    assert.equal(hue("a"), hue("a"));
    for (const name of ["", "x".repeat(5000), "😀"]) assert.ok(hue(name) >= 0 && hue(name) < 360);
  });
  it("breakable adds only what cannot be seen", () => assert.equal(breakable("a_b-c.d_").replaceAll("\u200b", ""), "a_b-c.d_"));
  it("warnings may be plain strings", () => {
    assert.deepEqual(asWarnings(["odd", { code: "c", message: "m" }]).map(({ message }) => message), ["odd", "m"]);
    assert.deepEqual(asWarnings(null), []);
  });
});

describe("explain", () => {
  /** @param {number} status @param {string} code @param {object} [more] */
  const said = (status, code, more = {}) => explain(new Problem({ status, code, ...more }));
  it("is what the server says, where it says something", () => assert.equal(said(409, "taken", { detail: "Taken." }), "Taken."));
  it("names the fields of a refused body", () => {
    assert.equal(
      said(422, "invalid", { detail: "Invalid.", errors: [{ loc: ["body", "steps"], msg: "too many" }, { odd: 1 }] }),
      "Invalid. — steps: too many",
    );
  });
  it("says what silence means", () => assert.equal(said(0, "unreachable"), text.problems.unreachable));
  it("tells a missing API from a missing record", () => {
    assert.equal(said(404, "http_404", { detail: "Not Found" }), text.problems.notThere);
    assert.equal(said(404, "adapter_not_found", { detail: "No such adapter." }), "No such adapter.");
  });
  it("shows an error of the page itself", () => assert.match(explain(new Error("oops")), /oops/));
});

describe("what is remembered", () => {
  /** @returns {Storage} */
  const storage = () => {
    /** @type {Map<string, string>} */
    const map = new Map();
    return /** @type {any} */ ({ getItem: (/** @type {string} */ k) => map.get(k) ?? null, setItem: (/** @type {string} */ k, /** @type {string} */ v) => map.set(k, v) });
  };

  it("comes back", () => {
    const box = storage();
    const state = initialState({ inHost: false, form: { prompt: "a cat", steps: 12 }, injectHere: false });
    remember(box, state);
    assert.deepEqual(recall(box), { form: { ...DEFAULT_FORM, prompt: "a cat", steps: 12 }, injectHere: false });
  });
  it("is dropped where its type is another one's", () => {
    const box = storage();
    box.setItem("lora_manager.form", '{"steps":"many","prompt":"ok","odd":1}');
    assert.deepEqual(recall(box).form, { prompt: "ok" });
    box.setItem("lora_manager.form", "{broken");
    assert.deepEqual(recall(box).form, {});
  });
  it("is nothing without storage", () => assert.deepEqual(recall(null), { form: {}, injectHere: true }));
  it("leaves the host's switch to the host", () => {
    const box = storage();
    remember(box, { ...initialState({ inHost: true }), injection: { hosted: true, enabled: false } });
    assert.equal(recall(box).injectHere, true);
  });
});
