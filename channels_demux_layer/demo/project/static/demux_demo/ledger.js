// Whether each number that was sent has come back once and in order. No page is needed here.

const KEPT = 1000; // round trips

export class Ledger {
  sent = 0;
  answered = 0;
  repeated = 0;
  roundTrips = []; // ms, the last ones
  #waiting = new Map(); // number -> when it was sent; in order
  #highest = 0;

  // Take the next number, to be sent now.
  next(now) {
    this.sent += 1;
    this.#waiting.set(this.sent, now);
    return this.sent;
  }

  // Note that a number has come back.
  take(answer, now) {
    if (!this.#waiting.has(answer)) {
      this.repeated += 1;
      return;
    }
    this.roundTrips.push(now - this.#waiting.get(answer));
    if (this.roundTrips.length > KEPT) this.roundTrips.shift();
    this.#waiting.delete(answer);
    this.answered += 1;
    this.#highest = Math.max(this.#highest, answer);
  }

  // Those that later ones have overtaken: lost, or out of order.
  get missing() {
    let count = 0;
    for (const waiting of this.#waiting.keys()) {
      if (waiting > this.#highest) break;
      count += 1;
    }
    return count;
  }

  get waiting() {
    return [...this.#waiting.keys()];
  }

  // Give the time within which so large a part has come back.
  percentile(part) {
    const sorted = [...this.roundTrips].sort((one, other) => one - other);
    return sorted[Math.ceil(sorted.length * part) - 1];
  }
}
