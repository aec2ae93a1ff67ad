// Sockets go and come back; streams stay, or end for a reason.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import {
  Clock, Demultiplexer, FakeSocket, STREAM_EVENTS, Stream, record, settle,
} from "./harness.mjs";

const BASE = 1000;
let clock, demux;

beforeEach(() => {
  FakeSocket.reset();
  clock = new Clock();
  clock.install();
  demux = new Demultiplexer("ws://test/ws/", { WebSocket: FakeSocket });
});
afterEach(() => {
  clock.uninstall();
  delete globalThis.location;
});

/** Take streams, and open the socket. */
async function opened(...names) {
  const streams = names.map((name) => demux.stream(name));
  await settle();
  FakeSocket.last.open();
  return streams;
}

async function drop(...how) {
  FakeSocket.last.drop(...how);
  await settle();
}

/** Let the next attempt come, and succeed. */
async function back() {
  await clock.pass(clock.next);
  FakeSocket.last.open();
}

test("there is no socket before there is a stream", async () => {
  await settle();
  assert.equal(FakeSocket.made.length, 0);
  assert.equal(demux.readyState, Demultiplexer.CLOSED);
  demux.stream("chat");
  assert.equal(demux.readyState, Demultiplexer.CONNECTING);
  await settle();
  FakeSocket.last.open();
  assert.equal(demux.readyState, Demultiplexer.OPEN);
});

test("a lost socket is replaced, and the streams go on with a new consumer", async () => {
  const [chat] = await opened("chat");
  const logs = [record(chat, ...STREAM_EVENTS), record(demux, "open", "reconnecting", "close")];
  await drop(1006);
  assert.equal(chat.readyState, Stream.OPEN);
  assert.equal(demux.readyState, Demultiplexer.CONNECTING);
  await back();
  assert.deepEqual(logs, [["reopened"], [["reconnecting", { code: 1006, reason: "" }], "open"]]);
  assert.equal(FakeSocket.made.length, 2);
});

test("a stateful stream ends with the socket, and is another one on the next", async () => {
  const options = { stateful: true };
  const [chat, ...others] = [demux.stream("chat", options), ...await opened("stays")];
  const audit = demux.stream("audit", { ...options, lazy: true });
  const logs = [chat, ...others, audit].map((stream) => record(stream, ...STREAM_EVENTS));
  let again;
  chat.addEventListener("close", () => { again = demux.stream("chat", options); });
  await settle();
  await drop(1012, "restart");
  assert.equal(again.readyState, Stream.CONNECTING);
  again.send("1");
  await back();
  const close = ["close", { code: 1012, reason: "restart", wasClean: false }];
  assert.deepEqual(logs, [[close], ["reopened"], ["open", close]]);
  assert.equal(FakeSocket.made.length, 2);
  assert.equal(again.readyState, Stream.OPEN);
  assert.deepEqual(FakeSocket.last.heard, [{ stream: "chat", payload: 1 }]);
});

test("lazy streams are opened again by an event", async () => {
  demux.stream("audit", { lazy: true });
  await opened("chat");
  await drop();
  await back();
  assert.deepEqual(FakeSocket.last.heard, [{ stream: "audit", event: "open" }]);
});

test("streams that have ended do not come back: the server is told to close them", async () => {
  const [, chat, echo] = await opened("stays", "chat", "echo");
  const lazy = demux.stream("audit", { lazy: true });
  await settle();
  for (const stream of [chat, lazy]) {
    stream.close();
    FakeSocket.last.say({ stream: stream.name, event: "closed", code: 1000, reason: "" });
  }
  FakeSocket.last.say({ stream: "echo", event: "closed", code: 4001, reason: "" });
  await drop();
  await back();
  assert.deepEqual(FakeSocket.last.heard, [
    { stream: "chat", event: "close" }, { stream: "echo", event: "close" },
  ]);
  const again = demux.stream("chat");
  await settle();
  assert.equal(again.readyState, Stream.CONNECTING);
  FakeSocket.last.say({ stream: "chat", event: "closed", code: 1000, reason: "" });
  await settle();
  assert.equal(again.readyState, Stream.OPEN);
  assert.equal(echo.readyState, Stream.CLOSED);
});

