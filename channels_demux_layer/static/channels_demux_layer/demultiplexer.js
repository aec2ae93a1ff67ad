// Many streams over one WebSocket. demultiplexer.d.ts has the reference. A number such as (C5.3)
// refers to a clause of docs/specification/client-wire.md.

const STATES = { CONNECTING: 0, OPEN: 1, CLOSING: 2, CLOSED: 3 };
const { CONNECTING, OPEN, CLOSING, CLOSED } = STATES;
const STABLE = 5000; // ms that a socket must live to reset the back-off
const FAILED = { code: 1006 };
// After these codes, and those from 3000 on, a reconnect would fail again (C1.6).
const FINAL = [1000, 1002, 1003, 1007, 1008, 1009, 1010];

// Methods of a stream that only the Demultiplexer calls.
const BEGIN = Symbol("begin");
const TAKE = Symbol("take");
const LOSE = Symbol("lose");
const END = Symbol("end");

const encoder = new TextEncoder();
const decoder = new TextDecoder();

const isString = (value) => typeof value === "string";
const isOpen = (socket) => socket?.readyState === OPEN;
const isLive = (stream) => stream?.readyState <= OPEN;
const isFinal = (code) => code >= 3000 || FINAL.includes(code);

const absolute = (url) => {
  url = new URL(url, globalThis.location?.href);
  url.protocol = url.protocol.replace("http", "ws");
  return url;
};

const emit = (target, type, fields) =>
  target.dispatchEvent(Object.assign(new Event(type), fields));

const emitClose = (target, { code, reason = "", wasClean = false }) => {
  const fields = { code, reason, wasClean };
  if (globalThis.CloseEvent) target.dispatchEvent(new CloseEvent("close", fields));
  else emit(target, "close", fields); // Node has no CloseEvent before release 23.
};

// Add the WebSocket constants to a class, and properties such as onopen.
const dress = (target, types) => {
  Object.assign(target, STATES);
  Object.assign(target.prototype, STATES);
  for (const type of types) {
    const key = Symbol(type);
    Object.defineProperty(target.prototype, `on${type}`, {
      get() { return this[key] ?? null; },
      set(handler) {
        this.removeEventListener(type, this[key]);
        this[key] = handler;
        if (handler) this.addEventListener(type, handler);
      },
    });
  }
};

// Replace unpaired surrogates by U+FFFD (C2.9).
const wellFormed = (text) => text.replace(/\p{Surrogate}/gu, "\ufffd");
const quote = (text) => JSON.stringify(wellFormed(text));

const asJson = (text) => {
  try {
    JSON.parse(text);
  } catch {
    return quote(text);
  }
  return wellFormed(text).replace(
    /\\ud[89ab]..\\ud[c-f]..|\\(ud[89a-f]..)|\\./gi,
    (escape, half) => (half ? "\\ufffd" : escape),
  );
};

const headOf = (wire, name, key) => `{${quote(wire.streamKey)}:${quote(name)},${quote(key)}:`;

// Encode one byte with the length of the name, the name, and the payload (C3.1).
const encodeBinary = (name, data) => {
  name = encoder.encode(name);
  if (data instanceof Blob) return new Blob([Uint8Array.of(name.length), name, data]);
  data = new Uint8Array(data.buffer ?? data, data.byteOffset, data.byteLength);
  const frame = new Uint8Array(1 + name.length + data.length);
  frame[0] = name.length;
  frame.set(name, 1);
  frame.set(data, 1 + name.length);
  return frame;
};

// Return name and data, or name, event and fields. Throws if the text is not a JSON object.
const decode = (wire, frame) => {
  if (!isString(frame)) {
    const end = 1 + new Uint8Array(frame)[0];
    const name = end <= frame.byteLength && decoder.decode(frame.slice(1, end));
    return { name, data: frame.slice(end) };
  }
  const fields = JSON.parse(frame);
  const { [wire.streamKey]: name, [wire.payloadKey]: payload, [wire.eventKey]: event } = fields;
  if (payload === undefined) return { name, event, fields }; // (C2.4)
  // Slice the payload out byte for byte (C2.2), unless a consumer wrote the envelope (C7.1).
  const head = headOf(wire, name, wire.payloadKey);
  const fits = frame.startsWith(head) && Object.keys(fields).length === 2;
  const data = fits ? frame.slice(head.length, frame.lastIndexOf("}")) : JSON.stringify(payload);
  return { name, data, payload };
};

