// What the other modules need of the page: its elements, its logs, how numbers are written.

const LINES = 200; // kept in each log

export const element = (id) => document.getElementById(id);
export const number = (value) => Math.round(value).toLocaleString("en");
export const plural = (count, word) => `${number(count)} ${word}${count === 1 ? "" : "s"}`;

// Only what has changed is written: readers of live regions are told nothing twice.
export function write(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

export function create(tag, className = "", text = "") {
  return Object.assign(document.createElement(tag), { className, textContent: text });
}

export function addLine(log, ...parts) {
  const line = document.createElement("p");
  line.append(...parts);
  const atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
  log.append(line);
  while (log.children.length > LINES) log.firstElementChild.remove();
  if (atEnd) log.scrollTop = log.scrollHeight;
}

export function tell(text) {
  const now = new Date();
  const time = create("time", "", now.toLocaleTimeString("en-GB"));
  time.dateTime = now.toISOString();
  addLine(element("events-log"), time, text);
}

// Calls a function at most once in so many ms, and after the last wish.
export function calmly(draw, interval) {
  let timer = null;
  return () => {
    timer ??= setTimeout(() => {
      timer = null;
      draw();
    }, interval);
  };
}
