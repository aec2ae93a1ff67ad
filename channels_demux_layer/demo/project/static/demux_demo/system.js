// Shows the state of the system, which the server sends about once a second.

import { showNodes } from "./nodes.js";
import { element, number, plural, tell, write } from "./page.js";

const lanes = [...document.querySelectorAll(".lane[data-stream]")];

// Turns counts into rates per second. A count that shrinks belongs to a new process, with rate 0.
class Rates {
  #before = new Map();
  #now = new Map();
  #seconds = 1;
  #at = performance.now();

  turn() {
    const now = performance.now();
    this.#seconds = (now - this.#at) / 1000;
    this.#at = now;
    this.#before = this.#now;
    this.#now = new Map();
  }

  of(key, count) {
    this.#now.set(key, count);
    return Math.max(count - (this.#before.get(key) ?? count), 0) / this.#seconds;
  }
}

function showControls(isOn) {
  for (const shown of document.querySelectorAll(".add, .for-control")) shown.hidden = !isOn;
  document.querySelector(".without-control").hidden = isOn;
}

function showAnswer({ done, error }) {
  const what = {
    add: `A worker of ${done.stream} is starting.`,
    drain: `Process ${done.pid} is draining.`,
    kill: `Process ${done.pid} was killed.`,
  };
  tell(error || what[done.do]);
  write(element("system-answer"), error);
}

function showTotals(streams, rate) {
  const sum = (key) => Object.values(streams).reduce((total, each) => total + each[key], 0);
  write(element("system-rate"), number(rate));
  for (const key of ["in_flight", "sessions", "reopened"]) {
    write(element(`system-${key.replace("_", "-")}`), number(sum(key)));
  }
}

class System {
  #connection;
  #rates = new Rates();
  #command;

  constructor(connection, command) {
    this.#connection = connection;
    this.#command = command;
  }

  show({ nodes, streams }) {
    this.#rates.turn();
    const rates = Object.entries(streams).map(([name, { frames }]) => this.#rates.of(name, frames));
    showTotals(streams, rates.reduce((total, rate) => total + rate, 0));
    const figures = this.#figures(nodes);
    const servers = nodes.filter(({ kind }) => kind !== "worker");
    showNodes(element("servers"), servers, (node) => ({ ...figures(node), isOurs: true }));
    for (const [index, lane] of lanes.entries()) {
      const { stream } = lane.dataset;
      this.#showLane(lane, nodes.filter(({ hosts }) => hosts.includes(stream)), figures);
      const { sessions } = streams[stream];
      const text = `${plural(sessions, "session")}, ${number(rates[index])} frames/s`;
      write(lane.querySelector(".lane-figures"), text);
    }
  }

  #figures(nodes) {
    const rates = new Map(nodes.map(({ node, frames }) => [node, this.#rates.of(node, frames)]));
    const most = Math.max(...rates.values(), 1);
    return ({ node }) => ({ rate: rates.get(node), share: rates.get(node) / most });
  }

  #showLane(lane, nodes, figures) {
    const worker = this.#connection.worker(lane.dataset.stream);
    const all = (node) => ({ ...figures(node), isOurs: worker === `${node.host}:${node.pid}` });
    const command = lane.querySelector(".add").hidden ? null : this.#command;
    showNodes(lane.querySelector("ul"), nodes, all, command, lane.querySelector(".add"));
    lane.querySelector(".empty").hidden = nodes.some(({ draining }) => !draining);
  }
}

export function start(connection) {
  const stream = connection.stream("system");
  const command = (what) => stream.send(JSON.stringify(what));
  const system = new System(connection, command);
  for (const lane of lanes) {
    lane.querySelector(".add").addEventListener("click", () => {
      command({ do: "add", stream: lane.dataset.stream });
    });
  }
  stream.addEventListener("message", ({ data }) => {
    const message = JSON.parse(data);
    if (message.control !== undefined) showControls(message.control);
    else if (message.done) showAnswer(message);
    else if (message.nodes) system.show(message);
    else write(element("system-answer"), message.error);
  });
}
