// Charts that follow the size of their container and the colors of the page.

import uPlot from "./vendor/uPlot.esm.js";

const dark = matchMedia("(prefers-color-scheme: dark)");
const still = matchMedia("(prefers-reduced-motion: reduce)");

export const INTERVAL = still.matches ? 1000 : 250; // ms between two redraws
export const { bars } = uPlot.paths;
export const color = (name) => () =>
  getComputedStyle(document.documentElement).getPropertyValue(`--${name}`);

export const axis = (options) => ({
  stroke: color("quiet"),
  font: "11px system-ui, sans-serif",
  grid: { stroke: color("line"), width: 1 },
  ticks: { show: false },
  ...options,
});

export function chart(host, options) {
  const size = () => ({ width: host.clientWidth, height: host.clientHeight });
  const made = new uPlot({
    ...size(),
    cursor: { show: false },
    legend: { show: false },
    ...options,
  }, options.series.map(() => []), host);
  new ResizeObserver(() => made.setSize(size())).observe(host);
  dark.addEventListener("change", () => made.redraw());
  return made;
}
