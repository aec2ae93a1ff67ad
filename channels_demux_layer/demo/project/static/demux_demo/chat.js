// A chat room that all tabs share.

import { addLine, create, element, tell } from "./page.js";

export function start(connection) {
  const stream = connection.stream("chat");
  const [name, text] = ["chat-name", "chat-text"].map(element);
  name.value = `Guest ${Math.floor(Math.random() * 900) + 100}`;

  stream.addEventListener("message", ({ data }) => {
    const line = JSON.parse(data);
    if (line.error) {
      tell(`chat: ${line.error}`);
      return;
    }
    connection.servedBy("chat", line.worker);
    element("chat-empty").hidden = true;
    addLine(element("chat-log"), create("b", "", `${line.name}: `), line.text);
  });
  element("chat-form").addEventListener("submit", (event) => {
    event.preventDefault();
    stream.send(JSON.stringify({ name: name.value, text: text.value }));
    text.value = "";
  });
}
