/**
 * The progress socket: connects, comes back after a break, and hands on what it hears.
 * What an event means is for `jobs.mjs`; this module knows only whether the line is up.
 */

/** @import { Connection, FeedEvent } from "./types.mjs" */

const FIRST_RETRY_MS = 1_000;
const LAST_RETRY_MS = 15_000;
/** SD.Next restarts without closing its sockets: a line that stays silent this long is dead. */
const PING_EVERY_MS = 25_000;
const SILENCE_MS = 60_000;

/**
 * How long to wait before the n-th try (from 0), a little different for each page so that a
 * restarted server is not met by all of them at once.
 * @param {number} attempt
 * @param {number} chance 0..1
 */
export function retryDelayMs(attempt, chance) {
  const full = Math.min(FIRST_RETRY_MS * 2 ** attempt, LAST_RETRY_MS);
  return Math.round(full * (0.8 + 0.4 * chance));
}

/**
 * @typedef {{ start: () => void, stop: () => void, hurry: () => void }} Feed
 */

/**
 * @param {{
 *   ticket: () => Promise<string | null>,
 *   address: (ticket: string | null) => string,
 *   onEvent: (event: FeedEvent) => void,
 *   onState: (state: Connection) => void,
 *   onRetry?: () => void,
 *   Socket?: new (url: string) => WebSocket,
 *   random?: () => number,
 *   now?: () => number,
 * }} options `onRetry` is told of every try after a break, whether it succeeds or not
 * @returns {Feed}
 */
export function createFeed({
  ticket,
  address,
  onEvent,
  onState,
  onRetry = () => {},
  Socket = WebSocket,
  random = Math.random,
  now = Date.now,
}) {
  /** @type {WebSocket | null} */
  let socket = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let waiting;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  let pulse;
  let attempt = 0;
  let running = false;
  let connecting = false;
  let heardAt = 0;

  async function connect() {
    if (!running || connecting || socket) return;
    connecting = true;
    clearTimeout(waiting);
    if (attempt > 0) onRetry();
    try {
      const pass = await ticket();
      if (running) open(new Socket(address(pass)));
    } catch {
      later();
    } finally {
      connecting = false;
    }
  }

  /** @param {WebSocket} line */
  function open(line) {
    socket = line;
    heardAt = now();
    line.onopen = () => {
      line.send(JSON.stringify({ type: "subscribe", job_ids: null, include_previews: true }));
      pulse = setInterval(beat, PING_EVERY_MS);
    };
    line.onmessage = ({ data }) => {
      heardAt = now();
      const event = parse(data);
      if (!event) return;
      if (event.type === "connected" || event.type === "subscription_confirmed") {
        attempt = 0;
        onState("online");
      }
      onEvent(event);
    };
    line.onclose = () => lost(line);
    line.onerror = () => line.close();
  }

  function beat() {
    if (!socket) return;
    if (now() - heardAt > SILENCE_MS) lost(socket);
    else socket.send(JSON.stringify({ type: "ping" }));
  }

  /** @param {WebSocket} line */
  function lost(line) {
    if (line !== socket) return;
    socket = null;
    clearInterval(pulse);
    line.onclose = null;
    line.close();
    if (running) later();
  }

  function later() {
    if (!running) return;
    onState("offline");
    clearTimeout(waiting);
    waiting = setTimeout(connect, retryDelayMs(attempt++, random()));
  }

  return {
    start() {
      if (running) return;
      running = true;
      onState("connecting");
      void connect();
    },
    stop() {
      running = false;
      clearTimeout(waiting);
      clearInterval(pulse);
      const line = socket;
      socket = null;
      if (line) {
        line.onclose = null;
        line.close();
      }
    },
    /** Tries at once when a try is only being waited for: the network is back, the tab is looked at again. */
    hurry() {
      if (running && !socket) void connect();
    },
  };
}

/**
 * @param {unknown} data
 * @returns {FeedEvent | null}
 */
function parse(data) {
  try {
    const event = JSON.parse(String(data));
    if (typeof event?.type !== "string") return null;
    return { type: event.type, timestamp: event.timestamp, data: event.data ?? {} };
  } catch {
    return null;
  }
}
