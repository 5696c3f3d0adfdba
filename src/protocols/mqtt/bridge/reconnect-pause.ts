/** How long a bridge waits before it tries to connect again. Pure; time and chance are the caller's. */

export interface PauseLimits {
  readonly reconnectMs: number;
  readonly reconnectMaxMs: number;
}

/** A connection that lasted as long is one that works: the next failure is a first one. */
const soundMs = 10_000;
/** Between the servers of one list. */
const nextServerMs = 50;

/** Counts failures; says which server comes next, and when. */
export class ReconnectPause {
  readonly #limits: PauseLimits;
  readonly #serverCount: number;
  readonly #random: () => number;
  #failures = 0;
  #server = 0;

  constructor(limits: PauseLimits, serverCount: number, random: () => number = Math.random) {
    this.#limits = limits;
    this.#serverCount = serverCount;
    this.#random = random;
  }

  /** Index of the server that the next attempt goes to. */
  get server(): number {
    return this.#server;
  }

  /** An attempt failed: the next server of the list, after a pause where all of them were tried. */
  failed(): number {
    this.#server = (this.#server + 1) % this.#serverCount;
    return this.#server === 0 ? this.#pause() : nextServerMs;
  }

  /** A connection that was accepted ended after `lastedMs`: back to the first server. */
  ended(lastedMs: number): number {
    if (lastedMs >= soundMs) this.#failures = 0;
    this.#server = 0;
    return this.#pause();
  }

  /** Doubles from failure to failure; between half of it and all of it, so that many bridges do not come back at once. */
  #pause(): number {
    const { reconnectMs, reconnectMaxMs } = this.#limits;
    const full = Math.min(reconnectMaxMs, reconnectMs * 2 ** Math.min(this.#failures, 30));
    this.#failures += 1;
    return Math.ceil(full * (0.5 + this.#random() / 2));
  }
}
