// The count of the demo's echo: what it says of missing and repeated numbers is right.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

// The client's file, which DEMUX_CLIENT names where the package is installed, shows where it is.
const { DEMUX_CLIENT } = process.env;
const here = "../../channels_demux_layer/static/channels_demux_layer/demultiplexer.js";
const client = DEMUX_CLIENT ? pathToFileURL(DEMUX_CLIENT) : new URL(here, import.meta.url);
const ledger = new URL("../../demo/project/static/demux_demo/ledger.js", client);
const text = await readFile(ledger, "utf-8");
// Node 18 takes a .js file for a CommonJS module.
const { Ledger } = await import(`data:text/javascript,${encodeURIComponent(text)}`);

const sent = (count) => {
  const ledger = new Ledger();
  for (let now = 0; now < count; now += 1) ledger.next(now);
  return ledger;
};

test("numbers that come back once and in order are answered, and no more", () => {
  const ledger = sent(3);
  for (const number of [1, 2, 3]) ledger.take(number, 10);
  assert.deepEqual([ledger.sent, ledger.answered, ledger.missing, ledger.repeated], [3, 3, 0, 0]);
  assert.deepEqual(ledger.roundTrips, [10, 9, 8]);
});

test("a number that later ones have overtaken is missing until it comes", () => {
  const ledger = sent(3);
  ledger.take(1, 10);
  assert.equal(ledger.missing, 0);
  ledger.take(3, 10);
  assert.equal(ledger.missing, 1);
  assert.deepEqual(ledger.waiting, [2]);
  ledger.take(2, 10);
  assert.equal(ledger.missing, 0);
});

test("a number that comes again is repeated, and so is one that was never sent", () => {
  const ledger = sent(1);
  for (const number of [1, 1, 7]) ledger.take(number, 10);
  assert.deepEqual([ledger.answered, ledger.repeated], [1, 2]);
});

test("percentiles are of the last thousand round trips", () => {
  const ledger = sent(1100);
  assert.equal(ledger.percentile(0.5), undefined);
  for (let number = 1; number <= 1100; number += 1) ledger.take(number, number - 1 + number);
  assert.equal(ledger.roundTrips.length, 1000);
  assert.equal(ledger.percentile(0.5), 600);
  assert.equal(ledger.percentile(0.99), 1090);
});