test("a stream that was being closed ends with the socket", async () => {
  const [chat] = await opened("chat", "echo");
  const log = record(chat, ...STREAM_EVENTS);
  chat.close();
  await drop();
  assert.deepEqual(log, [["close", { code: 1000, reason: "", wasClean: false }]]);
});

test("what is sent while the socket is away waits, in order", async () => {
  const chat = demux.stream("chat");
  chat.send("1");
  await settle();
  FakeSocket.last.open();
  FakeSocket.last.readyState = 2; // the socket knows already, the page not yet
  chat.send("2");
  await drop();
  chat.send("3");
  assert.equal(chat.bufferedAmount, 2 * '{"stream":"chat","payload":2}'.length);
  await back();
  assert.deepEqual(FakeSocket.made.map(({ heard }) => heard.map(({ payload }) => payload)), [
    [1], [2, 3],
  ]);
  assert.equal(chat.bufferedAmount, 0);
});

test("what waited goes before what a handler of open sends, as it was sent before", async () => {
  const chat = demux.stream("chat");
  chat.onopen = () => chat.send('"handler"');
  chat.send('"waited"');
  await opened();
  assert.deepEqual(FakeSocket.last.heard.map(({ payload }) => payload), ["waited", "handler"]);
});

test("what a handler of reopened sends goes before what waited, to restore the state", async () => {
  const [chat] = await opened("chat");
  chat.onreopened = () => chat.send('"handler"');
  await drop();
  chat.send('"waited"');
  await back();
  assert.deepEqual(FakeSocket.last.heard.map(({ payload }) => payload), ["handler", "waited"]);
});

test("what would wait beyond the bound is refused, and nothing that waits is dropped", async () => {
  const size = '{"stream":"a","payload":"é"}'.length + 1; // é has two bytes
  demux = new Demultiplexer("ws://test/", { WebSocket: FakeSocket, maxBuffered: 2 * size });
  const [a, b] = ["a", "b"].map((name) => demux.stream(name));
  a.send('"é"');
  b.send('"é"');
  assert.throws(() => a.send("1"), { name: "QuotaExceededError" });
  assert.throws(() => a.send(new Uint8Array(0)), DOMException);
  b.close();
  a.send(new Blob(["x".repeat(size - 2)]));
  assert.throws(() => a.send(new Uint8Array(0)), DOMException);
  await opened();
  assert.equal(FakeSocket.last.sent.length, 3); // and the close of b
  a.send("1");
  assert.equal(FakeSocket.last.sent.length, 4);
});

test("the back-off grows, with full jitter, up to its bound", async () => {
  demux = new Demultiplexer("ws://test/", { WebSocket: FakeSocket, baseDelay: 10, maxDelay: 50 });
  await opened("chat");
  const delays = [];
  demux.onreconnecting = ({ delay, attempt }) => delays.push([attempt, delay]);
  for (let count = 0; count < 5; count += 1) {
    await drop();
    await clock.pass(clock.next);
  }
  Math.random = () => 0.5;
  await drop();
  assert.deepEqual(delays, [[1, 10], [2, 20], [3, 40], [4, 50], [5, 50], [6, 25]]);
});

test("only a socket that lived for a while starts the back-off anew", async () => {
  await opened("chat");
  await drop();
  assert.equal(clock.next, BASE);
  await back();
  await clock.pass(4999);
  await drop();
  assert.equal(clock.next, 2 * BASE);
  await back();
  await clock.pass(5000);
  await drop();
  assert.equal(clock.next, BASE);
});

for (const code of [1001, 1005, 1006, 1011, 1012, 1013, 1014]) {
  test(`a close with ${code} is followed by another attempt`, async () => {
    const [chat] = await opened("chat");
    await drop(code, "", true);
    assert.equal(chat.readyState, Stream.OPEN);
    assert.equal(clock.next, BASE);
  });
}

for (const code of [1000, 1002, 1003, 1007, 1008, 1009, 1010, 3000, 4000, 4999]) {
  test(`a close with ${code} ends the streams for good`, async () => {
    const [chat, echo] = await opened("chat", "echo");
    const logs = [chat, echo, demux].map((target) => record(target, "close", "reconnecting"));
    await drop(code, "why", true);
    const close = ["close", { code, reason: "why", wasClean: true }];
    assert.deepEqual(logs, [[close], [close], [close]]);
    assert.equal(clock.next, undefined);
    assert.equal(demux.readyState, Demultiplexer.CLOSED);
  });
}

