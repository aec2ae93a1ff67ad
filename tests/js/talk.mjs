// A talk with a real server, at the URL that it is given; run by test_node.py, which restarts the
// server when it reads "again".

import assert from "node:assert/strict";

import { Demultiplexer, Stream } from "./harness.mjs";

const { WebSocket = globalThis.WebSocket } = process.env.DEMUX_WEBSOCKET
  ? await import(process.env.DEMUX_WEBSOCKET) : {};

let count = 0;
const demux = new Demultiplexer(process.argv[2], {
  WebSocket, baseDelay: 50, maxDelay: 200, query: async () => ({ attempt: String(count += 1) }),
});
const happens = (target, type) => (
  new Promise((resolve) => target.addEventListener(type, resolve, { once: true }))
);

const echo = demux.stream("echo");
const text = demux.stream("text", { text: true });
const lines = ["sent before it was open", 'a "quoted" line\n', "42"];
const heard = [];
const listening = (async () => {
  for await (const line of text) if (heard.push(line) === lines.length) break;
})();
text.send(lines[0]);
await happens(echo, "open");

// What comes back is what was sent.
for (const sent of ['{"n": 1.0, "big":12345678901234567890}', '"\\u00e9\\ud83d\\ude00"', "null"]) {
  echo.send(sent);
  assert.equal((await happens(echo, "message")).data, sent);
}
echo.binaryType = "arraybuffer";
echo.send(new Uint8Array([0, 1, 255]));
const { data } = await happens(echo, "message");
assert.deepEqual(new Uint8Array(data), new Uint8Array([0, 1, 255]));

// Plain text is bare, in order.
for (const line of lines.slice(1)) text.send(line);
await listening;
assert.deepEqual(heard, lines);
text.close();

// A lazy one speaks when it is asked for; it ends with its consumer's code, and comes anew.
for (const code of [4001, 4002]) {
  const greeting = demux.stream("greeting", { lazy: true });
  assert.equal((await happens(greeting, "message")).data, '"attempt=1"');
  greeting.send(String(code));
  const end = await happens(greeting, "close");
  assert.deepEqual([end.code, end.wasClean, greeting.readyState], [code, true, Stream.CLOSED]);
}

// One after another of the same name: each has its own consumer, nothing gets lost between.
let chat = demux.stream("text", { text: true });
for (let turn = 0; turn < 3; turn += 1) {
  chat.send(`turn ${turn}`);
  assert.equal((await happens(chat, "message")).data, `turn ${turn}`);
  chat.close();
  chat = demux.stream("text", { text: true });
}
chat.close();

const nowhere = demux.stream("nowhere");
nowhere.send("1");
assert.equal((await happens(nowhere, "error")).code, "unknown_stream");
assert.equal(nowhere.readyState, Stream.CLOSED);

console.log("again");
const reconnecting = happens(demux, "reconnecting");
const reopened = happens(echo, "reopened");
await reconnecting;
echo.send('"sent while the server was away"');
await reopened;
assert.equal((await happens(echo, "message")).data, '"sent while the server was away"');
assert.ok(demux.url.endsWith(`?attempt=${count}`) && count > 1);

// Which code comes back is the affair of the two WebSockets: some in Node miss the other's word.
demux.close(4003, "bye");
await happens(echo, "close");
assert.deepEqual([echo.readyState, demux.readyState], [Stream.CLOSED, Demultiplexer.CLOSED]);
console.log("done");
