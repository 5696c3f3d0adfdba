/**
 * Decides transactions over several partitions: named producers, their epochs, what belongs to a transaction, its end. A decision is
 * durable in an internal stream before anybody is told; markers then go to all partitions, for as long as that takes, over
 * restarts. docs/internals/transactions.md. Thread: the one that holds the object, who calls `tick` at least every 100 ms.
 */

import { assert } from '../../std/assert.ts';
import { TimingWheel, WheelTimer } from '../../std/timing-wheel.ts';
import type { StreamStore } from '../ports/stream-store.ts';
import { StorageError } from '../streams/storage-error.ts';
import { backoffMs, type Pauses } from './backoff.ts';
import { KeyedStream } from './keyed-stream.ts';
import { type MarkerCounts, MarkerWriter } from './marker-writer.ts';
import { type ProducerIdentity, producerEpochMax } from './producer-registry.ts';
import { TransactionError, type TransactionErrorCode } from './transaction-error.ts';
import { decodeTransaction, encodeTransaction, identityOf, type TransactionMetadata } from './transaction-record.ts';
import { type TransactionEvent, type TransactionState, transactionTransitions } from './transaction-state.ts';

export type TransactionEnd = 'commit' | 'abort';

/** The cursors that a transaction sets. `OffsetCursors` is one. */
export interface TransactionCursors {
  /** Sets what the producer staged in all groups, or forgets it; durable when it resolves. Harmless when repeated. */
  finish(producerId: number, outcome: TransactionEnd): Promise<void>;
}

export interface TransactionCoordinatorOptions {
  readonly store: StreamStore;
  /** Fresh producer ids; `ProducerRegistry` has it. */
  readonly producers: { allocate(): Promise<ProducerIdentity> };
  /** Null: no groups can come into a transaction. */
  readonly cursors: TransactionCursors | null;
  /** Attempts that failed wait here; `tick` lets its time pass. */
  readonly pauses: Pauses;
  /** Milliseconds since 1970. */
  now(): number;
  /** Of the internal stream. Default `__transactions`. */
  readonly stream?: string;
  /** In which this coordinator leads its names; stands in the markers. Default 0. */
  readonly coordinatorEpoch?: number;
  /** Default 15 minutes. */
  readonly timeoutMsMax?: number;
  /** Names that were not used for so long are forgotten. Default 7 days. */
  readonly expiryMs?: number;
  /** Default 100,000. */
  readonly namesMax?: number;
  /** Of one transaction, groups included. Default 10,000. */
  readonly partitionsMax?: number;
}

export interface TransactionDescription {
  readonly name: string;
  readonly state: TransactionState;
  readonly producer: ProducerIdentity;
  readonly timeoutMs: number;
  readonly startedMs: number;
  readonly partitions: readonly string[];
  readonly groups: readonly string[];
}

interface Entry {
  readonly name: string;
  metadata: TransactionMetadata;
  /** In memory `prepareEpochFence` and `dead`, too. */
  state: TransactionState;
  /** Calls that wait for their turn, the present one included. */
  waiting: number;
  tail: Promise<unknown>;
  readonly timer: WheelTimer;
  /** Cursors that are being staged: the end waits for them. */
  staging: number;
  onStaged: (() => void) | null;
}

const dayMs = 24 * 60 * 60 * 1000;
const tickMs = 100;
const waitingMax = 1000;
const nameBytesMax = 1024;
const expiryEveryMs = 10 * 60 * 1000;

export class TransactionCoordinator {
  /** Ended since it was opened, markers included. */
  readonly counts = { committed: 0, aborted: 0 };
  readonly #options: TransactionCoordinatorOptions;
  readonly #log: KeyedStream;
  readonly #markers: MarkerWriter;
  readonly #entries = new Map<string, Entry>();
  readonly #wheel = new TimingWheel(tickMs);
  readonly #beganMs: number;
  #lastMs: number;
  /** Time that has passed for the time-outs: it does not go back. */
  #passedMs = 0;
  #expiredMs: number;
  #underWay = 0;
  #isClosed = false;

