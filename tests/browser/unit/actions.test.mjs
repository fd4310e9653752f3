import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it, mock } from "node:test";
import { createActiveSet } from "../../../javascript/lib/actions/active_set.mjs";
import { createCompose } from "../../../javascript/lib/actions/compose.mjs";
import { createGeneration } from "../../../javascript/lib/actions/generation.mjs";
import { createLibrary } from "../../../javascript/lib/actions/library.mjs";
import { initialState } from "../../../javascript/lib/state.mjs";
import { createStore } from "../../../javascript/lib/store.mjs";
import { adapter, deferred, fakeApi, problem, settled } from "./fakes.mjs";

/** @import { Adapter, State } from "../../../javascript/lib/types.mjs" */
/** @import { Call } from "./fakes.mjs" */

const page = (/** @type {Adapter[]} */ items, filtered = items.length) => ({ items, total: filtered, filtered, page: 1, pages: 1, per_page: 60 });
const newStore = () => createStore(initialState({ inHost: false }));

beforeEach(() => mock.timers.enable({ apis: ["setTimeout"] }));
afterEach(() => mock.timers.reset());

describe("the library", () => {
  it("drops the answer to a question that is no longer asked", async () => {
    const store = newStore();
    /** @type {Record<string, ReturnType<typeof deferred>>} */
    const answers = { a: deferred(), ab: deferred() };
    const { api } = fakeApi(({ query }) => answers[query.search].promise);
    const library = createLibrary({ store, api });
    library.ask({ search: "a" });
    library.ask({ search: "ab" });
    answers.ab.resolve(page([adapter("ab")]));
    await settled();
    answers.a.resolve(page([adapter("a")]));
    await settled();
    assert.deepEqual(store.get().list.pages.get(1)?.map(({ name }) => name), ["ab"]);
  });

  it("asks 150 ms after the last key, not for each", async () => {
    const store = newStore();
    const { api, calls } = fakeApi(() => page([]));
    const library = createLibrary({ store, api });
    for (const search of ["n", "no", "noi"]) library.search(search);
    assert.equal(store.get().query.search, "noi");
    mock.timers.tick(149);
    assert.equal(calls.length, 0);
    mock.timers.tick(1);
    await settled();
    assert.deepEqual(calls.map(({ query }) => query.search), ["noi"]);
  });

  it("fetches a page once, and with the query of the list it belongs to", async () => {
    const store = newStore();
    const { api, calls } = fakeApi(() => page([adapter("a")], 600));
    const library = createLibrary({ store, api });
    await library.load();
    store.set({ query: { ...store.get().query, search: "not asked yet" } });
    library.ensure([1, 2, 3]);
    library.ensure([2, 3]);
    await settled();
    assert.deepEqual(calls.map(({ query }) => [query.page, query.search]), [[1, ""], [2, ""], [3, ""]]);
    assert.deepEqual([...store.get().list.pages.keys()].sort(), [1, 2, 3]);
  });

  it("throws away a page of a list that has been replaced", async () => {
    const store = newStore();
    const late = deferred();
    const { api } = fakeApi(({ query }) => (query.page === 2 ? late.promise : page([adapter("a")], 600)));
    const library = createLibrary({ store, api });
    await library.load();
    library.ensure([2]);
    await library.load();
    late.resolve(page([adapter("old")]));
    await settled();
    assert.equal(store.get().list.pages.has(2), false);
  });

  it("does not ask for a failed page again until told to", async () => {
    const store = newStore();
    let broken = true;
    const { api, calls } = fakeApi(({ query }) => {
      if (query.page === 2 && broken) throw problem(503);
      return page([adapter("a")], 600);
    });
    const library = createLibrary({ store, api });
    await library.load();
    library.ensure([2]);
    await settled();
    library.ensure([2]);
    await settled();
    assert.equal(calls.length, 2);
    assert.equal(/** @type {any} */ (store.get().list.problem).status, 503);
    broken = false;
    library.retry();
    library.ensure([2]);
    await settled();
    assert.deepEqual([store.get().list.pages.has(2), store.get().list.problem], [true, null]);
  });

  it("keeps the old list in sight when the new question fails", async () => {
    const store = newStore();
    let broken = false;
    const { api } = fakeApi(() => {
      if (broken) throw problem(500);
      return page([adapter("a")]);
    });
    const library = createLibrary({ store, api });
    await library.load();
    broken = true;
    await library.load();
    assert.equal(store.get().list.status, "error");
    assert.equal(store.get().list.pages.get(1)?.length, 1);
  });

  it("puts a changed record where it is shown", async () => {
    const store = newStore();
    const { api } = fakeApi(() => page([adapter("a"), adapter("b")]));
    const library = createLibrary({ store, api });
    await library.load();
    library.replace(adapter("b", { active: true }));
    assert.deepEqual(store.get().list.pages.get(1)?.map(({ active }) => active), [false, true]);
    const before = store.get().list;
    library.replace(adapter("elsewhere"));
    assert.equal(store.get().list, before);
  });
});

