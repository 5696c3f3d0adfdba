/**
 * Many delayed messages over simulated minutes: each has to come to its target within one tick of its time, in order, once, although
 * all of it is cut off and opened again in the middle. Used by the command in `delayed.ts` and, smaller, by a unit test.
 */

import { batchSizeAt } from '../../src/core/batch/batch-format.ts';
import { RecordCursor } from '../../src/core/batch/record-cursor.ts';
import { DelayedMessages } from '../../src/core/delayed/delayed-messages.ts';
import type { StreamStore } from '../../src/core/ports/stream-store.ts';
import { Pauses } from '../../src/core/transactions/backoff.ts';
import { ProducerRegistry } from '../../src/core/transactions/producer-registry.ts';
import { Random } from '../fuzz/random.ts';

export interface DelayedRunOptions {
  readonly messages: number;
  /** Simulated seconds over which they are due. */
  readonly seconds: number;
  readonly seed: number;
  readonly bodyBytes: number;
  readonly targets: number;
  /** Restarts, at even distances. */
  readonly restarts: number;
  readonly tickMs: number;
  open(now: () => number): Promise<StreamStore>;
  /** Cuts the store off and opens what is left. */
  restart(): Promise<StreamStore>;
  onProgress?(text: string): void;
}

export interface DelayedRunResult {
  readonly messages: number;
  readonly written: number;
  /** Largest distance between the time of a message and that of the tick after which it could be read. */
  readonly latenessMsMax: number;
  readonly acceptSeconds: number;
  readonly simulateSeconds: number;
  /** While all wait: what heap and buffers have more than before, in MiB. */
  readonly pendingMebibytes: number;
  readonly inMemoryMax: number;
  readonly bodyBytesMax: number;
  readonly restartMsMax: number;
}

const startMs = 1_800_000_000_000;
const inFlightMax = 20_000;

export class DelayedRun {
  readonly #options: DelayedRunOptions;
  readonly #due: Float64Array;
  /** Number that each message got. */
  readonly #number: Float64Array;
  readonly #seen: Uint8Array;
  readonly #readTo: number[];
  /** Of each target: due time and number of the newest message. */
  readonly #last: { due: number; number: number }[];
  #nowMs = startMs;
  #store!: StreamStore;
  #delayed!: DelayedMessages;
  #written = 0;
  #latenessMsMax = 0;
  #inMemoryMax = 0;
  #bodyBytesMax = 0;
  #restartMsMax = 0;

  constructor(options: DelayedRunOptions) {
    this.#options = options;
    this.#due = new Float64Array(options.messages);
    this.#number = new Float64Array(options.messages);
    this.#seen = new Uint8Array(options.messages);
    this.#readTo = Array.from({ length: options.targets }, () => 0);
    this.#last = Array.from({ length: options.targets }, () => ({ due: 0, number: -1 }));
  }

  async run(): Promise<DelayedRunResult> {
    const { messages, seconds, tickMs, restarts, onProgress } = this.#options;
    this.#store = await this.#options.open(() => this.#nowMs);
    for (let target = 0; target < this.#options.targets; target += 1) await this.#store.create(nameOf(target));
    await this.#openService();
    const before = memoryBytes();
    const acceptBegan = performance.now();
    await this.#acceptAll();
    const acceptSeconds = (performance.now() - acceptBegan) / 1000;
    const pendingMebibytes = (memoryBytes() - before) / 2 ** 20;
    onProgress?.(`${messages} accepted in ${acceptSeconds.toFixed(1)} s, ${pendingMebibytes.toFixed(1)} MiB`);
    const simulateBegan = performance.now();
    const ticks = Math.ceil((seconds * 1000) / tickMs) + 1;
    const restartEvery = Math.ceil(ticks / (restarts + 1));
    for (let tick = 1; tick <= ticks; tick += 1) {
      this.#nowMs += tickMs;
      const isRestart = tick % restartEvery === 0 && tick < ticks;
      if (isRestart) await this.#restart();
      await this.#settle();
      await this.#look(isRestart);
      if (tick % Math.ceil(ticks / 10) === 0)
        onProgress?.(`${(this.#nowMs - startMs) / 1000} s, ${this.#written} written`);
    }
    this.#delayed.close();
    this.#check();
    return {
      messages,
      written: this.#written,
      latenessMsMax: this.#latenessMsMax,
      acceptSeconds,
      simulateSeconds: (performance.now() - simulateBegan) / 1000,
      pendingMebibytes,
      inMemoryMax: this.#inMemoryMax,
      bodyBytesMax: this.#bodyBytesMax,
      restartMsMax: this.#restartMsMax,
    };
  }

  async #openService(): Promise<void> {
    const now = (): number => this.#nowMs;
    const pauses = new Pauses(startMs);
    const producers = await ProducerRegistry.open({ store: this.#store, now, pauses });
    this.#delayed = await DelayedMessages.open({ store: this.#store, producers, now, pauses });
  }

  #acceptAll(): Promise<void> {
    const { messages, seconds, seed, bodyBytes, targets } = this.#options;
    const random = new Random(seed);
    let next = 0;
    let inFlight = 0;
    return new Promise((resolve, reject) => {
      const fill = (): void => {
        for (; next < messages && inFlight < inFlightMax; next += 1) {
          const index = next;
          inFlight += 1;
          const value = Buffer.alloc(bodyBytes, 'x');
          value.writeUInt32BE(index, 0);
          this.#due[index] = startMs + 1 + random.below(seconds * 1000 - 1);
          const record = { timestampMs: this.#due[index], value };
          this.#delayed.acceptAt(this.#due[index], { target: nameOf(index % targets), record }, (error, handle) => {
            if (handle === null) {
              reject(error);
              return;
            }
            this.#number[index] = handle.number;
            inFlight -= 1;
            if (next === messages && inFlight === 0) resolve();
            else if (inFlight === inFlightMax / 2) fill();
          });
        }
      };
      fill();
    });
  }

