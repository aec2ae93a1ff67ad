// A stream is to the page what a WebSocket is.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import {
  Clock, Demultiplexer, FakeSocket, STREAM_EVENTS, Stream, record, settle,
} from "./harness.mjs";

let clock, demux;

beforeEach(() => {
  FakeSocket.reset();
  clock = new Clock();
  clock.install();
  demux = new Demultiplexer("ws://test/ws/", { WebSocket: FakeSocket });
});
afterEach(() => clock.uninstall());

/** Take a stream of an open socket. */
async function opened(name = "chat", options = {}) {
  const stream = demux.stream(name, options);
  await settle();
  if (FakeSocket.last.readyState === 0) FakeSocket.last.open();
  return stream;
}

test("it opens with the socket, and needs no word to the server for it", async () => {
  const chat = demux.stream("chat");
  const log = record(chat, ...STREAM_EVENTS);
  assert.equal(chat.readyState, Stream.CONNECTING);
  await settle();
  FakeSocket.last.open();
  assert.equal(chat.readyState, chat.OPEN);
  assert.deepEqual(log, ["open"]);
  assert.deepEqual(FakeSocket.last.sent, []);
});

test("a lazy one is opened by an event", async () => {
  await opened("audit", { lazy: true });
  assert.deepEqual(FakeSocket.last.heard, [{ stream: "audit", event: "open" }]);
});

test("it has a WebSocket's face: attributes and constants", async () => {
  const chat = await opened();
  Object.assign(FakeSocket.last, { protocol: "p", extensions: "e", bufferedAmount: 7 });
  assert.equal(chat.name, "chat");
  assert.equal(chat.url, "ws://test/ws/");
  assert.equal(chat.binaryType, "blob");
  assert.deepEqual([chat.protocol, chat.extensions, chat.bufferedAmount], ["p", "e", 7]);
  assert.equal(demux.stream("own", { subprotocol: "s" }).protocol, "s");
  for (const target of [Stream, chat, Demultiplexer, demux]) {
    const { CONNECTING, OPEN, CLOSING, CLOSED } = target;
    assert.deepEqual([CONNECTING, OPEN, CLOSING, CLOSED], [0, 1, 2, 3]);
  }
  assert.ok(chat instanceof EventTarget && chat instanceof Stream);
});

test("on... properties listen, are replaced, and are taken off", async () => {
  const chat = demux.stream("chat");
  const log = [];
  assert.equal(chat.onmessage, null);
  chat.onmessage = () => log.push("first");
  const second = function ({ data }) { log.push([this === chat, data]); };
  chat.onmessage = second;
  assert.equal(chat.onmessage, second);
  await opened();
  FakeSocket.last.say('{"stream":"chat","payload":1}');
  chat.onmessage = null;
  FakeSocket.last.say('{"stream":"chat","payload":2}');
  assert.deepEqual(log, [[true, "1"]]);
});

test("payloads come as text that can be parsed, with their origin", async () => {
  const chat = await opened();
  let event;
  chat.onmessage = (message) => { event = message; };
  FakeSocket.last.say('{"stream":"chat","payload":{"n": 1.50}}');
  assert.ok(event instanceof MessageEvent);
  assert.equal(event.data, '{"n": 1.50}');
  assert.equal(event.origin, "ws://test");
});

test("binary comes as a Blob, or as an ArrayBuffer on demand", async () => {
  const chat = await opened();
  const got = [];
  chat.onmessage = ({ data }) => got.push(data);
  const frame = new Uint8Array([4, ...Buffer.from("chat"), 1, 2]).buffer;
  FakeSocket.last.say(frame);
  chat.binaryType = "arraybuffer";
  FakeSocket.last.say(frame);
  assert.ok(got[0] instanceof Blob && got[1] instanceof ArrayBuffer);
  assert.deepEqual(new Uint8Array(await got[0].arrayBuffer()), new Uint8Array([1, 2]));
  assert.deepEqual(new Uint8Array(got[1]), new Uint8Array([1, 2]));
});

test("every kind of binary data can be sent", async () => {
  const chat = await opened();
  const bytes = new Uint8Array([0, 1, 2, 3, 0]);
  const kinds = [
    bytes.slice(1, 4).buffer, bytes.subarray(1, 4), new DataView(bytes.buffer, 1, 3),
    new Blob([bytes.subarray(1, 4)]),
  ];
  for (const kind of kinds) chat.send(kind);
  const frame = new Uint8Array([4, ...Buffer.from("chat"), 1, 2, 3]);
  for (const sent of FakeSocket.last.sent) {
    assert.deepEqual(new Uint8Array(await new Blob([sent]).arrayBuffer()), frame);
  }
  assert.equal(FakeSocket.last.sent.length, kinds.length);
});