  private constructor(options: TransactionCoordinatorOptions, log: KeyedStream) {
    this.#options = options;
    this.#log = log;
    this.#markers = new MarkerWriter({
      store: options.store,
      pauses: options.pauses,
      isClosed: () => this.#isClosed,
    });
    this.#beganMs = options.now();
    this.#lastMs = this.#beganMs;
    this.#expiredMs = this.#beganMs;
  }

  /** Reads what is known, and goes on with what is decided. Rejects with StorageError. */
  static async open(options: TransactionCoordinatorOptions): Promise<TransactionCoordinator> {
    const { store, pauses, stream = '__transactions' } = options;
    const log = await KeyedStream.open({ store, stream, pauses, now: () => options.now() });
    const coordinator = new TransactionCoordinator(options, log);
    for (const [name, value] of log.entries()) coordinator.#load(name, value);
    return coordinator;
  }

  /** Nothing is under way: each decision has its markers. */
  get isIdle(): boolean {
    return this.#underWay === 0;
  }

  get markerCounts(): Readonly<MarkerCounts> {
    return this.#markers.counts;
  }

  /** Transactions that have begun and are not ended. */
  get openCount(): number {
    let count = 0;
    for (const { state } of this.#entries.values()) {
      if (state === 'ongoing' || state.startsWith('prepare')) count += 1;
    }
    return count;
  }

  get nameCount(): number {
    return this.#entries.size;
  }

  /**
   * A producer of this name begins: whoever had the name before is refused from now on, and its transaction is aborted: while that goes
   * on the answer is TRANSACTION_CONCURRENT. `producer`: what it had before, when it begins anew by itself.
   *
   * Rejects with TransactionError, StorageError.
   */
  async initialize(
    name: string,
    timeoutMs: number,
    producer: ProducerIdentity | null = null,
  ): Promise<ProducerIdentity> {
    const { timeoutMsMax = 15 * 60 * 1000, namesMax = 100_000 } = this.#options;
    if (name === '' || Buffer.byteLength(name) > nameBytesMax) throw refusal('TRANSACTION_INVALID', 'begin', name);
    if (!(timeoutMs > 0 && timeoutMs <= timeoutMsMax)) throw refusal('TRANSACTION_INVALID', 'begin', name);
    const known = this.#entries.get(name);
    if (known === undefined) {
      if (producer !== null) throw refusal('TRANSACTION_UNKNOWN', 'begin', name);
      if (this.#entries.size >= namesMax) throw refusal('TRANSACTION_LIMIT', 'begin', name);
      this.#assertOpen(name);
      const entry = this.#add(name, emptyMetadata(timeoutMs), 'empty');
      return this.#inTurn(entry, () => this.#create(entry, timeoutMs));
    }
    return this.#inTurn(known, () => this.#initialize(known, timeoutMs, producer));
  }

  /** Takes partitions into the transaction, and begins it: answered when that is durable. They may be written to then. */
  addPartitions(name: string, producer: ProducerIdentity, partitions: readonly string[]): Promise<void> {
    const entry = this.#find(name);
    return this.#inTurn(entry, () => this.#extend(entry, producer, partitions, []));
  }

  /**
   * Takes a group into the transaction, and then stages cursors of it: `stage` is called when that is durable. The end of the transaction
   * waits until it has settled. Rejects with TransactionError, StorageError, and what `stage` rejects with.
   */
  async addOffsets(name: string, producer: ProducerIdentity, group: string, stage: () => Promise<void>): Promise<void> {
    const entry = this.#find(name);
    if (this.#options.cursors === null) throw refusal('TRANSACTION_INVALID', 'add groups to', name);
    await this.#inTurn(entry, async () => {
      await this.#extend(entry, producer, [], [group]);
      entry.staging += 1;
    });
    try {
      await stage();
    } finally {
      entry.staging -= 1;
      if (entry.staging === 0) entry.onStaged?.();
    }
  }

  /**
   * Whether the producer may write to this partition now: asked before its first batch there, so that nothing is written that no marker
   * will end.
   *
   * @throws TransactionError
   */
  verify(name: string, producer: ProducerIdentity, partition: string): void {
    const entry = this.#find(name);
    this.#assertCurrent(entry, producer, 'write in');
    const isIn = entry.state === 'ongoing' && entry.metadata.partitions.includes(partition);
    if (!isIn) throw refusal('TRANSACTION_STATE', 'write in', name);
  }

  /**
   * Ends the transaction; answers what the producer uses from now on. Resolves when the decision is durable: readers of decided records
   * see all of it soon after, or nothing ever. Asked again it answers the same. `bumpsEpoch` false: for a client that cannot be
   * told a new epoch.
   */
  end(name: string, producer: ProducerIdentity, outcome: TransactionEnd, bumpsEpoch = true): Promise<ProducerIdentity> {
    const entry = this.#find(name);
    return this.#inTurn(entry, () => this.#end(entry, producer, outcome, bumpsEpoch));
  }

  /** @throws TransactionError TRANSACTION_UNKNOWN */
  describe(name: string): TransactionDescription {
    const { state, metadata } = this.#find(name);
    const { timeoutMs, startedMs, partitions, groups } = metadata;
    return { name, state, producer: identityOf(metadata), timeoutMs, startedMs, partitions, groups };
  }

  names(): IterableIterator<string> {
    return this.#entries.keys();
  }

  /** Lets time pass: aborts what takes too long, tries again what has failed, forgets names that were not used for long. */
  tick(): void {
    if (this.#isClosed) return;
    const nowMs = this.#options.now();
    this.#options.pauses.tick(nowMs);
    this.#passedMs += Math.max(0, nowMs - this.#lastMs);
    this.#lastMs = nowMs;
    this.#wheel.advance(Math.floor(this.#passedMs / tickMs));
    if (Math.abs(nowMs - this.#expiredMs) < expiryEveryMs) return;
    this.#expiredMs = nowMs;
    const { expiryMs = 7 * dayMs } = this.#options;
    for (const entry of this.#entries.values()) {
      if (entry.metadata.updatedMs < nowMs - expiryMs && entry.waiting === 0) void this.#expire(entry);
    }
  }

  /** Stops. What is decided goes on when it is opened again. */
  close(): void {
    this.#isClosed = true;
    for (const { timer } of this.#entries.values()) this.#wheel.cancel(timer);
  }

  // --- calls, one after the other for each name ---

  async #create(entry: Entry, timeoutMs: number): Promise<ProducerIdentity> {
    try {
      const producer = await this.#options.producers.allocate();
      await this.#store(entry, { ...emptyMetadata(timeoutMs), ...producer, updatedMs: this.#options.now() });
      return producer;
    } catch (error) {
      entry.state = 'dead';
      this.#entries.delete(entry.name);
      throw error;
    }
  }

  async #initialize(entry: Entry, timeoutMs: number, producer: ProducerIdentity | null): Promise<ProducerIdentity> {
    const { metadata } = entry;
    const current = identityOf(metadata);
    if (producer !== null && !isSame(producer, current)) {
      const isPrevious = isSame(producer, previousOf(metadata));
      // The answer to its first attempt was lost, perhaps.
      if (isPrevious && entry.state === 'empty') return current;
      // It took too long, and nobody else has begun since.
      const wasTimedOut = isPrevious && (entry.state === 'prepareAbort' || entry.state === 'completeAbort');
      if (!wasTimedOut) throw refusal('TRANSACTION_FENCED', 'begin', entry.name);
    }
    const next = this.#next(entry, 'initialize');
    if (next === 'prepareEpochFence') {
      void this.#fence(entry, false);
      throw refusal('TRANSACTION_CONCURRENT', 'begin', entry.name);
    }
    const identity = await this.#later(current);
    await this.#store(entry, {
      ...emptyMetadata(timeoutMs),
      ...identity,
      previousId: current.producerId,
      previousEpoch: current.producerEpoch,
      updatedMs: this.#options.now(),
    });
    return identity;
  }

  async #extend(
    entry: Entry,
    producer: ProducerIdentity,
    partitions: readonly string[],
    groups: readonly string[],
  ): Promise<void> {
    this.#assertCurrent(entry, producer, 'add to');
    const state = this.#next(entry, 'add');
    const { metadata } = entry;
    const isBegun = entry.state === 'ongoing';
    const allPartitions = isBegun ? union(metadata.partitions, partitions) : union([], partitions);
    const allGroups = isBegun ? union(metadata.groups, groups) : union([], groups);
    if (allPartitions.length + allGroups.length > (this.#options.partitionsMax ?? 10_000)) {
      throw refusal('TRANSACTION_LIMIT', 'add to', entry.name);
    }
    const isKnown =
      isBegun && allPartitions.length === metadata.partitions.length && allGroups.length === metadata.groups.length;
    if (isKnown) return;
    const nowMs = this.#options.now();
    const startedMs = isBegun ? metadata.startedMs : nowMs;
    await this.#store(entry, {
      ...metadata,
      state,
      partitions: allPartitions,
      groups: allGroups,
      startedMs,
      updatedMs: nowMs,
    });
    if (!isBegun) this.#wheel.start(entry.timer, metadata.timeoutMs);
  }

  async #end(
    entry: Entry,
    producer: ProducerIdentity,
    outcome: TransactionEnd,
    bumpsEpoch: boolean,
  ): Promise<ProducerIdentity> {
    const { metadata } = entry;
    const current = identityOf(metadata);
    const isEnded = entry.state !== 'ongoing' && entry.state !== 'empty';
    const isPrevious = isSame(producer, previousOf(metadata)) && isEnded;
    if (!isPrevious) this.#assertCurrent(entry, producer, 'end');
    // Whoever keeps its epoch can only mean the end that was answered already.
    const isAgain = isPrevious || (isEnded && !bumpsEpoch);
    const next = this.#next(entry, isAgain ? `${outcome}Again` : outcome);
    if (isAgain) return current;
    const marked = await this.#marked(metadata, bumpsEpoch);
    const isNothing = next === 'completeCommit' || next === 'completeAbort';
    if (isNothing) {
      // Nothing was written under it: the epoch is left as it is.
      await this.#store(entry, { ...metadata, state: next, updatedMs: this.#options.now() });
      return current;
    }
    await this.#store(entry, { ...metadata, ...marked, state: next, updatedMs: this.#options.now() });
    this.#wheel.cancel(entry.timer);
    void this.#finish(entry);
    return identityOf(entry.metadata);
  }

  // --- what goes on by itself ---

  /**
   * Gives a transaction up: its producer is refused at once, in memory, and durably when the abort is. `mayGoOn`: after that it may
   * abort once more and have the next epoch, as long as nobody else has begun.
   */
  async #fence(entry: Entry, mayGoOn: boolean): Promise<void> {
    if (entry.state !== 'ongoing') return;
    this.#wheel.cancel(entry.timer);
    entry.state = 'prepareEpochFence';
    this.#underWay += 1;
    const isStored = await this.#untilItWorks(async () => {
      const marked = await this.#marked(entry.metadata, true);
      const previous = mayGoOn ? {} : { previousId: -1, previousEpoch: -1 };
      const state = this.#next(entry, 'fence');
      await this.#store(entry, { ...entry.metadata, ...marked, ...previous, state, updatedMs: this.#options.now() });
    });
    this.#underWay -= 1;
    if (isStored) await this.#finish(entry);
  }

  /** Writes the markers, sets the cursors, and says that all is there. */
  async #finish(entry: Entry): Promise<void> {
    this.#underWay += 1;
    await this.#complete(entry);
    this.#underWay -= 1;
  }

  async #complete(entry: Entry): Promise<void> {
    const { metadata } = entry;
    const { producerId, producerEpoch, partitions, groups } = metadata;
    const type: TransactionEnd = metadata.state === 'prepareCommit' ? 'commit' : 'abort';
    if (entry.staging > 0) {
      await new Promise<void>((resolve) => {
        entry.onStaged = resolve;
      });
      entry.onStaged = null;
    }
    const { coordinatorEpoch = 0, cursors } = this.#options;
    const marker = { type, producerId, producerEpoch, coordinatorEpoch, timestampMs: this.#options.now() };
    if (!(await this.#markers.writeAll(partitions, marker))) return;
    if (groups.length > 0 && cursors !== null) {
      const isSet = await this.#untilItWorks(() => cursors.finish(producerId, type));
      if (!isSet) return;
    }
    await this.#untilItWorks(async () => {
      const state = this.#next(entry, 'complete');
      const identity = identityOf(metadata);
      const ended = { ...emptyMetadata(metadata.timeoutMs), ...identity, state, updatedMs: this.#options.now() };
      const previous = { previousId: metadata.previousId, previousEpoch: metadata.previousEpoch };
      await this.#store(entry, { ...ended, ...previous });
      this.counts[type === 'commit' ? 'committed' : 'aborted'] += 1;
    });
  }

  async #expire(entry: Entry): Promise<void> {
    if (this.#next(entry, 'expire') !== 'dead') return;
    await this.#inTurn(entry, async () => {
      if (this.#next(entry, 'expire') !== 'dead' || entry.waiting > 1) return;
      const before = entry.state;
      entry.state = 'dead';
      try {
        await this.#log.put(entry.name, null);
        this.#entries.delete(entry.name);
      } catch (error) {
        // It is forgotten another time.
        entry.state = before;
        if (!(error instanceof StorageError)) throw error;
      }
    });
  }

  // --- parts ---

  #load(name: string, value: Buffer): void {
    const metadata = decodeTransaction(value);
    if (metadata === null) {
      throw new StorageError('STORAGE_CORRUPTED', `Cannot read the transactions of "${name}": the record is none`);
    }
    const entry = this.#add(name, metadata, metadata.state);
    if (entry.state === 'ongoing') {
      const leftMs = metadata.startedMs + metadata.timeoutMs - this.#options.now();
      this.#wheel.start(entry.timer, Math.min(metadata.timeoutMs, Math.max(0, leftMs)));
    }
    if (entry.state === 'prepareCommit' || entry.state === 'prepareAbort') void this.#finish(entry);
  }

  #add(name: string, metadata: TransactionMetadata, state: TransactionState): Entry {
    const timer = new WheelTimer(() => this.#onTimeOut(entry));
    const entry: Entry = {
      name,
      metadata,
      state,
      waiting: 0,
      tail: Promise.resolve(),
      timer,
      staging: 0,
      onStaged: null,
    };
    this.#entries.set(name, entry);
    return entry;
  }

  /** Behind the call that is under way: it may be the end. */
  #onTimeOut(entry: Entry): void {
    void this.#inTurn(
      entry,
      async () => {
        if (this.#next(entry, 'timeOut') === 'prepareEpochFence') void this.#fence(entry, true);
      },
      true,
    );
  }

  /** The identity behind this one, which nobody has yet. */
  async #later({ producerId, producerEpoch }: ProducerIdentity): Promise<ProducerIdentity> {
    if (producerEpoch >= producerEpochMax) return this.#options.producers.allocate();
    return { producerId, producerEpoch: producerEpoch + 1 };
  }

  /** What the markers carry, and what the producer has from then on. */
  async #marked(
    { producerId, producerEpoch }: TransactionMetadata,
    bumpsEpoch: boolean,
  ): Promise<Pick<TransactionMetadata, 'producerEpoch' | 'nextId' | 'previousId' | 'previousEpoch'>> {
    if (!bumpsEpoch) return { producerEpoch, nextId: -1, previousId: -1, previousEpoch: -1 };
    const previous = { previousId: producerId, previousEpoch: producerEpoch };
    if (producerEpoch < producerEpochMax) return { producerEpoch: producerEpoch + 1, nextId: -1, ...previous };
    // The last epoch of an id is for its last markers.
    const { producerId: nextId } = await this.#options.producers.allocate();
    return { producerEpoch: producerEpochMax + 1, nextId, ...previous };
  }

  async #store(entry: Entry, metadata: TransactionMetadata): Promise<void> {
    await this.#log.put(entry.name, encodeTransaction(metadata));
    entry.metadata = metadata;
    entry.state = metadata.state;
  }

  #inTurn<T>(entry: Entry, work: () => Promise<T>, isOwn = false): Promise<T> {
    if (!isOwn) {
      this.#assertOpen(entry.name);
      if (entry.waiting >= waitingMax) return Promise.reject(refusal('TRANSACTION_CONCURRENT', 'use', entry.name));
    }
    entry.waiting += 1;
    this.#underWay += 1;
    const turn = async (): Promise<T> => {
      try {
        this.#assertOpen(entry.name);
        return await work();
      } finally {
        entry.waiting -= 1;
        this.#underWay -= 1;
      }
    };
    const done = entry.tail.then(turn, turn);
    // Who waits behind it asks for the end of it, not for its result.
    entry.tail = done.catch(ignore);
    return done;
  }

  async #untilItWorks(work: () => Promise<void>): Promise<boolean> {
    for (let attempts = 1; !this.#isClosed; attempts += 1) {
      try {
        await work();
        return true;
      } catch (error) {
        if (!isOperating(error)) throw error;
        await this.#options.pauses.wait(backoffMs(attempts));
      }
    }
    return false;
  }

  /** @throws TransactionError when the table refuses the event */
  #next(entry: Entry, event: TransactionEvent): TransactionState {
    const outcome = transactionTransitions[entry.state][event];
    assert(outcome !== 'never', `a transaction that is ${entry.state} cannot ${event}`);
    if (typeof outcome === 'string') return outcome;
    throw refusal(outcome.refused, event, entry.name);
  }

  #find(name: string): Entry {
    const entry = this.#entries.get(name);
    if (entry === undefined) throw refusal('TRANSACTION_UNKNOWN', 'find', name);
    return entry;
  }

  #assertCurrent(entry: Entry, producer: ProducerIdentity, what: string): void {
    const current = identityOf(entry.metadata);
    if (isSame(current, producer)) return;
    const isKnown = producer.producerId === current.producerId || producer.producerId === entry.metadata.previousId;
    throw refusal(isKnown ? 'TRANSACTION_FENCED' : 'TRANSACTION_UNKNOWN', what, entry.name);
  }

  #assertOpen(name: string): void {
    if (this.#isClosed) throw refusal('TRANSACTION_CLOSED', 'use', name);
  }
}