test("after a close for good, a new stream connects anew", async () => {
  await opened("chat");
  await drop(4001, "", true);
  const [chat] = await opened("chat");
  assert.equal(chat.readyState, Stream.OPEN);
  assert.equal(FakeSocket.made.length, 2);
});

test("an attempt that fails is followed by another one, whatever its code", async () => {
  const chat = demux.stream("chat");
  await settle();
  await drop(1008);
  assert.equal(chat.readyState, Stream.CONNECTING);
  assert.equal(clock.next, BASE);
});

test("an error loses the socket; the code of a close beside it is not believed", async () => {
  const [chat] = await opened("chat");
  const log = record(demux, "reconnecting");
  FakeSocket.last.onerror(new Event("error"));
  await drop(1000);
  await back();
  FakeSocket.last.drop(1000);
  FakeSocket.last.onerror(new Event("error"));
  await settle();
  assert.equal(chat.readyState, Stream.OPEN);
  assert.deepEqual(log, Array(2).fill(["reconnecting", { code: 1006, reason: "" }]));
});

test("an attempt may fail with an error and no close, as in some releases of Node", async () => {
  demux.stream("chat");
  await settle();
  const fail = () => FakeSocket.last.onerror(new Event("error"));
  FakeSocket.last.close = fail; // which they have for one that is not open
  fail();
  assert.equal(clock.next, BASE);
});

test("a class that reconnects by itself is kept from it", async () => {
  await opened("chat");
  const first = FakeSocket.last;
  first.onclose({ code: 1006, reason: "", wasClean: false });
  first.readyState = 0; // it tries again
  await settle();
  assert.deepEqual(first.closedWith, []);
  await back();
  const log = record(demux, "open");
  first.open();
  first.say({ stream: "chat", payload: 1 });
  first.drop();
  await settle();
  assert.deepEqual(log, []);
  assert.equal(demux.readyState, Demultiplexer.OPEN);
});

test("when all streams have ended, nobody connects again", async () => {
  const [chat] = await opened("chat");
  FakeSocket.last.say({ stream: "chat", event: "closed", code: 1011, reason: "" });
  const log = record(demux, "close", "reconnecting");
  await drop(1011, "", true);
  assert.deepEqual(log, [["close", { code: 1011, reason: "", wasClean: true }]]);
  assert.equal(chat.readyState, Stream.CLOSED);
  assert.equal(clock.next, undefined);
});

test("a stream closed while the socket is away ends the attempts, and what waits", async () => {
  const [chat] = await opened("chat");
  await drop();
  const logs = [record(chat, "close"), record(demux, "close")];
  chat.send("1");
  chat.close();
  await clock.pass(BASE);
  assert.equal(chat.bufferedAmount, 0);
  assert.deepEqual(logs.map((log) => log.length), [1, 1]);
  assert.equal(FakeSocket.made.length, 1);
  assert.equal(demux.readyState, Demultiplexer.CLOSED);
});

test("a stream taken after the last one's end outlives the socket that closes then", async () => {
  const [chat] = await opened("chat");
  let again;
  chat.onclose = () => { again = demux.stream("chat"); };
  FakeSocket.last.say({ stream: "chat", event: "closed", code: 4001, reason: "" });
  await settle();
  await drop(4001, "", true);
  assert.equal(again.readyState, Stream.OPEN);
  await back();
  again.send("1");
  assert.deepEqual(FakeSocket.last.heard, [{ stream: "chat", payload: 1 }]);
});

test("a later socket that closes with the same code speaks for itself", async () => {
  const [chat] = await opened("chat", "echo");
  FakeSocket.last.say({ stream: "echo", event: "closed", code: 4001, reason: "" });
  await drop(1006);
  await back();
  await drop(4001, "", true);
  assert.equal(chat.readyState, Stream.CLOSED);
});

