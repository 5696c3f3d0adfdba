/**
 * Acknowledgements of publications that wait for the disk, and those behind them: PUBACK and PUBREC go out in the order of the
 * publications [MQTT-4.6.0-2], [MQTT-4.6.0-3]. One for each client while anything waits; on the connection's worker.
 */

/** Acknowledgements of one run. */
export interface PendingAnswer {
  /** PUBACK or PUBREC. */
  readonly type: number;
  readonly ids: Uint16Array;
  /** How many of them were stored, or refused, in order. */
  told: number;
  /** Reason codes other than success, by position; null: there is none. */
  failures: Map<number, number> | null;
  /** Others that have to say yes to all of them, see `release`. */
  holds: number;
}

const noIds = new Uint16Array(0);

export class PendingAnswers {
  #waiting: PendingAnswer[] = [];
  /** Publications without an answer. */
  count = 0;
  readonly #write: (answer: PendingAnswer) => void;

  constructor(write: (answer: PendingAnswer) => void) {
    this.#write = write;
  }

  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  /** Holds back the answer that is added next, and those behind it, until `release`. */
  hold(): PendingAnswer {
    const gate: PendingAnswer = { type: 0, ids: noIds, told: -1, failures: null, holds: 0 };
    this.#waiting.push(gate);
    return gate;
  }

  /** Opens what `hold` closed. With a `reasonCode` other than 0 the first publication of the answer behind it was refused. */
  releaseGate(gate: PendingAnswer, reasonCode: number): void {
    const next = reasonCode === 0 ? undefined : this.#waiting[this.#waiting.indexOf(gate) + 1];
    if (next !== undefined && next.ids.length > 0) {
      next.failures ??= new Map();
      next.failures.set(0, reasonCode);
    }
    gate.told = 0;
    this.flush();
  }

  /** The publications `ids[0, count)`; copied. `told` of them are answered with `reasonCode` as far as this is concerned. */
  add(type: number, ids: Uint16Array, count: number, told: number, reasonCode: number): PendingAnswer {
    const failures = reasonCode === 0 ? null : new Map(Array.from({ length: told }, (_, at) => [at, reasonCode]));
    const answer: PendingAnswer = { type, ids: ids.slice(0, count), told, failures, holds: 0 };
    this.#waiting.push(answer);
    this.count += count;
    return answer;
  }

  /** The next publication of `answer` was stored, or refused with `reasonCode`. */
  tell(answer: PendingAnswer, reasonCode: number): void {
    if (reasonCode !== 0) {
      answer.failures ??= new Map();
      answer.failures.set(answer.told, reasonCode);
    }
    answer.told += 1;
    if (answer.told === answer.ids.length) this.flush();
  }

  /** One of those that hold all of `answer` back says yes (0), or why not: the first reason of a publication is the one that is told. */
  release(answer: PendingAnswer, reasonCode: number): void {
    answer.holds -= 1;
    if (reasonCode !== 0) {
      answer.failures ??= new Map();
      for (let at = 0; at < answer.ids.length; at++) if (!answer.failures.has(at)) answer.failures.set(at, reasonCode);
    }
    if (isComplete(answer)) this.flush();
  }

  /** Writes what is complete and has nothing unfinished before it. */
  flush(): void {
    let ready = 0;
    while (ready < this.#waiting.length && isComplete(this.#waiting[ready])) {
      const answer = this.#waiting[ready];
      this.count -= answer.ids.length;
      ready += 1;
      if (answer.ids.length > 0) this.#write(answer);
    }
    if (ready > 0) this.#waiting = ready === this.#waiting.length ? [] : this.#waiting.slice(ready);
  }

  /** The connection ended: nobody is told any more. */
  clear(): void {
    this.#waiting = [];
    this.count = 0;
  }
}

function isComplete({ told, ids, holds }: PendingAnswer): boolean {
  return told === ids.length && holds === 0;
}