describe("the active set", () => {
  /** @type {import("../../../javascript/lib/store.mjs").Store<State>} */
  let store;
  /** @type {Map<string, Adapter>} */
  let server;
  /** @type {(call: Call) => void} */
  let before;

  /** A server that does as it is told. @param {Call} call */
  function answer(call) {
    before(call);
    const { method, path, body } = call;
    if (path === "/adapters") return page([...server.values()].filter(({ active }) => active));
    if (path === "/adapters/bulk") {
      for (const id of body.lora_ids) server.set(id, { .../** @type {Adapter} */ (server.get(id)), active: false });
      return {};
    }
    const [, , id, verb] = path.split("/");
    const record = /** @type {Adapter} */ (server.get(id));
    const changed = method === "PATCH" ? { ...record, ...body } : { ...record, ...body, active: verb === "activate" };
    server.set(id, changed);
    return { adapter: changed };
  }

  /** @param {Adapter[]} adapters */
  function setUp(adapters) {
    store = newStore();
    server = new Map(adapters.map((item) => [item.id, item]));
    before = () => {};
    const fake = fakeApi(answer);
    /** @type {Map<string, boolean>} */
    const shown = new Map();
    let written = 0;
    const set = createActiveSet({
      store,
      api: fake.api,
      show: (item) => shown.set(item.name, item.active),
      onWritten: () => written++,
    });
    return { set, shown, writes: fake.writes, written: () => written };
  }
  const names = () => store.get().active.items.map(({ name }) => name);
  const order = () =>
    [...server.values()].filter(({ active }) => active).sort((a, b) => Number(a.ordinal) - Number(b.ordinal)).map(({ name }) => name);

  it("shows at once, then writes, in the order of the clicks", async () => {
    const [a, b] = [adapter("a"), adapter("b")];
    const { set, shown, writes } = setUp([a, b]);
    set.toggle(b);
    set.toggle(a);
    assert.deepEqual(names(), ["b", "a"]);
    assert.equal(shown.get("a"), true);
    await settled();
    assert.deepEqual(writes().map(({ path, body }) => [path, body]), [
      ["/adapters/id-b/activate", { ordinal: 0 }],
      ["/adapters/id-a/activate", { ordinal: 1 }],
    ]);
  });

  it("gives those without an ordinal one, so that the newest really is the last", async () => {
    const { set } = setUp([adapter("old", { active: true }), adapter("new")]);
    await set.load();
    set.toggle(adapter("new"));
    await settled();
    assert.deepEqual(order(), ["old", "new"]);
  });

  it("moves, and writes only what changed", async () => {
    const { set, writes } = setUp(["a", "b", "c"].map((name, ordinal) => adapter(name, { active: true, ordinal })));
    await set.load();
    set.move("id-c", 1);
    await settled();
    assert.deepEqual([names(), order()], [["a", "c", "b"], ["a", "c", "b"]]);
    assert.deepEqual(writes().map(({ path }) => path), ["/adapters/id-c", "/adapters/id-b"]);
    set.move("id-a", -1);
    await settled();
    assert.equal(writes().length, 2);
  });

  it("writes a dragged weight once, when it has come to rest", async () => {
    const { set, writes, written } = setUp([adapter("a", { active: true, ordinal: 0 })]);
    await set.load();
    for (const weight of [0.9, 0.8, 0.7]) set.setWeight("id-a", weight);
    assert.equal(store.get().active.items[0].weight, 0.7);
    mock.timers.tick(1000);
    await settled();
    assert.deepEqual(writes().map(({ body }) => body), [{ weight: 0.7 }]);
    assert.equal(written(), 2);
  });

  it("does not let a late answer take back a newer weight", async () => {
    const { set } = setUp([adapter("a", { active: true, ordinal: 0 })]);
    await set.load();
    set.setWeight("id-a", 0.5);
    mock.timers.tick(180);
    set.setWeight("id-a", 0.4);
    await settled();
    assert.equal(store.get().active.items[0].weight, 0.4);
    mock.timers.tick(180);
    await settled();
    assert.equal(server.get("id-a")?.weight, 0.4);
  });

  it("takes back what the server refused, says so, and can try again", async () => {
    const { set, shown } = setUp([adapter("a")]);
    before = ({ path }) => {
      if (path.endsWith("/activate")) throw problem(409);
    };
    set.toggle(adapter("a"));
    await settled();
    assert.deepEqual([names(), shown.get("a")], [[], false]);
    assert.equal(/** @type {any} */ (store.get().notice)?.problem.status, 409);
    before = () => {};
    store.get().notice?.retry?.();
    await settled();
    assert.deepEqual([names(), store.get().notice], [["a"], null]);
  });

  it("takes an adapter out, and forgets its unwritten weight", async () => {
    const { set, writes } = setUp([adapter("a", { active: true, ordinal: 0 })]);
    await set.load();
    set.setWeight("id-a", 0.2);
    set.remove("id-a");
    mock.timers.tick(1000);
    await settled();
    assert.deepEqual(writes().map(({ path }) => path), ["/adapters/id-a/deactivate"]);
  });

  it("empties itself in one call", async () => {
    const { set, writes } = setUp([adapter("a", { active: true }), adapter("b", { active: true })]);
    await set.load();
    set.clear();
    await settled();
    assert.deepEqual([names(), order(), writes().length], [[], [], 1]);
    set.clear();
    await settled();
    assert.equal(writes().length, 1);
  });
});

