// The state of the socket and of each stream, shown and told.

import { element, tell, write } from "./page.js";

const STATES = {
  open: "Open",
  unavailable: "Unavailable",
  connecting: "Connecting",
  closed: "Closed",
};

export class Connection {
  isNew = false; // while streams learn that they go on over another socket
  #demux;
  #shows = []; // how to show the state of each stream
  #wasOpen = false;
  #workers = new Map(); // stream -> the worker that has last spoken

  constructor(demux) {
    this.#demux = demux;
    demux.addEventListener("open", () => this.#opened());
    demux.addEventListener("reconnecting", (event) => this.#lost(event));
    demux.addEventListener("close", ({ code }) => this.#closed(code));
    demux.addEventListener("error", ({ message }) => tell(`Error: ${message}`));
  }

  // Give a stream whose state is shown in its panel.
  stream(name) {
    const stream = this.#demux.stream(name);
    const label = element(name).querySelector(".stream-state");
    const show = (state) => {
      label.dataset.state = state;
      write(label, STATES[state]);
    };
    this.#shows.push(show);
    stream.addEventListener("open", () => show("open"));
    stream.addEventListener("message", () => show("open"));
    stream.addEventListener("reopened", () => {
      show("open");
      if (!this.isNew) tell(`${name} goes on with another worker.`);
    });
    stream.addEventListener("unavailable", () => {
      show("unavailable");
      tell(`${name} is unavailable: no worker takes it.`);
    });
    stream.addEventListener("error", ({ message }) => tell(`${name}: ${message}`));
    stream.addEventListener("close", ({ code }) => {
      show("closed");
      tell(`${name} has ended with ${code}.`);
    });
    show("connecting");
    return stream;
  }

  // Note which worker serves a stream of this page.
  servedBy(name, worker) {
    const before = this.#workers.get(name);
    if (before === worker) return;
    this.#workers.set(name, worker);
    if (before) tell(`${name} has moved from ${before} to ${worker}.`);
  }

  get isOpen() {
    return this.#demux.readyState === WebSocket.OPEN;
  }

  worker(name) {
    return this.#workers.get(name);
  }

  #opened() {
    tell(this.#wasOpen ? "Connected again: all streams go on." : "Connected.");
    this.#wasOpen = this.isNew = true;
    queueMicrotask(() => { this.isNew = false; });
    this.#show("open", "Connected");
  }

  #lost({ code, delay, attempt }) {
    const wait = `${(delay / 1000).toFixed(1)} s`;
    this.#show("connecting", `Reconnecting in ${wait}, attempt ${attempt}`);
    if (attempt === 1) tell(`The socket was lost (${code}). It comes back by itself.`);
    for (const show of this.#shows) show("connecting");
  }

  #closed(code) {
    this.#show("closed", `Closed (${code})`);
    tell(`The socket has closed for good (${code}).`);
  }

  #show(state, text) {
    const label = element("connection");
    label.dataset.state = state;
    write(label, text);
  }
}
