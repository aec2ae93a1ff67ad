// User code that must type-check: tsc --noEmit --strict tests/js/types.ts

import {
  Demultiplexer,
  Stream,
} from "../../channels_demux_layer/static/channels_demux_layer/demultiplexer.js";

const demux = new Demultiplexer("/ws/", {
  WebSocket,
  query: async () => ({ token: await Promise.resolve("secret") }),
  maxBuffered: 1000,
});
new Demultiplexer(async () => new URL("wss://example.com/ws/"), { query() {} });

const chat: Stream = demux.stream("chat", { text: true });
chat.binaryType = "arraybuffer";
chat.onopen = () => chat.send("hello");
chat.onmessage = ({ data }) => console.log(data.length);
chat.onclose = ({ code, reason, wasClean }) => console.log(code + 1, reason.length, !wasClean);
chat.onerror = ({ code, message }) => console.log(code?.length, message.length);
chat.addEventListener("reopened", () => chat.send(new Uint8Array([1])));
chat.addEventListener("message", function (event) {
  this.send(new Blob([event.data]));
});
demux.addEventListener("reconnecting", ({ delay, attempt }) => console.log(delay + attempt));

async function iterate(): Promise<void> {
  for await (const data of chat) if (chat.readyState === Stream.OPEN) chat.send(data);
  chat.close();
  demux.close(1000, "bye");
}
void iterate();

demux.stream("graphql", { stateful: true, subprotocol: "graphql-transport-ws" });

// What takes a WebSocket's face takes a stream.
const socket: Pick<WebSocket, "send" | "close" | "readyState" | "bufferedAmount" | "url"> = chat;
socket.send("hello");

// @ts-expect-error There are two types, as with a WebSocket.
chat.binaryType = "buffer";
// @ts-expect-error Objects are to be encoded first.
chat.send({ message: "hello" });
// @ts-expect-error It cannot be set.
chat.readyState = 1;
