import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it, mock } from "node:test";
import { createFeed, retryDelayMs } from "../../../javascript/lib/feed.mjs";
import { FakeSocket, problem, settled } from "./fakes.mjs";

describe("retryDelayMs", () => {
  it("doubles, and stops growing", () => {
    assert.deepEqual([0, 1, 2, 3, 4, 9].map((attempt) => retryDelayMs(attempt, 0.5)), [1000, 2000, 4000, 8000, 15000, 15000]);
  });
  it("differs from page to page by a fifth at most", () => {
    assert.deepEqual([retryDelayMs(0, 0), retryDelayMs(0, 1)], [800, 1200]);
  });
});

describe("the feed", () => {
  /** @type {string[]} */
  let states;
  /** @type {any[]} */
  let events;
  /** @type {() => Promise<string | null>} */
  let ticket;
  /** @type {ReturnType<typeof createFeed>} */
  let feed;
  let retries = 0;
  let time = 0;

  beforeEach(() => {
    mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
    FakeSocket.opened = [];
    states = [];
    events = [];
    retries = 0;
    time = 0;
    ticket = async () => "pass";
    feed = createFeed({
      ticket: () => ticket(),
      address: (pass) => `ws://host/ws?ticket=${pass}`,
      onEvent: (event) => events.push(event),
      onState: (state) => states.push(state),
      onRetry: () => retries++,
      Socket: /** @type {any} */ (FakeSocket),
      random: () => 0.5,
      now: () => time,
    });
  });
  afterEach(() => {
    feed.stop();
    mock.timers.reset();
  });

  async function connected() {
    feed.start();
    await settled();
    const socket = FakeSocket.last();
    socket.onopen?.();
    socket.say({ type: "connected", data: {} });
    return socket;
  }

  it("connects with a ticket and subscribes to every job", async () => {
    const socket = await connected();
    assert.equal(socket.url, "ws://host/ws?ticket=pass");
    assert.deepEqual(socket.sent, [{ type: "subscribe", job_ids: null, include_previews: true }]);
    assert.deepEqual(states, ["connecting", "online"]);
  });

  it("hands on events, and ignores what is none", async () => {
    const socket = await connected();
    socket.onmessage?.({ data: "not json" });
    socket.say({ no: "type" });
    socket.say({ type: "progress_update", data: { job_id: "j" } });
    assert.deepEqual(events.map(({ type }) => type), ["connected", "progress_update"]);
  });

  it("says offline when the line breaks, and comes back", async () => {
    (await connected()).close();
    assert.equal(states.at(-1), "offline");
    mock.timers.tick(999);
    await settled();
    assert.equal(FakeSocket.opened.length, 1);
    mock.timers.tick(1);
    await settled();
    assert.equal(FakeSocket.opened.length, 2);
    assert.equal(retries, 1);
    FakeSocket.last().say({ type: "connected", data: {} });
    assert.equal(states.at(-1), "online");
  });

  it("waits longer after each failure, and from the start again once it was connected", async () => {
    ticket = async () => Promise.reject(problem(503));
    feed.start();
    await settled();
    mock.timers.tick(1000);
    await settled();
    ticket = async () => null;
    mock.timers.tick(1999);
    await settled();
    assert.equal(FakeSocket.opened.length, 0);
    mock.timers.tick(1);
    await settled();
    assert.equal(FakeSocket.opened.length, 1);
    FakeSocket.last().say({ type: "connected", data: {} });
    FakeSocket.last().close();
    mock.timers.tick(1000);
    await settled();
    assert.equal(FakeSocket.opened.length, 2);
  });

  it("takes a line that stays silent for dead", async () => {
    const socket = await connected();
    time = 25_000;
    mock.timers.tick(25_000);
    assert.equal(socket.sent.at(-1).type, "ping");
    time = 75_000;
    mock.timers.tick(50_000);
    assert.ok(socket.closed);
    assert.equal(states.at(-1), "offline");
  });

  it("hurries only when it waits", async () => {
    (await connected()).close();
    feed.hurry();
    await settled();
    assert.equal(FakeSocket.opened.length, 2);
    feed.hurry();
    await settled();
    assert.equal(FakeSocket.opened.length, 2);
  });

  it("stays away once stopped, and can start again", async () => {
    await connected();
    feed.stop();
    mock.timers.tick(60_000);
    await settled();
    assert.equal(FakeSocket.opened.length, 1);
    await connected();
    assert.equal(FakeSocket.opened.length, 2);
  });
});