function emptyMetadata(timeoutMs: number): TransactionMetadata {
  return {
    state: 'empty',
    producerId: -1,
    producerEpoch: -1,
    previousId: -1,
    previousEpoch: -1,
    nextId: -1,
    timeoutMs,
    partitions: [],
    groups: [],
    startedMs: 0,
    updatedMs: 0,
  };
}

function previousOf({ previousId, previousEpoch }: TransactionMetadata): ProducerIdentity {
  return { producerId: previousId, producerEpoch: previousEpoch };
}

function isSame(one: ProducerIdentity, other: ProducerIdentity): boolean {
  return one.producerId === other.producerId && one.producerEpoch === other.producerEpoch && one.producerId >= 0;
}

function union(known: readonly string[], more: readonly string[]): readonly string[] {
  return [...new Set([...known, ...more])];
}

/** What can be tried again; anything else is a defect. */
function isOperating(error: unknown): boolean {
  return error instanceof Error && 'code' in error;
}

function ignore(): void {
  // Whoever called has the error.
}

function refusal(code: TransactionErrorCode, what: string, name: string): TransactionError {
  return new TransactionError(code, `Cannot ${what} transaction "${name}": ${reasons[code]}`);
}

const reasons: Record<TransactionErrorCode, string> = {
  TRANSACTION_CLOSED: 'the coordinator is closed',
  TRANSACTION_CONCURRENT: 'the one before is still being ended',
  TRANSACTION_FENCED: 'a newer epoch of its producer is known',
  TRANSACTION_INVALID: 'what was given is out of bounds',
  TRANSACTION_LIMIT: 'there are as many as may be',
  TRANSACTION_STATE: 'its state does not allow it',
  TRANSACTION_UNKNOWN: 'there is none with this producer',
};
