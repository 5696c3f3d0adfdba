/**
 * Acknowledgements of publications that wait for the disk, and those behind them: PUBACK and PUBREC go out in the order of the
 * publications [MQTT-4.6.0-2], [MQTT-4.6.0-3]. One for each client while anything waits; on the connection's worker.
 */

const noIds = new Uint16Array(0);
/** Answers that were written are used again: they are as many as runs, and live for as long as a sync takes. */
const spares: PendingAnswer[] = [];
const sparesMax = 4096;
/** Identifiers in the memory of one that is kept, at most. */
const spareIdsMax = 256;

/** Acknowledgements of one run. Nobody has it any more when it was written. */
export class PendingAnswer {
  /** PUBACK or PUBREC. */
  type = 0;
  /** The identifiers, `count` of them; there may be more behind. */
  ids = noIds;
  count = 0;
  /** How many of them were stored, or refused, in order. */
  told = 0;
  /** Reason codes other than success, by position; null: there is none. */
  failures: Map<number, number> | null = null;
  /** Others that have to say yes to all of them, see `release`. */
  holds = 0;
  /** Stores the receipts of the run, or tells why not: they wait for its copies. Null: nothing waits so. */
  prove: ((error: Error | null) => void) | null = null;
  #stored: AnswerStored | null = null;
  /** Told about parts of the run, in order, as whoever stores it does. Made once. */
  readonly onStored = (error: Error | null, _offset: number, count: number): void => {
    this.#stored?.(this, error, count);
  };

  static take(stored: AnswerStored | null): PendingAnswer {
    const answer = spares.pop() ?? new PendingAnswer();
    answer.#stored = stored;
    return answer;
  }

  giveBack(): void {
    this.#stored = null;
    this.prove = null;
    this.failures = null;
    if (this.ids.length <= spareIdsMax && spares.length < sparesMax) spares.push(this);
  }
}

/** The outcome of a run, or of a part of it, that was stored. */
type AnswerStored = (answer: PendingAnswer, error: Error | null, count: number) => void;

export class PendingAnswers {
  #waiting: PendingAnswer[] = [];
  /** Publications without an answer. */
  count = 0;
  readonly #write: (answer: PendingAnswer) => void;
  readonly #stored: AnswerStored | null;

  /** `write`: all of it was told, and nothing is unfinished before it. `stored`: see `PendingAnswer.onStored`. */
  constructor(write: (answer: PendingAnswer) => void, stored: AnswerStored | null = null) {
    this.#write = write;
    this.#stored = stored;
  }

  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  /** Holds back the answer that is added next, and those behind it, until `release`. */
  hold(): PendingAnswer {
    const gate = this.#push(0, noIds, 0);
    gate.told = -1;
    return gate;
  }

  /** Opens what `hold` closed. With a `reasonCode` other than 0 the first publication of the answer behind it was refused. */
  releaseGate(gate: PendingAnswer, reasonCode: number): void {
    const next = reasonCode === 0 ? undefined : this.#waiting[this.#waiting.indexOf(gate) + 1];
    if (next !== undefined && next.count > 0) {
      next.failures ??= new Map();
      next.failures.set(0, reasonCode);
    }
    gate.told = 0;
    this.flush();
  }

  /** The publications `ids[0, count)`; copied. `told` of them are answered with `reasonCode` as far as this is concerned. */
  add(type: number, ids: Uint16Array, count: number, told: number, reasonCode: number): PendingAnswer {
    const answer = this.#push(type, ids, count);
    answer.told = told;
    if (reasonCode !== 0) answer.failures = new Map(Array.from({ length: told }, (_, at) => [at, reasonCode]));
    this.count += count;
    return answer;
  }

  #push(type: number, ids: Uint16Array, count: number): PendingAnswer {
    const answer = PendingAnswer.take(this.#stored);
    answer.type = type;
    if (answer.ids.length < count) answer.ids = new Uint16Array(Math.max(64, count));
    for (let at = 0; at < count; at++) answer.ids[at] = ids[at];
    answer.count = count;
    answer.told = 0;
    answer.holds = 0;
    this.#waiting.push(answer);
    return answer;
  }

  /** The next `count` publications of `answer` were stored, or refused with `reasonCode`. */
  tell(answer: PendingAnswer, reasonCode: number, count = 1): void {
    if (reasonCode !== 0) {
      answer.failures ??= new Map();
      for (let at = answer.told; at < answer.told + count; at++) answer.failures.set(at, reasonCode);
    }
    answer.told += count;
    if (answer.told === answer.count) this.flush();
  }

  /** One of those that hold all of `answer` back says yes (0), or why not: the first reason of a publication is the one that is told. */
  release(answer: PendingAnswer, reasonCode: number): void {
    answer.holds -= 1;
    if (reasonCode !== 0) {
      answer.failures ??= new Map();
      for (let at = 0; at < answer.count; at++) if (!answer.failures.has(at)) answer.failures.set(at, reasonCode);
    }
    if (isComplete(answer)) this.flush();
  }

  /** Writes what is complete and has nothing unfinished before it. */
  flush(): void {
    let ready = 0;
    while (ready < this.#waiting.length && isComplete(this.#waiting[ready])) {
      const answer = this.#waiting[ready];
      this.count -= answer.count;
      ready += 1;
      if (answer.count > 0) this.#write(answer);
    }
    if (ready === 0) return;
    const written = this.#waiting.splice(0, ready);
    for (const answer of written) answer.giveBack();
  }

  /** The connection ended: nobody is told any more. */
  clear(): void {
    this.#waiting = [];
    this.count = 0;
  }
}

function isComplete({ told, count, holds }: PendingAnswer): boolean {
  return told === count && holds === 0;
}
