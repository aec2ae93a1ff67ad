// Helpers for the other modules: elements, logs and number formats.

const LINES = 200; // kept in each log

export const element = (id) => document.getElementById(id);
export const number = (value) => Math.round(value).toLocaleString("en");
export const plural = (count, word) => `${number(count)} ${word}${count === 1 ? "" : "s"}`;

// Write only changed text: screen readers announce each write to a live region.
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

// Return a function that calls `draw` at most once per interval, in ms, and after the last call.
export function calmly(draw, interval) {
  let timer = null;
  return () => {
    timer ??= setTimeout(() => {
      timer = null;
      draw();
    }, interval);
  };
}