  /** Cut off while the messages of this very tick are being written. */
  async #restart(): Promise<void> {
    this.#delayed.tick();
    for (let turns = 0; turns < 2; turns += 1) await turn();
    const began = performance.now();
    this.#delayed.close();
    this.#store = await this.#options.restart();
    await this.#openService();
    this.#restartMsMax = Math.max(this.#restartMsMax, performance.now() - began);
  }

  async #settle(): Promise<void> {
    this.#delayed.tick();
    do await turn();
    while (!this.#delayed.isIdle);
    this.#inMemoryMax = Math.max(this.#inMemoryMax, this.#delayed.counts.inMemory);
    this.#bodyBytesMax = Math.max(this.#bodyBytesMax, this.#delayed.bodyBytes);
  }

  async #look(isRestart: boolean): Promise<void> {
    // What is being read into memory after a restart comes with the next turns.
    for (let turns = 0; isRestart && turns < 3; turns += 1) await this.#settle();
    for (let target = 0; target < this.#options.targets; target += 1) {
      const partition = await this.#store.open(nameOf(target));
      const cursor = new RecordCursor();
      for (;;) {
        const { slices, nextOffset } = await partition.read({ offset: this.#readTo[target], bytesMax: 1 << 20 });
        if (nextOffset <= this.#readTo[target]) break;
        for (const slice of slices) {
          for (let at = 0; at < slice.length; at += batchSizeAt(slice, at)) {
            cursor.reset(slice, at);
            while (cursor.next()) if (cursor.offset >= this.#readTo[target]) this.#onSeen(target, cursor.value!);
          }
        }
        this.#readTo[target] = nextOffset;
      }
    }
  }

  #onSeen(target: number, value: Buffer): void {
    const index = value.readUInt32BE(0);
    const due = this.#due[index];
    const number = this.#number[index];
    const last = this.#last[target];
    if (index % this.#options.targets !== target) throw new Error(`message ${index} came to another target`);
    if (this.#seen[index] !== 0) throw new Error(`message ${index} came twice`);
    if (due > this.#nowMs) throw new Error(`message ${index} came ${due - this.#nowMs} ms early`);
    if (due < last.due || (due === last.due && number < last.number))
      throw new Error(`message ${index} is out of order`);
    this.#seen[index] = 1;
    last.due = due;
    last.number = number;
    this.#written += 1;
    this.#latenessMsMax = Math.max(this.#latenessMsMax, this.#nowMs - due);
  }

  #check(): void {
    const { messages, tickMs } = this.#options;
    const lost = this.#seen.indexOf(0);
    if (lost >= 0) throw new Error(`message ${lost} of ${messages} was lost`);
    if (this.#latenessMsMax >= tickMs) throw new Error(`a message came ${this.#latenessMsMax} ms late`);
  }
}

function nameOf(target: number): string {
  return `target-${target}`;
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Of the heap and of buffers, after a collection when the process allows to ask for one. */
function memoryBytes(): number {
  (globalThis as { gc?: () => void }).gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