test("anything else is made a string first, as a WebSocket does", async () => {
  const chat = await opened();
  chat.send(5);
  chat.send({});
  assert.deepEqual(FakeSocket.last.heard.map(({ payload }) => payload), [5, "[object Object]"]);
});

test("close() tells the server, and its word ends the stream", async () => {
  const chat = await opened();
  const log = record(chat, ...STREAM_EVENTS);
  chat.close(4001, "not passed on");
  chat.close();
  assert.equal(chat.readyState, Stream.CLOSING);
  assert.deepEqual(FakeSocket.last.heard, [{ stream: "chat", event: "close" }]);
  chat.send("1");
  FakeSocket.last.say({ stream: "chat", payload: 1 });
  assert.equal(FakeSocket.last.sent.length, 1);
  FakeSocket.last.say({ stream: "chat", event: "closed", code: 1000, reason: "" });
  assert.equal(chat.readyState, Stream.CLOSED);
  assert.deepEqual(log, [["close", { code: 1000, reason: "", wasClean: true }]]);
});

test("closed before it was open, it ends on the page alone, after the call", async () => {
  const chat = demux.stream("chat");
  chat.close();
  const log = record(chat, ...STREAM_EVENTS);
  assert.equal(chat.readyState, Stream.CLOSING);
  await settle();
  assert.deepEqual(log, [["close", { code: 1000, reason: "", wasClean: false }]]);
});

test("the consumer's end is the stream's, and the others go on", async () => {
  const chat = await opened();
  const echo = await opened("echo");
  const log = record(chat, ...STREAM_EVENTS);
  FakeSocket.last.say({ stream: "chat", event: "closed", code: 4001, reason: "bye" });
  FakeSocket.last.say({ stream: "chat", payload: 1 });
  assert.deepEqual(log, [["close", { code: 4001, reason: "bye", wasClean: true }]]);
  assert.deepEqual([chat.readyState, echo.readyState], [Stream.CLOSED, Stream.OPEN]);
});

test("events about a stream are events of it, and unknown ones are ignored", async () => {
  const chat = await opened();
  const log = record(chat, ...STREAM_EVENTS, "later");
  const others = record(demux, "error", "close");
  for (const event of ["unavailable", "reopened", "later"]) {
    FakeSocket.last.say({ stream: "chat", event });
    FakeSocket.last.say({ stream: "other", event });
  }
  FakeSocket.last.say({ stream: "other", payload: 1 });
  FakeSocket.last.say({ stream: "chat", event: "error", code: "too_large", message: "m" });
  const error = ["error", { code: "too_large", message: "m" }];
  assert.deepEqual(log, ["unavailable", "reopened", error]);
  assert.deepEqual(others, []);
});

test("errors about no live stream are the demultiplexer's", async () => {
  await opened();
  const log = record(demux, "error");
  FakeSocket.last.say({ event: "error", code: "invalid_json", message: "m" });
  FakeSocket.last.say({ stream: "other", event: "error", code: "stream_closed", message: "n" });
  assert.deepEqual(log, [
    ["error", { code: "invalid_json", message: "m" }],
    ["error", { code: "stream_closed", message: "n" }],
  ]);
});

test("a stream that the server does not have ends as a WebSocket to nowhere", async () => {
  const other = await opened("other");
  const log = record(other, ...STREAM_EVENTS);
  FakeSocket.last.say({ stream: "other", event: "error", code: "unknown_stream", message: "m" });
  assert.deepEqual(log, [
    ["error", { code: "unknown_stream", message: "m" }],
    ["close", { code: 1006, reason: "m", wasClean: false }],
  ]);
  assert.notEqual(demux.stream("other"), other);
});

test("one that the server does not have ends its successor, too, if it was closed at once", async () => {
  await opened("chat");
  demux.stream("other").close();
  await settle();
  const again = demux.stream("other");
  const log = record(again, ...STREAM_EVENTS);
  await settle();
  assert.deepEqual(FakeSocket.last.heard, [{ stream: "other", event: "close" }]);
  FakeSocket.last.say({ stream: "other", event: "error", code: "unknown_stream", message: "m" });
  assert.deepEqual(log, [["close", { code: 1006, reason: "m", wasClean: false }]]);
});

