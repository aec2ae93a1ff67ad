// Charts the last minute of each price.

import { INTERVAL, axis, chart, color } from "./chart.js";
import { calmly, create, element, write } from "./page.js";

const SPAN = 60; // seconds

function addGoods(name) {
  const figure = create("figure");
  const caption = create("figcaption");
  const price = create("b");
  const change = create("span", "change");
  const host = create("div", "chart");
  host.setAttribute("aria-hidden", "true");
  caption.append(create("b", "", name), price, change);
  figure.append(caption, host);
  element("prices-charts").append(figure);
  const plot = chart(host, {
    padding: [6, 0, 6, 0],
    scales: { x: { time: false } },
    axes: [{ show: false }, axis({ side: 1, size: 36, space: 28 })],
    series: [{}, {
      stroke: color("accent"),
      fill: color("fill"),
      width: 1.5,
      points: { show: false },
    }],
  });
  return { plot, price, change };
}

const cents = (price) => price.toFixed(2);

function show({ plot, price, change }, times, prices) {
  plot.setData([times, prices]);
  const last = prices.at(-1);
  const part = (last / prices[0] - 1) * 100;
  write(price, cents(last));
  write(change, `${part < 0 ? "−" : "+"}${Math.abs(part).toFixed(1)} %`);
  change.className = `change ${part < 0 ? "down" : "up"}`;
}

export function start(connection) {
  const stream = connection.stream("prices");
  const goods = new Map();
  let ticks = [];
  const draw = calmly(() => {
    const times = ticks.map(({ at }) => at);
    for (const [name, shown] of goods) show(shown, times, ticks.map(({ prices }) => prices[name]));
  }, INTERVAL);

  stream.addEventListener("message", ({ data }) => {
    const { ticks: come, worker } = JSON.parse(data);
    connection.servedBy("prices", worker);
    const last = ticks.at(-1)?.at ?? -Infinity;
    ticks.push(...come.filter(({ at }) => at > last)); // a new worker repeats the last minute
    ticks = ticks.filter(({ at }) => at > ticks.at(-1).at - SPAN);
    for (const name of Object.keys(ticks[0].prices)) {
      if (!goods.has(name)) goods.set(name, addGoods(name));
    }
    draw();
  });
}
