// Checks that each sent number comes back once and in order. It does not touch the page.

const KEPT = 1000; // round trips

export class Ledger {
  sent = 0;
  answered = 0;
  repeated = 0;
  roundTrips = []; // the latest ones, in ms
  #waiting = new Map(); // unanswered number -> when it was sent; in order
  #highest = 0;

  // Return the next number to send.
  next(now) {
    this.sent += 1;
    this.#waiting.set(this.sent, now);
    return this.sent;
  }

  // Record a number that came back.
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

  // How many numbers are lost or out of order: a later number came back before them.
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

  // Return a percentile of the round trips; `part` is from 0 to 1.
  percentile(part) {
    const sorted = [...this.roundTrips].sort((one, other) => one - other);
    return sorted[Math.ceil(sorted.length * part) - 1];
  }
}
