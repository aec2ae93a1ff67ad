// Uploads a file as binary frames, with a limited number of chunks on their way.

import { element, number, tell, write } from "./page.js";

const CHUNK = 128 * 1024; // bytes
const AHEAD = 4; // chunks that may be on their way
const LARGEST = 512 * 1024 * 1024; // bytes: the browser keeps the whole file in memory
const SAMPLE = 8 * 1024 * 1024;

const hex = (buffer) =>
  Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, "0")).join("");

// Undefined on http pages of other machines: browsers offer crypto.subtle only in secure contexts.
const digestOf = async (bytes) =>
  crypto.subtle && hex(await crypto.subtle.digest("SHA-256", bytes));

function randomFile() {
  const bytes = new Uint8Array(SAMPLE);
  for (let at = 0; at < SAMPLE; at += 65536) crypto.getRandomValues(bytes.subarray(at, at + 65536));
  return new File([bytes], "random bytes");
}

function showResult(good, text, digest = "") {
  const result = element("upload-result");
  result.dataset.good = good;
  write(result, text);
  write(element("upload-digest"), digest);
}

class Upload {
  static #count = 0;
  #id;
  #stream;
  #bytes;
  #digest;
  #offset = 0;
  #beganAt;

  constructor(stream, bytes) {
    this.#stream = stream;
    this.#bytes = bytes;
    this.#digest = digestOf(bytes);
    this.begin();
  }

  // Start from the beginning. A new worker needs this too: it has no state of the old one.
  begin() {
    this.#id = Upload.#count += 1;
    this.#offset = 0;
    this.#beganAt = performance.now();
    this.#stream.send(JSON.stringify({ upload: this.#id, size: this.#bytes.byteLength }));
  }

  // Process an answer. Resolves to true after the last one.
  async take({ upload, received, digest }) {
    if (upload !== this.#id) return false;
    while (this.#offset < this.#bytes.byteLength && this.#offset < received + AHEAD * CHUNK) {
      this.#stream.send(this.#bytes.slice(this.#offset, this.#offset + CHUNK));
      this.#offset = Math.min(this.#offset + CHUNK, this.#bytes.byteLength);
    }
    element("upload-progress").value = received / (this.#bytes.byteLength || 1);
    if (digest === undefined) return false;
    element("upload-progress").value = 1;
    const speed = this.#bytes.byteLength / 1048.576 / (performance.now() - this.#beganAt);
    await this.#judge(digest, `${speed.toFixed(1)} MB/s`);
    return true;
  }

  async #judge(digest, speed) {
    const own = await this.#digest;
    if (!own) showResult(true, `Received at ${speed}. This page cannot compute a digest`, digest);
    else if (own === digest) showResult(true, `Digest matches: SHA-256, ${speed}`, digest);
    else showResult(false, "Digest differs", `${digest} is not ${own}`);
  }
}

export function start(connection) {
  const stream = connection.stream("upload");
  const area = element("upload-area");
  let current = null;

  const send = async (file) => {
    if (!file) return;
    if (file.size > LARGEST) {
      showResult(false, "The file is too large: this page uploads at most 512 MB");
      return;
    }
    write(element("upload-name"), `${file.name}, ${number(file.size)} bytes`);
    showResult(true, "");
    element("upload-progress").value = 0;
    current = new Upload(stream, await file.arrayBuffer());
  };

  stream.addEventListener("message", async ({ data }) => {
    const answer = JSON.parse(data);
    if (answer.error) tell(`upload: ${answer.error}`);
    const upload = current;
    connection.servedBy("upload", answer.worker ?? connection.worker("upload"));
    if (await upload?.take(answer) && upload === current) current = null;
  });
  stream.addEventListener("reopened", () => {
    if (!current) return;
    tell("The upload restarts on another worker.");
    current.begin();
  });
  element("upload-file").addEventListener("change", ({ target }) => send(target.files[0]));
  element("upload-sample").addEventListener("click", () => send(randomFile()));
  for (const type of ["dragover", "dragleave", "drop"]) {
    area.addEventListener(type, (event) => {
      event.preventDefault();
      area.dataset.over = type === "dragover";
      if (type === "drop") send(event.dataTransfer.files[0]);
    });
  }
}
