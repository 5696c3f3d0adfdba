/**
 * Pauses between attempts, on the clock of the owner: nothing here has a timer of its own. Thread: the owner of the service, who
 * calls `tick`.
 */

export interface BackoffOptions {
  readonly firstMs: number;
  readonly lastMs: number;
}

export const defaultBackoff: BackoffOptions = { firstMs: 10, lastMs: 1000 };

/** How long to pause after the attempt number `attempts`, from 1 on: doubled each time, up to a bound. */
export function backoffMs(attempts: number, { firstMs, lastMs }: BackoffOptions = defaultBackoff): number {
  return Math.min(lastMs, firstMs * 2 ** Math.min(attempts - 1, 30));
}

interface Pause {
  readonly untilMs: number;
  readonly resolve: () => void;
}

/** Promises that resolve at a time. Few of them wait at any time: those are attempts that failed. */
export class Pauses {
  #pauses: Pause[] = [];
  #nowMs: number;

  constructor(nowMs: number) {
    this.#nowMs = nowMs;
  }

  get count(): number {
    return this.#pauses.length;
  }

  wait(ms: number): Promise<void> {
    return new Promise((resolve) => this.#pauses.push({ untilMs: this.#nowMs + ms, resolve }));
  }

  /** A clock that goes back does not make a pause longer: time runs on from where it was. */
  tick(nowMs: number): void {
    if (nowMs < this.#nowMs) {
      const back = this.#nowMs - nowMs;
      this.#pauses = this.#pauses.map(({ untilMs, resolve }) => ({ untilMs: untilMs - back, resolve }));
    }
    this.#nowMs = nowMs;
    if (this.#pauses.length === 0) return;
    const due = this.#pauses.filter(({ untilMs }) => untilMs <= nowMs);
    if (due.length === 0) return;
    this.#pauses = this.#pauses.filter(({ untilMs }) => untilMs > nowMs);
    for (const { resolve } of due) resolve();
  }
}
