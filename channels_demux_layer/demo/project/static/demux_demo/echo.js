// Sends numbers at a steady rate, and draws a histogram of their round trips.

import { INTERVAL, axis, bars, chart, color } from "./chart.js";
import { Ledger } from "./ledger.js";
import { calmly, element, number, write } from "./page.js";

const BUCKETS = 40; // of the histogram: ten for each power of ten, from 1 ms
const TICK = 20; // ms between two turns of sending
const MOST = 50; // numbers per turn: browsers run background tabs only once a second

const bucket = (time) => Math.min(Math.max(Math.floor(Math.log10(time) * 10), 0), BUCKETS - 1);
const milliseconds = (time) =>
  (time === undefined ? "–" : `${time.toFixed(time < 10 ? 1 : 0)} ms`);

function makeChart() {
  return chart(element("echo-chart"), {
    padding: [8, 8, 0, 0],
    scales: {
      x: { time: false, range: [-0.5, BUCKETS - 0.5] },
      y: { range: (_, low, high) => [0, high || 1] },
    },
    axes: [
      axis({
        size: 26,
        splits: () => [-0.5, 9.5, 19.5, 29.5, 39.5],
        values: () => ["1 ms", "10 ms", "100 ms", "1 s", ""],
        grid: { show: false },
      }),
      axis({ size: 36, space: 40, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500] }),
    ],
    series: [{}, {
      fill: color("accent"),
      width: 0,
      paths: bars({ size: [0.8] }),
      points: { show: false },
    }],
  });
}

function drawHistogram(plot, roundTrips) {
  const counts = new Array(BUCKETS).fill(0);
  for (const time of roundTrips) counts[bucket(time)] += 1;
  plot.setData([counts.map((_, index) => index), counts]);
}

function show(ledger, reopened) {
  for (const name of ["sent", "answered", "missing", "repeated"]) {
    write(element(`echo-${name}`), number(ledger[name]));
  }
  write(element("echo-reopened"), number(reopened));
  write(element("echo-p50"), milliseconds(ledger.percentile(0.5)));
  write(element("echo-p99"), milliseconds(ledger.percentile(0.99)));
  const verdict = element("echo-verdict");
  verdict.dataset.good = ledger.missing === 0;
  if (ledger.missing) write(verdict, "Numbers are missing");
  else if (ledger.repeated) write(verdict, "No number is missing. A crash repeated some");
  else if (ledger.answered) write(verdict, "Every number came back once, in order");
}

export function start(connection) {
  const stream = connection.stream("echo");
  const ledger = new Ledger();
  const plot = makeChart();
  let reopened = 0;
  let isPaused = false;
  let due = 0;
  let before = performance.now();
  const draw = calmly(() => {
    show(ledger, reopened);
    drawHistogram(plot, ledger.roundTrips);
  }, INTERVAL);

  const send = (value) => stream.send(JSON.stringify({ number: value }));

  setInterval(() => {
    const now = performance.now();
    due += isPaused ? 0 : (now - before) * Number(element("echo-rate").value) / 1000;
    before = now;
    // Send nothing new while the socket is down: a reconnect resends the unanswered numbers.
    if (stream.readyState !== WebSocket.OPEN || !connection.isOpen) due = 0;
    for (let left = Math.min(due, MOST); left >= 1; left -= 1) send(ledger.next(now));
    due %= 1;
    draw();
  }, TICK);

  stream.addEventListener("message", ({ data }) => {
    const { echo, worker } = JSON.parse(data);
    ledger.take(echo.number, performance.now());
    connection.servedBy("echo", worker);
  });
  stream.addEventListener("reopened", () => {
    reopened += 1;
    // A lost socket loses the frames on their way, so the page resends them. After a lost worker the
    // server has resent them already.
    if (connection.isNew) ledger.waiting.forEach(send);
  });
  element("echo-pause").addEventListener("click", ({ target }) => {
    isPaused = !isPaused;
    target.textContent = isPaused ? "Resume" : "Pause";
  });
}
