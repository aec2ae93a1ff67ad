// The wire as the server's tests have it: tests/vectors/client_wire.json.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { Demultiplexer, FakeSocket, STREAM_EVENTS, record, settle } from "./harness.mjs";

const file = new URL("../vectors/client_wire.json", import.meta.url);
const { client_to_server: toServer, server_to_client: toClient } = JSON.parse(await readFile(file));

const bytes = ({ hex }) => new Uint8Array(Buffer.from(hex, "hex"));
const onWire = (data) => (typeof data === "string" ? data : bytes(data).buffer);
const hexed = (data) => (
  typeof data === "string" ? data : { hex: Buffer.from(data).toString("hex") }
);

/** Take the stream of a case, open and silent, with the last socket for its own. */
async function streamOf({ keys = {}, stream = "echo", text, lazy = false }) {
  const { stream: streamKey, payload: payloadKey, event: eventKey } = keys;
  const renamed = keys.stream ? { streamKey, payloadKey, eventKey } : {};
  const demux = new Demultiplexer("ws://test/", { WebSocket: FakeSocket, ...renamed });
  const taken = demux.stream(stream, { text, lazy });
  taken.binaryType = "arraybuffer";
  await settle();
  FakeSocket.last.open();
  return [taken, demux];
}

for (const vector of toServer.sent) {
  test(`to the server: ${vector.about}`, async () => {
    const [stream] = await streamOf(vector);
    stream.send(typeof vector.send === "string" ? vector.send : bytes(vector.send));
    assert.deepEqual(FakeSocket.last.sent.map(hexed), [vector.frame]);
  });
}

for (const vector of toServer.events) {
  test(`to the server: ${vector.event} in ${vector.frame}`, async () => {
    const [stream] = await streamOf({ ...vector, lazy: vector.event === "open" });
    if (vector.event === "close") stream.close();
    assert.deepEqual(FakeSocket.last.sent, [vector.frame]);
  });
}

for (const vector of [...toClient.sent, ...toClient.understood]) {
  test(`from the server: ${vector.about}`, async () => {
    const [stream] = await streamOf(vector);
    const log = record(stream, ...STREAM_EVENTS);
    FakeSocket.last.say(onWire(vector.frame));
    const [[type, { data }]] = log;
    assert.deepEqual([log.length, type], [1, "message"]);
    if (vector.exact === false) assert.deepEqual(JSON.parse(data), JSON.parse(vector.received));
    else assert.deepEqual(hexed(data), vector.received);
  });
}

for (const { frame, event, stream: name, fields, ...vector } of toClient.events) {
  test(`from the server: ${event} in ${frame}`, async () => {
    const [stream, demux] = await streamOf({ ...vector, stream: name ?? "echo" });
    const got = [];
    const type = event === "closed" ? "close" : event;
    (name === null ? demux : stream).addEventListener(type, (happened) => got.push(happened));
    FakeSocket.last.say(frame);
    assert.equal(got.length, 1);
    for (const [key, value] of Object.entries(fields)) assert.equal(got[0][key], value);
  });
}

for (const { about, frame } of toClient.ignored) {
  test(`from the server, ignored: ${about}`, async () => {
    const [stream, demux] = await streamOf({});
    const logs = [record(stream, ...STREAM_EVENTS), record(demux, "error", "close")];
    FakeSocket.last.say(onWire(frame));
    assert.deepEqual(logs, [[], []]);
    assert.deepEqual([stream.readyState, FakeSocket.last.sent], [stream.OPEN, []]);
  });
}