test("what is no envelope is ignored", async () => {
  const chat = await opened();
  const log = record(chat, ...STREAM_EVENTS);
  for (const frame of ["", "null", "[]", "1", "{", "{}", '{"stream":"chat"}']) {
    FakeSocket.last.say(frame);
  }
  FakeSocket.last.say(new ArrayBuffer(0));
  FakeSocket.last.say({ stream: "chat", payload: 1 });
  assert.deepEqual(log, [["message", { data: "1" }]]);
});

test("a live stream is one object; after its end there is a new one, opened again", async () => {
  const first = await opened();
  assert.equal(demux.stream("chat"), first);
  FakeSocket.last.say({ stream: "chat", event: "closed", code: 4001, reason: "" });
  const second = demux.stream("chat");
  assert.notEqual(second, first);
  const log = record(second, ...STREAM_EVENTS);
  await settle();
  assert.deepEqual(FakeSocket.last.heard, [{ stream: "chat", event: "open" }]);
  assert.deepEqual(log, ["open"]);
});

test("a stream that ended before the page asked for it is opened again", async () => {
  await opened("echo");
  FakeSocket.last.say({ stream: "chat", event: "closed", code: 4001, reason: "" });
  demux.stream("chat");
  await settle();
  assert.deepEqual(FakeSocket.last.heard, [{ stream: "chat", event: "open" }]);
});

test("after close() a new one waits for the end of the old one, which gets it", async () => {
  const first = await opened();
  first.close();
  const second = demux.stream("chat");
  second.send("1");
  const logs = [first, second].map((stream) => record(stream, ...STREAM_EVENTS));
  await settle();
  FakeSocket.last.say({ stream: "chat", payload: "late" });
  assert.equal(FakeSocket.last.sent.length, 1);
  FakeSocket.last.say({ stream: "chat", event: "closed", code: 1000, reason: "" });
  await settle();
  assert.deepEqual(logs, [[["close", { code: 1000, reason: "", wasClean: true }]], ["open"]]);
  assert.deepEqual(FakeSocket.last.heard.slice(1), [
    { stream: "chat", event: "open" }, { stream: "chat", payload: 1 },
  ]);
});

test("streams of plain text have bare strings, both ways", async () => {
  const shell = await opened("shell", { text: true });
  const log = record(shell, "message");
  shell.send("42");
  FakeSocket.last.say('{"stream":"shell","payload":"a\\nb"}');
  assert.deepEqual(FakeSocket.last.heard, [{ stream: "shell", payload: "42" }]);
  assert.deepEqual(log, [["message", { data: "a\nb" }]]);
});

test("an iteration gives each payload, those that came meanwhile too, until the end", async () => {
  const chat = await opened();
  const got = [];
  const done = (async () => {
    for await (const data of chat) {
      got.push(data);
      await settle();
    }
  })();
  for (const payload of [1, 2, 3]) FakeSocket.last.say({ stream: "chat", payload });
  await settle();
  FakeSocket.last.say({ stream: "chat", payload: 4 });
  FakeSocket.last.say({ stream: "chat", event: "closed", code: 1000, reason: "" });
  await done;
  assert.deepEqual(got, ["1", "2", "3", "4"]);
  for await (const data of chat) assert.fail(data);
});

test("an iteration that is left listens no more", async () => {
  const chat = await opened();
  const iteration = chat[Symbol.asyncIterator]();
  const next = iteration.next();
  FakeSocket.last.say({ stream: "chat", payload: 1 });
  assert.deepEqual(await next, { value: "1", done: false });
  await iteration.return();
  FakeSocket.last.say({ stream: "chat", payload: 2 });
  assert.deepEqual(await iteration.next(), { value: undefined, done: true });
});

test("a name has 1 to 255 bytes", () => {
  assert.throws(() => demux.stream(""), RangeError);
  assert.throws(() => demux.stream("é".repeat(128)), RangeError);
  assert.equal(demux.stream("é".repeat(127)).name.length, 127);
});

test("the keys of envelopes can be others", async () => {
  const keys = { streamKey: "topic", payloadKey: "body", eventKey: "type" };
  demux = new Demultiplexer("ws://test/", { WebSocket: FakeSocket, ...keys });
  const chat = await opened("chat", { lazy: true });
  const log = record(chat, ...STREAM_EVENTS);
  chat.send("1");
  FakeSocket.last.say({ topic: "chat", body: 2 });
  FakeSocket.last.say({ topic: "chat", type: "reopened" });
  assert.deepEqual(FakeSocket.last.heard, [
    { topic: "chat", type: "open" }, { topic: "chat", body: 1 },
  ]);
  assert.deepEqual(log, [["message", { data: "2" }], "reopened"]);
});