export class Stream extends EventTarget {
  binaryType = "blob";
  #name;
  #options;
  #wire;
  #state = CONNECTING;
  #socket; // the socket on which the stream began
  #waiting = [];
  #size = 0; // of the waiting frames, in bytes

  constructor(name, options, wire) {
    super();
    this.#name = name;
    this.#options = options;
    this.#wire = wire;
  }

  get name() { return this.#name; }
  get readyState() { return this.#state; }
  get url() { return this.#wire.url; }
  get protocol() { return this.#options.subprotocol ?? this.#wire.socket?.protocol ?? ""; }
  get extensions() { return this.#wire.socket?.extensions ?? ""; }
  get bufferedAmount() { return this.#size + (this.#wire.socket?.bufferedAmount ?? 0); }
  get #isBegun() { return this.#socket === this.#wire.socket && isOpen(this.#socket); }

  send(data) {
    if (!isLive(this)) return; // silently, like a WebSocket
    let frame;
    if (data instanceof Blob || data instanceof ArrayBuffer || ArrayBuffer.isView(data)) {
      frame = encodeBinary(this.#name, data);
    } else {
      data = (this.#options.text ? quote : asJson)(String(data));
      frame = `${headOf(this.#wire, this.#name, this.#wire.payloadKey)}${data}}`;
    }
    if (this.#isBegun) this.#socket.send(frame);
    else this.#keep(frame);
  }

  close() {
    if (!isLive(this)) return;
    this.#state = CLOSING;
    this.#drop();
    if (this.#isBegun) this.#ask("close");
    else queueMicrotask(() => this[END]({ code: 1000 }));
  }

  async *[Symbol.asyncIterator]() {
    const events = [];
    let wake;
    const take = (event) => {
      events.push(event);
      wake?.();
    };
    this.addEventListener("message", take);
    this.addEventListener("close", take);
    try {
      while (this.#state < CLOSED || events.length) {
        if (!events.length) await new Promise((resolve) => { wake = resolve; });
        const { type, data } = events.shift();
        if (type === "close") return;
        yield data;
      }
    } finally {
      this.removeEventListener("message", take);
      this.removeEventListener("close", take);
    }
  }

  [BEGIN]() {
    const { socket, closing, ended } = this.#wire;
    // Wait for the end of its predecessor. Until then, the server refuses payloads (C6.3).
    if (this.#isBegun || !isOpen(socket) || closing.has(this.#name)) return;
    // If it is neither lazy nor ended, the server opened it with the connection (C1.2).
    const isAbsent = this.#options.lazy || ended.has(this.#name);
    if (!isLive(this)) {
      if (!isAbsent) this.#ask("close"); // the page has closed it
      return;
    }
    this.#socket = socket;
    if (isAbsent) this.#ask("open");
    const isBack = this.#state === OPEN;
    this.#state = OPEN;
    if (!isBack) this.#flush();
    emit(this, isBack ? "reopened" : "open");
    this.#flush(); // after the messages that the handler sent to restore the consumer's state
  }

  [TAKE](data, payload, origin) {
    if (this.#state !== OPEN) return;
    if (!isString(data)) data = this.binaryType === "blob" ? new Blob([data]) : data;
    else if (this.#options.text && isString(payload)) data = payload;
    this.dispatchEvent(new MessageEvent("message", { data, origin }));
  }

  // A stateful stream ends, because its state was in the lost consumer.
  [LOSE](fields) {
    if (this.#options.stateful && this.#state === OPEN) this[END](fields);
  }

  [END](fields) {
    if (this.#state === CLOSED) return;
    this.#state = CLOSED;
    this.#drop();
    emitClose(this, fields);
  }

  #ask(event) {
    const wire = this.#wire;
    if (event === "close") wire.closing.set(this.#name, this);
    wire.ended.delete(this.#name);
    wire.socket.send(`${headOf(wire, this.#name, wire.eventKey)}"${event}"}`);
  }

  #keep(frame) {
    const wire = this.#wire;
    const size = frame.size ?? frame.byteLength ?? encoder.encode(frame).length;
    if (wire.buffered + size > wire.maxBuffered) {
      throw new DOMException("Too much waits for the socket.", "QuotaExceededError");
    }
    this.#waiting.push(frame);
    this.#size += size;
    wire.buffered += size;
  }

  #drop() {
    this.#wire.buffered -= this.#size;
    this.#size = 0;
    return this.#waiting.splice(0);
  }

  #flush() {
    if (this.#isBegun) for (const frame of this.#drop()) this.#socket.send(frame);
  }
}

export class Demultiplexer extends EventTarget {
  #getUrl;
  #options;
  #wire; // state that all streams share
  #streams = new Map(); // by name, including ended ones
  #attempt; // the current attempt to connect, until it has a socket: a timer or an object
  #failures = 0; // since the last stable socket
  #lastCode; // of a stream's end, if that was the server's last message
  #isClosed = false;

  constructor(url, {
    WebSocket = globalThis.WebSocket,
    protocols,
    query,
    baseDelay = 1000,
    maxDelay = 30000,
    maxBuffered = 2 ** 20,
    streamKey = "stream",
    payloadKey = "payload",
    eventKey = "event",
  } = {}) {
    super();
    const isFunction = typeof url === "function";
    if (!isFunction) absolute(url); // throws now instead of at each attempt
    this.#getUrl = isFunction ? url : () => url;
    this.#options = { WebSocket, protocols, query, baseDelay, maxDelay };
    this.#wire = {
      maxBuffered,
      streamKey,
      payloadKey,
      eventKey,
      socket: null,
      url: "",
      closing: new Map(), // streams for which a close was sent, by name
      ended: new Set(), // names of the streams that the server has closed
      buffered: 0, // bytes
    };
  }

  get url() { return this.#wire.url; }

  get readyState() {
    const { socket } = this.#wire;
    if (this.#isClosed) return socket ? CLOSING : CLOSED;
    if (isOpen(socket)) return OPEN;
    return socket || this.#attempt ? CONNECTING : CLOSED;
  }

  stream(name, options = {}) {
    if (this.#isClosed) throw new DOMException("It was closed.", "InvalidStateError");
    name = wellFormed(String(name));
    const size = encoder.encode(name).length;
    if (!size || size > 255) throw new RangeError("A name has 1 to 255 bytes.");
    let stream = this.#streams.get(name);
    if (!isLive(stream)) {
      stream = new Stream(name, options, this.#wire);
      this.#streams.set(name, stream);
      this.#beginSoon(name);
      this.#connect();
    }
    return stream;
  }

  close(code = 1000, reason = "") {
    if (this.#isClosed) return;
    const { socket } = this.#wire;
    if (isOpen(socket)) {
      socket.close(code, reason); // throws for an invalid code; its close event ends the streams
      this.#isClosed = true;
      return;
    }
    this.#isClosed = true;
    clearTimeout(this.#attempt);
    this.#attempt = this.#wire.socket = null;
    socket?.close();
    queueMicrotask(() => this.#finish({ code, reason }));
  }

  // Begin in a microtask, so that the page can add its listeners first.
  #beginSoon(name) {
    queueMicrotask(() => this.#streams.get(name)?.[BEGIN]());
  }

  async #connect() {
    const wire = this.#wire;
    if (wire.socket || this.#attempt) return;
    const attempt = this.#attempt = {};
    const { WebSocket, protocols, query } = this.#options;
    try {
      const url = absolute(await this.#getUrl());
      const parameters = new URLSearchParams(await query?.());
      for (const [key, value] of parameters) url.searchParams.set(key, value);
      if (attempt !== this.#attempt) return;
      wire.url = url.href;
      wire.socket = new WebSocket(url.href, protocols);
      this.#attempt = null;
      this.#listen(wire.socket);
    } catch (error) {
      if (attempt !== this.#attempt) return;
      emit(this, "error", { error, message: String(error) });
      this.#retry(FAILED);
    }
  }

  #listen(socket) {
    let openedAt;
    const current = (act) => (event) => {
      if (socket === this.#wire.socket) act(event);
    };
    const lose = current((event) => {
      this.#wire.socket = null;
      socket.close(); // keeps a library from reconnecting on its own
      if (Date.now() - openedAt >= STABLE) this.#failures = 0;
      this.#lose(openedAt ? event : FAILED);
    });
    socket.binaryType = "arraybuffer";
    socket.onopen = current(() => {
      openedAt = Date.now();
      this.#lastCode = undefined;
      this.#wire.ended.clear();
      emit(this, "open");
      for (const stream of [...this.#streams.values()]) stream[BEGIN]();
    });
    socket.onmessage = current((event) => this.#receive(event));
    // After an error, ignore the close's code. Some sockets close before the error, some never.
    socket.onerror = () => lose(FAILED);
    socket.onclose = (event) => queueMicrotask(() => lose(event));
  }

  #receive({ data: frame, origin }) {
    const { closing, ended } = this.#wire;
    let parts;
    try {
      parts = decode(this.#wire, frame);
    } catch {
      return;
    }
    const { name, data, payload, event, fields } = parts;
    const stream = closing.get(name) ?? this.#streams.get(name);
    this.#lastCode = event === "closed" && fields.code;
    if (data !== undefined) {
      stream?.[TAKE](data, payload, origin);
    } else if (event === "closed") {
      closing.delete(name);
      ended.add(name);
      stream?.[END]({ ...fields, wasClean: true });
      this.#beginSoon(name);
    } else if (event === "error") {
      this.#refused(stream, name, fields);
    } else if (event === "reopened" || event === "unavailable") {
      if (stream?.readyState === OPEN) emit(stream, event);
    }
  }

  #refused(stream, name, { code, message }) {
    const target = stream?.readyState < CLOSED ? stream : this;
    emit(target, "error", { code, message, stream: name });
    if (code !== "unknown_stream") return;
    // End it like a WebSocket without a server, and a newer stream that waits for its end.
    const streams = [stream, this.#streams.get(name)];
    this.#streams.delete(name);
    this.#wire.closing.delete(name);
    for (const ending of streams) ending?.[END]({ code: 1006, reason: message });
  }

  #lose(event) {
    const { closing } = this.#wire;
    const ending = [...closing.values()];
    closing.clear();
    // The code of its last stream (C1.3) says nothing about newer streams.
    const isOver = isFinal(event.code) && event.code !== this.#lastCode;
    if (this.#isClosed || isOver) this.#finish(event);
    else this.#retry(event);
    for (const stream of ending) stream[END]({ code: 1000 });
    for (const stream of [...this.#streams.values()]) stream[LOSE](event);
  }

  #retry(event) {
    const isWanted = () => [...this.#streams.values()].some(isLive);
    if (!isWanted()) return this.#finish(event);
    const { code, reason = "" } = event;
    const { baseDelay, maxDelay } = this.#options;
    const delay = Math.random() * Math.min(maxDelay, baseDelay * 2 ** this.#failures++);
    this.#attempt = setTimeout(() => {
      this.#attempt = null;
      if (isWanted()) this.#connect();
      else this.#finish(event);
    }, delay);
    emit(this, "reconnecting", { code, reason, delay, attempt: this.#failures });
  }

  #finish(event) {
    emitClose(this, event);
    for (const stream of [...this.#streams.values()]) stream[END](event);
  }
}

dress(Stream, ["open", "message", "error", "close", "reopened", "unavailable"]);
dress(Demultiplexer, ["open", "error", "close", "reconnecting"]);
