// What the tests of the browser's client share: the client, a socket to play with, a clock.

import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const here = new URL(
  "../../channels_demux_layer/static/channels_demux_layer/demultiplexer.js",
  import.meta.url,
);
// The suite also runs beside an installed package. Node takes a .js file for CommonJS, a browser
// for what the page says that it is.
const folder = await mkdtemp(join(tmpdir(), "demultiplexer-"));
const copy = join(folder, "demultiplexer.mjs");
await writeFile(copy, await readFile(process.env.DEMUX_CLIENT || here));
export const { Demultiplexer, Stream } = await import(pathToFileURL(copy));
await rm(folder, { recursive: true });

/** Let everything happen that waits for nothing but its turn. */
export const settle = () => new Promise((resolve) => setImmediate(resolve));

/** A WebSocket whose server is the test. */
export class FakeSocket {
  static made = [];
  /** The newest one. */
  static get last() { return this.made.at(-1); }
  static reset() { this.made = []; }

  readyState = 0;
  bufferedAmount = 0;
  protocol = "";
  extensions = "";
  sent = [];

  constructor(url, protocols) {
    Object.assign(this, { url, protocols });
    this.constructor.made.push(this);
  }

  send(data) {
    if (this.readyState === 1) this.sent.push(data);
  }

  close(...how) {
    if (this.readyState > 1) return;
    this.readyState = 2;
    this.closedWith = how;
  }

  // What the server does.

  open() {
    this.readyState = 1;
    this.onopen(new Event("open"));
  }

  /** Say something: text as it stands, anything else as JSON. */
  say(frame) {
    const data = typeof frame === "string" || frame instanceof ArrayBuffer
      ? frame : JSON.stringify(frame);
    this.onmessage({ data, origin: "ws://test" });
  }

  drop(code = 1006, reason = "", wasClean = false) {
    this.readyState = 3;
    this.onclose({ code, reason, wasClean });
  }

  /** The sent text frames, decoded. */
  get heard() { return this.sent.map((frame) => JSON.parse(frame)); }
}

const real = { setTimeout, clearTimeout, now: Date.now, random: Math.random };

/** Time that passes when the test says so, and jitter that is always at its most. */
export class Clock {
  now = 1_000_000;
  timers = new Map();
  #last = 0;

  install() {
    Date.now = () => this.now;
    Math.random = () => 1;
    globalThis.setTimeout = (callback, delay) => {
      this.timers.set(++this.#last, { callback, at: this.now + delay });
      return this.#last;
    };
    globalThis.clearTimeout = (id) => this.timers.delete(id);
  }

  uninstall() {
    Object.assign(globalThis, { setTimeout: real.setTimeout, clearTimeout: real.clearTimeout });
    Date.now = real.now;
    Math.random = real.random;
  }

  /** The wait until the next timer, in ms; undefined where there is none. */
  get next() {
    return this.timers.size ? Math.min(...[...this.timers.values()].map(({ at }) => at)) - this.now
      : undefined;
  }

  async pass(ms) {
    this.now += ms;
    for (const [id, { callback, at }] of [...this.timers]) {
      if (at <= this.now && this.timers.delete(id)) callback();
    }
    await settle();
  }
}

/** Write down the events of a target, in order: type, and what a test wants of it. */
export function record(target, ...types) {
  const log = [];
  for (const type of types) {
    target.addEventListener(type, ({ data, code, reason, wasClean, message }) => {
      const parts = { data, code, reason, wasClean, message };
      const said = Object.entries(parts).filter(([, value]) => value !== undefined);
      log.push(said.length ? [type, Object.fromEntries(said)] : type);
    });
  }
  return log;
}

export const STREAM_EVENTS = ["open", "message", "error", "close", "reopened", "unavailable"];