test("options that are undefined are the default ones", async () => {
  const options = { baseDelay: undefined, maxBuffered: undefined, streamKey: undefined };
  demux = new Demultiplexer("ws://test/", { WebSocket: FakeSocket, ...options });
  const chat = demux.stream("chat");
  await settle();
  FakeSocket.last.drop();
  await settle();
  assert.equal(clock.next, BASE);
  chat.send("1");
  assert.throws(() => chat.send("x".repeat(2 ** 20)), { name: "QuotaExceededError" });
  await back();
  assert.deepEqual(FakeSocket.last.heard, [{ stream: "chat", payload: 1 }]);
});

test("close() closes the socket, which ends all streams, and nothing follows", async () => {
  const [chat] = await opened("chat");
  const logs = [chat, demux].map((target) => record(target, "close", "reconnecting"));
  demux.close(4002, "bye");
  demux.close();
  assert.deepEqual(FakeSocket.last.closedWith, [4002, "bye"]);
  assert.equal(demux.readyState, Demultiplexer.CLOSING);
  await drop(4002, "bye", true);
  const close = ["close", { code: 4002, reason: "bye", wasClean: true }];
  assert.deepEqual(logs, [[close], [close]]);
  assert.equal(demux.readyState, Demultiplexer.CLOSED);
  assert.throws(() => demux.stream("chat"), { name: "InvalidStateError" });
});

test("close() ends an attempt that waits, one that asks for the URL, and an opening one", async () => {
  for (const reach of ["waiting", "asking", "opening"]) {
    let give;
    const asked = new Promise((resolve) => { give = resolve; });
    const url = () => (reach === "asking" ? asked : "ws://test/");
    FakeSocket.reset();
    demux = new Demultiplexer(url, { WebSocket: FakeSocket });
    const chat = demux.stream("chat");
    await settle();
    if (reach === "waiting") await drop();
    const made = FakeSocket.made.length;
    const socket = FakeSocket.last;
    if (socket) socket.close = () => socket.onerror(new Event("error"));
    const log = record(chat, "close");
    demux.addEventListener("reconnecting", () => assert.fail(reach));
    demux.close();
    give("ws://test/");
    await clock.pass(BASE);
    FakeSocket.last?.onopen(new Event("open"));
    FakeSocket.last?.drop();
    await settle();
    assert.deepEqual(log, [["close", { code: 1000, reason: "", wasClean: false }]], reach);
    assert.deepEqual([FakeSocket.made.length, demux.readyState], [made, Demultiplexer.CLOSED]);
  }
});

test("URL and query are asked for again each time", async () => {
  let count = 0;
  const url = async () => `https://test/${count += 1}/?token=old&keep=1`;
  const query = async () => ({ token: `t${count}&` });
  demux = new Demultiplexer(url, { WebSocket: FakeSocket, query, protocols: ["p"] });
  await opened("chat");
  await drop();
  await back();
  assert.deepEqual(FakeSocket.made.map((socket) => socket.url), [
    "wss://test/1/?token=t1%26&keep=1", "wss://test/2/?token=t2%26&keep=1",
  ]);
  assert.deepEqual(FakeSocket.last.protocols, ["p"]);
  assert.equal(demux.url, FakeSocket.last.url);
});

test("a callback that throws is a failed attempt", async () => {
  let isBroken = true;
  const query = () => { if (isBroken) throw new Error("no token"); };
  demux = new Demultiplexer("ws://test/", { WebSocket: FakeSocket, query });
  const log = record(demux, "error", "reconnecting");
  demux.stream("chat");
  await settle();
  isBroken = false;
  await clock.pass(BASE);
  assert.deepEqual(log, [
    ["error", { message: "Error: no token" }], ["reconnecting", { code: 1006, reason: "" }],
  ]);
  assert.equal(FakeSocket.made.length, 1);
});

test("a URL is relative to the page's, by the scheme that fits", async () => {
  globalThis.location = { href: "https://site.test/app/page.html?x#y" };
  const urls = ["/ws/", "ws/", new URL("http://other.test/ws/"), "wss://other.test/"];
  for (const url of urls) {
    new Demultiplexer(url, { WebSocket: FakeSocket }).stream("chat");
  }
  await settle();
  assert.deepEqual(FakeSocket.made.map((socket) => socket.url), [
    "wss://site.test/ws/", "wss://site.test/app/ws/", "ws://other.test/ws/", "wss://other.test/",
  ]);
});

test("a bad URL is the caller's fault at once", () => {
  assert.throws(() => new Demultiplexer("no url"), TypeError);
});
