// Shows the state of the socket and of each stream, and logs its changes.

import { element, tell, write } from "./page.js";

const STATES = {
  open: "Open",
  unavailable: "Unavailable",
  connecting: "Connecting",
  closed: "Closed",
};

export class Connection {
  isNew = false; // true while streams get `reopened` because of a reconnect
  #demux;
  #shows = []; // one function per stream that shows its state
  #wasOpen = false;
  #workers = new Map(); // stream -> the worker of its last message

  constructor(demux) {
    this.#demux = demux;
    demux.addEventListener("open", () => this.#opened());
    demux.addEventListener("reconnecting", (event) => this.#lost(event));
    demux.addEventListener("close", ({ code }) => this.#closed(code));
    demux.addEventListener("error", ({ message }) => tell(`Error: ${message}`));
  }

  // Return a stream, and show its state in its panel.
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
      if (!this.isNew) tell(`${name} continues on another worker.`);
    });
    stream.addEventListener("unavailable", () => {
      show("unavailable");
      tell(`${name} is unavailable: it has no worker.`);
    });
    stream.addEventListener("error", ({ message }) => tell(`${name}: ${message}`));
    stream.addEventListener("close", ({ code }) => {
      show("closed");
      tell(`${name} closed with code ${code}.`);
    });
    show("connecting");
    return stream;
  }

  // Note which worker hosts a stream of this page.
  servedBy(name, worker) {
    const before = this.#workers.get(name);
    if (before === worker) return;
    this.#workers.set(name, worker);
    if (before) tell(`${name} moved from ${before} to ${worker}.`);
  }

  get isOpen() {
    return this.#demux.readyState === WebSocket.OPEN;
  }

  worker(name) {
    return this.#workers.get(name);
  }

  #opened() {
    tell(this.#wasOpen ? "Reconnected. All streams continue." : "Connected.");
    this.#wasOpen = this.isNew = true;
    queueMicrotask(() => { this.isNew = false; });
    this.#show("open", "Connected");
  }

  #lost({ code, delay, attempt }) {
    const wait = `${(delay / 1000).toFixed(1)} s`;
    this.#show("connecting", `Reconnecting in ${wait}, attempt ${attempt}`);
    if (attempt === 1) tell(`The socket closed with code ${code}. The page reconnects.`);
    for (const show of this.#shows) show("connecting");
  }

  #closed(code) {
    this.#show("closed", `Closed (${code})`);
    tell(`The socket closed with code ${code}. Reload the page to connect again.`);
  }

  #show(state, text) {
    const label = element("connection");
    label.dataset.state = state;
    write(label, text);
  }
}