describe("composing", () => {
  /** @type {any} */
  const noHost = {};

  it("asks nothing while nothing is active: the prompt is the prompt", async () => {
    const store = newStore();
    store.set({ form: { ...store.get().form, prompt: "  a cat " } });
    const { api, calls } = fakeApi(() => ({}));
    await createCompose({ store, api, host: noHost }).now();
    assert.deepEqual([store.get().compose.prompt, calls.length], ["a cat", 0]);
  });

  it("keeps the newest answer, and warnings of both kinds", async () => {
    const store = newStore();
    store.set({ active: { status: "ready", problem: null, items: [adapter("a")] } });
    const [slow, quick] = [deferred(), deferred()];
    const answers = [slow, quick];
    const { api } = fakeApi(() => answers.shift()?.promise);
    const compose = createCompose({ store, api, host: noHost });
    const both = [compose.now(), compose.now()];
    quick.resolve({ prompt: "new", tokens: [], warnings: ["odd", { code: "c", message: "m" }] });
    slow.resolve({ prompt: "old", tokens: [], warnings: [] });
    await Promise.all(both);
    assert.deepEqual([store.get().compose.prompt, store.get().compose.warnings.length], ["new", 2]);
  });

  it("writes into SD.Next's box", () => {
    const store = newStore();
    store.set({ compose: { ...store.get().compose, prompt: "<lora:a:1.000>", tokens: ["<lora:a:1.000>"] } });
    const written = /** @type {string[]} */ ([]);
    /** @type {any} */
    const host = { writePrompt: (/** @type {string} */ target, /** @type {(old: string) => string} */ change) => written.push(target, change("a cat")) };
    createCompose({ store, api: fakeApi(() => ({})).api, host }).sendTo("control");
    assert.deepEqual(written, ["control", "a cat <lora:a:1.000>"]);
  });
});

