// The page of Channels' tutorial, as docs/reference/javascript.md has it.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { Demultiplexer, FakeSocket, settle } from "./harness.mjs";

const docs = await readFile(new URL("../../docs/reference/javascript.md", import.meta.url), "utf-8");
const section = docs.split("\n## ").find((text) => text.startsWith("Coming from"));
const script = section.match(/<script type="module">\n.*?import [^\n]*\n(.*?)<\/script>/s)[1];

test("with its constructor changed, the page says and hears what it did", async () => {
  const elements = {
    "room-name": { textContent: '"lobby"' },
    "#chat-log": { value: "" },
    "#chat-message-input": { value: "hello", focus() {} },
    "#chat-message-submit": {},
  };
  const document = { getElementById: (id) => elements[id], querySelector: (id) => elements[id] };
  const window = { location: { host: "site.test" } };
  globalThis.WebSocket = FakeSocket;
  try {
    new Function("Demultiplexer", "document", "window", script)(Demultiplexer, document, window);
  } finally {
    delete globalThis.WebSocket;
  }
  await settle();
  FakeSocket.last.open();
  assert.equal(FakeSocket.last.url, "ws://site.test/ws/chat/lobby/");
  elements["#chat-message-submit"].onclick();
  assert.deepEqual(FakeSocket.last.heard, [{ stream: "chat", payload: { message: "hello" } }]);
  FakeSocket.last.say('{"stream":"chat","payload":{"message": "hello"}}');
  assert.equal(elements["#chat-log"].value, "hello\n");
});