describe("generating", () => {
  /** @param {(call: Call) => unknown} answer */
  function setUp(answer) {
    const store = newStore();
    store.set({ form: { ...store.get().form, prompt: " a cat ", backend: "diffusers" } });
    const fake = fakeApi(answer);
    return { store, ...fake, generation: createGeneration({ store, api: fake.api, onPrompt: () => {}, onChange: () => {} }) };
  }
  const queued = () => ({ job_id: "j", status: "queued", warnings: ["odd size"] });

  it("sends the form, deferred, to the chosen backend", async () => {
    const { generation, calls, store } = setUp(queued);
    await generation.start();
    const [{ path, body, query }] = calls;
    assert.equal(path, "/generation/generate");
    assert.deepEqual(query, { mode: "deferred", return_format: "url", backend: "diffusers" });
    assert.equal(body.prompt, "a cat");
    assert.equal("backend" in body, false);
    assert.deepEqual(store.get().generation.warnings.map(({ message }) => message), ["odd size"]);
  });

  for (const [what, enabled, active, path] of /** @type {[string, boolean, number, string][]} */ ([
    ["with the set when the switch is on", true, 1, "/generation/compose-and-generate"],
    ["plain when it is off", false, 1, "/generation/generate"],
    ["plain when nothing is active", true, 0, "/generation/generate"],
  ])) {
    it(what, async () => {
      const { generation, calls, store } = setUp(queued);
      store.set({ injection: { hosted: false, enabled }, active: { status: "ready", problem: null, items: active ? [adapter("a")] : [] } });
      await generation.start();
      assert.equal(calls[0].path, path);
      if (path.includes("compose")) assert.deepEqual(calls[0].body.compose_request, { prefix: "a cat" });
    });
  }

  it("shows the picture when the job ends", async () => {
    const { generation, store } = setUp(queued);
    await generation.start();
    generation.hear({ type: "progress_update", data: { job_id: "j", progress: 0.5 } });
    assert.equal(store.get().generation.shown, null);
    generation.hear({ type: "generation_complete", data: { job_id: "j", status: "completed", images: ["/v1/r"] } });
    assert.deepEqual(store.get().generation.shown?.job.images, ["/v1/r"]);
  });

  it("shows it also when the end came before the answer to the request", async () => {
    const answer = deferred();
    const { generation, store } = setUp(() => answer.promise);
    const started = generation.start();
    generation.hear({ type: "generation_complete", data: { job_id: "j", status: "completed", images: ["/v1/r"] } });
    answer.resolve(queued());
    await started;
    assert.deepEqual(store.get().generation.shown?.job.images, ["/v1/r"]);
  });

  it("does not show other people's pictures", async () => {
    const { generation, store } = setUp(queued);
    await generation.start();
    generation.hear({ type: "generation_complete", data: { job_id: "other", status: "completed", images: ["/v1/x"] } });
    assert.equal(store.get().generation.shown, null);
  });

  it("asks once for a job whose end it may have missed", async () => {
    const { generation, store, calls } = setUp(({ method }) =>
      method === "GET" ? { delivery: { id: "j", status: "succeeded", result: { images: ["/v1/r"] } } } : queued(),
    );
    await generation.start();
    await generation.catchUp();
    await generation.catchUp();
    assert.equal(calls.filter(({ method }) => method === "GET").length, 1);
    assert.deepEqual(store.get().generation.shown?.job.images, ["/v1/r"]);
  });

  it("ends a job the server no longer knows", async () => {
    const { generation, store } = setUp(({ method }) => {
      if (method === "GET") throw problem(404, "job_not_found");
      return queued();
    });
    await generation.start();
    await generation.catchUp();
    assert.equal(store.get().jobs.j.status, "failed");
  });

  it("starts one picture per click, and says why when it cannot", async () => {
    const answer = deferred();
    const { generation, store, calls } = setUp(() => answer.promise);
    const started = generation.start();
    await generation.start();
    answer.reject(problem(424, "backend_unavailable"));
    await started;
    assert.equal(calls.length, 1);
    assert.deepEqual([store.get().generation.starting, /** @type {any} */ (store.get().generation.problem).code], [false, "backend_unavailable"]);
  });

  it("lets the host's switch rule where there is one, and puts it back when the host refuses", async () => {
    let refuse = false;
    const { generation, store, calls } = setUp(({ method }) => {
      if (method === "GET") return { available: true, enabled: false };
      if (refuse) throw problem(500);
      return { enabled: true };
    });
    await generation.loadInjection();
    assert.deepEqual(store.get().injection, { hosted: true, enabled: false });
    await generation.setInjection(true);
    assert.deepEqual(calls.at(-1)?.body, { enabled: true });
    refuse = true;
    await generation.setInjection(false);
    assert.equal(store.get().injection.enabled, true);
    assert.ok(store.get().notice);
  });

  it("asks nobody about the switch where the page stands alone", async () => {
    const { generation, store, calls } = setUp(() => ({ available: false, enabled: true }));
    await generation.loadInjection();
    await generation.setInjection(false);
    assert.equal(calls.length, 1);
    assert.deepEqual(store.get().injection, { hosted: false, enabled: false });
  });
});
