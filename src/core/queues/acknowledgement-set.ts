/**
 * An acknowledgement set: a group of consumers that reads partitions as a queue, with bounded holes. It owns the state of each message
 * that is read and not settled, decides who gets which, and stores what must survive. Thread: one owner for all calls; made by the
 * queue service, used by protocols through consumers and receipts.
 *
 * Promises
 *   - settled and confirmed (`whenStored`): never delivered again, over crashes too
 *   - delivered and not settled: delivered again, and the count goes up by one, over crashes too (`deliveryCount: 'stored'`)
 *   - a message of a dead-letter queue is stored there once, before it is settled here
 *   - with order by key one message of a key is out at a time, and the next one follows its settlement
 *
 * What a message costs: a slot of typed arrays, a place in an index, one object each for the message and the delivery. Nothing is
 * called back per message, and settlements of a turn are one record of ranges.
 */
import { assert } from '../../std/assert.ts';
import { toError } from '../../std/errors.ts';
import type { WheelTimer } from '../../std/timing-wheel.ts';
import type { StreamPartition } from '../ports/stream-store.ts';
import { Burials } from './burials.ts';
import { ConsumerLine, consumersMax } from './consumer-line.ts';
import { type DeathReason, deathReasons, Undertaker } from './dead-letter.ts';
import { Deadlines } from './deadlines.ts';
import { EntryTable, nothing } from './entry-table.ts';
import { KeyLocks } from './key-locks.ts';
import { MessageLoader } from './message-loader.ts';
import { stateNumber as is, messageStates, nextState, eventNumber as on, refused } from './message-state.ts';
import { PartitionReader } from './partition-reader.ts';
import type { ConsumerOptions, QueueConsumer } from './queue-consumer.ts';
import { type QueueContext, timerOf } from './queue-context.ts';
import { QueueError } from './queue-error.ts';
import type { QueueSettings } from './queue-settings.ts';
import { delayMsMax } from './queue-settings.ts';
import { ReadyQueue } from './ready-queue.ts';
import { redeliveryDelayMs } from './redelivery.ts';
import { readSetRecord, SetRecordWriter } from './set-records.ts';
import { type ReplayedEntry, SetReplay } from './set-replay.ts';
import { writeSnapshot } from './set-snapshot.ts';
import type { AcknowledgementSetOptions, SetCounters, SetDescription } from './set-types.ts';
import { SlotList, unlist } from './slot-list.ts';
import { corrupted, StateLog, serviceProducerSpan } from './state-log.ts';
import { type Receipt, type StoredMessage, sizeOf } from './stored-message.ts';

/** A snapshot is written when the records since the last one are this long, and four times as long as it. */
const snapshotBytesMin = 64 * 1024;
const sweepMs = 1000;
/** Floors are told when one of them is so much higher. */
const floorStep = 1000;
const tagSpan = 0x1_0000_0000;

interface Claim {
  readonly slots: number[];
  readonly tags: number[];
}

export class AcknowledgementSet {
  readonly queue: string;
  readonly group: string;
  readonly #options: AcknowledgementSetOptions;
  readonly #context: QueueContext;
  readonly #settings: QueueSettings;
  readonly #table: EntryTable;
  readonly #ready: ReadyQueue;
  readonly #locks: KeyLocks | null;
  readonly #deadlines: Deadlines;
  readonly #line: ConsumerLine;
  readonly #readers: PartitionReader[] = [];
  readonly #loaders: MessageLoader[] = [];
  readonly #loading: SlotList;
  readonly #burials: Burials;
  readonly #writer = new SetRecordWriter();
  readonly #counts = new Int32Array(messageStates.length);
  readonly #counters: SetCounters = {
    delivered: 0,
    redelivered: 0,
    settled: 0,
    timedOut: 0,
    deadLettered: 0,
    dropped: 0,
    expired: 0,
    lost: 0,
  };
  readonly #sweepTimer: WheelTimer;
  #log: StateLog | null = null;
  #tagNext = 0;
  #bufferBytes = 0;
  #isScheduled = false;
  /** Claims since the last batch, and those whose batch is under way. */
  #claims: Claim = { slots: [], tags: [] };
  #claimsSent: Claim = { slots: [], tags: [] };
  readonly #outboxes: QueueConsumer[] = [];
  #recordBytes = 0;
  #snapshotBytes = 0;
  #snapshotTicket = 0;
  #wantsSnapshot = true;
  /** As told last, and those that are told when their ticket is stored. */
  #floors: readonly number[] = [];
  #floorsNext: readonly number[] = [];
  #floorsTicket = 0;
  #isClosing = false;
  #end: Error | null = null;

  private constructor(options: AcknowledgementSetOptions) {
    const { settings, partitions, context } = options;
    this.queue = options.queue;
    this.group = options.group;
    this.#options = options;
    this.#context = context;
    this.#settings = settings;
    this.#table = new EntryTable(partitions.length);
    const levels = partitions.map(({ level }) => level);
    this.#ready = new ReadyQueue(this.#table, levels, settings.priority === 'guarded' ? settings.guardEvery : 0);
    const seed = Math.floor(context.random() * tagSpan) | 0;
    this.#locks = settings.order === 'none' ? null : new KeyLocks(this.#table, seed);
    this.#deadlines = new Deadlines(this.#table, context, (slot) => this.#onDeadline(slot));
    this.#line = new ConsumerLine(settings.consumers === 'exclusive');
    this.#loading = new SlotList(this.#table);
    this.#sweepTimer = timerOf(() => this.#sweep());
    this.#burials = new Burials(this.#table, this.#writer, {
      now: () => context.clock.now(),
      touch: () => this.#touch(),
      storedTicket: () => this.#logOf().storedTicket,
      buried: (slot) => {
        this.#counters.deadLettered += 1;
        this.#settle(slot, on.buried);
      },
      dieAgain: (slot) => {
        unlist(this.#table, slot);
        this.#kill(slot, 'rejected', context.clock.now());
      },
    });
    if (options.deadLetters !== null) this.#burials.employ(this.#undertaker(options.deadLetters));
  }

  /**
   * Replays the records of the set, fences the owner before and begins to read. A new set is durable when this resolves.
   *
   * @throws StorageError, QueueError QUEUE_STATE_CORRUPTED
   */
  static async open(options: AcknowledgementSetOptions): Promise<AcknowledgementSet> {
    const set = new AcknowledgementSet(options);
    const replay = new SetReplay(4 * (options.settings.holesMax + options.settings.readAheadMax) + 4_194_304);
    set.#log = await StateLog.open({
      partition: options.state,
      producerBase: options.producerBase,
      context: options.context,
      user: {
        replay: ({ value, offset }) => {
          const isSound = value !== null && readSetRecord(value, replay) && replay.isSound;
          if (!isSound) throw corrupted(options.state.name, offset);
        },
        collect: (add, ticket) => set.#collect(add, ticket),
        stored: (ticket, offset) => set.#onStored(ticket, offset),
        failed: (error) => set.#finish(error),
      },
    });
    await set.#begin(set.#log, replay);
    return set;
  }

  get settings(): QueueSettings {
    return this.#settings;
  }

  get consumerCount(): number {
    return this.#line.count;
  }

  /** Why the set has ended; null while it works. */
  get end(): Error | null {
    return this.#end;
  }

  get counters(): Readonly<SetCounters> {
    return this.#counters;
  }

  /** Messages in each state now, as far as they are read. */
  countOf(state: (typeof messageStates)[number]): number {
    return this.#counts[is[state]];
  }

  /** @throws QueueError QUEUE_CLOSED, QUEUE_LIMIT, QUEUE_SETTING_INVALID */
  addConsumer(options: ConsumerOptions): QueueConsumer {
    if (this.#end !== null) throw this.#end;
    if (this.#line.count >= consumersMax) {
      throw new QueueError('QUEUE_LIMIT', `Cannot add consumer "${options.name}": there are ${consumersMax}`);
    }
    if (options.onClose === 'keep' && this.#settings.visibilityMs === null) {
      const what = `Cannot add consumer "${options.name}": what it keeps would never come back without visibilityMs`;
      throw new QueueError('QUEUE_SETTING_INVALID', what);
    }
    const consumer = this.#line.add(this.#table, Math.floor(this.#context.random() * tagSpan) | 0, options);
    this.#unparkAll();
    this.#schedule();
    return consumer;
  }

  /** What the consumer has and has not settled goes to others, as its options say. */
  removeConsumer(consumer: QueueConsumer): void {
    if (consumer.isClosed) return;
    consumer.isClosed = true;
    consumer.credit = 0;
    consumer.outbox = [];
    this.#line.remove(consumer);
    const isKept = consumer.options.onClose === 'keep';
    const now = this.#context.clock.now();
    for (let slot = consumer.inFlight.head; slot !== nothing; slot = consumer.inFlight.head) {
      consumer.inFlight.remove(slot);
      this.#table.consumer[slot] = nothing;
      if (this.#table.state[slot] === is.claimed) this.#unclaim(slot);
      else if (!isKept) this.#fail(slot, 0, now);
    }
    this.#unpark(consumer);
    this.#unparkAll();
    this.#schedule();
  }

  /** It may be sent `count` messages more. */
  addCredit(consumer: QueueConsumer, count: number): void {
    this.setCredit(consumer, consumer.credit + count);
  }

  setCredit(consumer: QueueConsumer, credit: number): void {
    if (consumer.isClosed) return;
    consumer.credit = credit;
    this.#line.enter(consumer);
    this.#schedule();
  }

  /** Done for good. False when the receipt is not that of a delivery that is out: nothing has changed. */
  acknowledge(receipt: Receipt): boolean {
    const slot = this.#find(receipt);
    if (slot === nothing || nextState(this.#table.state[slot], on.acknowledge) === refused) return false;
    this.#counters.settled += 1;
    this.#settle(slot, on.acknowledge);
    return true;
  }

  /** Done for good with everything that the consumer has of the partition up to `offset`. How many that were. */
  acknowledgeThrough(consumer: QueueConsumer, partition: number, offset: number): number {
    const table = this.#table;
    let count = 0;
    for (let slot = table.firstOf(partition); slot !== nothing && table.offset[slot] <= offset; ) {
      const next = table.nextByOffset[slot];
      if (table.state[slot] === is.inFlight && table.consumer[slot] === consumer.number) {
        this.#counters.settled += 1;
        this.#settle(slot, on.acknowledge);
        count += 1;
      }
      slot = next;
    }
    return count;
  }

  /** Failed: again after `delayMs`, or after the delay of the settings. */
  fail(receipt: Receipt, delayMs: number | null = null): boolean {
    const slot = this.#findOut(receipt);
    if (slot === nothing) return false;
    this.#takeBack(slot);
    this.#fail(slot, delayMs === null ? null : clampDelay(delayMs), this.#context.clock.now());
    return true;
  }

  /** Given back untouched: at once, and this delivery does not count. */
  release(receipt: Receipt): boolean {
    const slot = this.#findOut(receipt);
    if (slot === nothing) return false;
    this.#takeBack(slot);
    this.#table.count[slot] -= 1;
    this.#return(slot, 0);
    this.#again(slot, on.retry);
    return true;
  }

  /** The consumer has `visibilityMs` from now. False as for `acknowledge`. */
  extend(receipt: Receipt, visibilityMs: number): boolean {
    const slot = this.#findOut(receipt);
    if (slot === nothing) return false;
    if (visibilityMs <= 0) return this.fail(receipt, 0);
    this.#move(slot, on.extend);
    this.#deadlines.start(slot, clampDelay(visibilityMs));
    return true;
  }

  /** Cannot be processed: to the dead-letter stream, or dropped without one. */
  reject(receipt: Receipt): boolean {
    const slot = this.#findOut(receipt);
    if (slot === nothing) return false;
    this.#takeBack(slot);
    this.#kill(slot, 'rejected', this.#context.clock.now());
    return true;
  }

  /** Covers everything that was asked up to now. */
  get ticket(): number {
    return this.#logOf().ticket;
  }

  /** Resolves when all that was asked up to now survives a crash; at once with `settlement: 'async'`. */
  whenStored(): Promise<void> {
    if (this.#settings.settlement === 'async' && this.#end === null) return Promise.resolve();
    return this.#logOf().whenStored();
  }

  /** Drops everything that is not at a consumer or dying, and all that is in the streams now. How many offsets that were. */
  async purge(): Promise<number> {
    const ends = await Promise.all(this.#readers.map((reader) => reader.places()));
    if (this.#end !== null) throw this.#end;
    let count = 0;
    for (const [partition, { highWatermark }] of ends.entries()) {
      const table = this.#table;
      for (let slot = table.firstOf(partition); slot !== nothing; ) {
        const next = table.nextByOffset[slot];
        if (isWaiting(table.state[slot])) {
          this.#settle(slot, on.discard);
          count += 1;
        }
        slot = next;
      }
      const reader = this.#readers[partition];
      if (reader.position < highWatermark) {
        count += highWatermark - reader.position;
        this.#writer.skip(partition, reader.position, highWatermark - reader.position);
        reader.seek(highWatermark);
      }
    }
    this.#touch();
    this.#schedule();
    await this.#logOf().whenStored();
    return count;
  }

  /**
   * Goes on at `offset`, forwards or backwards: all that is known of the partition is forgotten, and receipts of it are void.
   * The offset is moved into the log when it lies outside. Answers where it goes on.
   */
  async seek(partition: number, offset: number): Promise<number> {
    const { logStartOffset, highWatermark } = await this.#readers[partition].places();
    // Not while the dead-letter stream is in trouble: an operator may want to go on.
    while (this.#burials.burial !== null && this.#problems().length === 0) await this.#burials.whenEnded();
    if (this.#end !== null) throw this.#end;
    const target = Math.min(Math.max(offset, logStartOffset), highWatermark);
    this.#burials.abandon();
    const table = this.#table;
    for (let slot = table.firstOf(partition); slot !== nothing; slot = table.firstOf(partition)) this.#forget(slot);
    this.#writer.reset(partition, target);
    this.#loaders[partition].clear();
    this.#readers[partition].seek(target);
    this.#burials.dig();
    this.#touch();
    this.#schedule();
    await this.#logOf().whenStored();
    return target;
  }

  /** All partitions go on at the first message with this time (milliseconds since 1970) or a later one, or at their end. */
  async seekToTime(timestamp: number): Promise<void> {
    for (const [partition, { stream }] of this.#options.partitions.entries()) {
      const found = await stream.offsetForTime(timestamp);
      await this.seek(partition, found === null ? Number.MAX_SAFE_INTEGER : found.offset);
    }
  }

  /** Asks the streams how far they are, so that what was not read counts, too. */
  async describe(): Promise<SetDescription> {
    const places = await Promise.all(this.#readers.map((reader) => reader.places()));
    const unread = places.reduce((sum, { highWatermark }, partition) => {
      return sum + Math.max(0, highWatermark - this.#readers[partition].position);
    }, 0);
    const table = this.#table;
    const firsts = this.#readers.map((_, partition) => table.firstOf(partition)).filter((slot) => slot !== nothing);
    const times = firsts.map((slot) => table.timestamp[slot]).filter((time) => time > 0);
    const count = (state: number): number => this.#counts[state];
    return {
      queue: this.queue,
      group: this.group,
      settings: this.#settings,
      consumers: this.#line.all.map(({ name, inFlight, credit }) => ({ name, inFlight: inFlight.count, credit })),
      ready: count(is.ready) + count(is.loading) + unread,
      inFlight: count(is.inFlight) + count(is.claimed),
      delayed: count(is.delayed),
      held: count(is.held),
      dying: count(is.dying),
      lag: table.size + unread,
      oldestAgeMs: times.length === 0 ? null : Math.max(0, this.#context.clock.now() - Math.min(...times)),
      counters: { ...this.#counters },
      partitions: this.#options.partitions.map(({ stream, level }, partition) => ({
        stream: stream.name,
        level,
        floor: this.#floorOf(partition),
        position: this.#readers[partition].position,
        holes: table.countOf(partition),
      })),
      problems: this.#problems(),
    };
  }

  /** Stores what is under way and ends. What consumers have is delivered again when the set is opened. */
  async close(): Promise<void> {
    this.#isClosing = true;
    this.#stop();
    await this.#logOf().close();
  }

  // ---- opening

  #undertaker(stream: StreamPartition): Undertaker {
    const { queue, group, partitions, context, producerBase } = this.#options;
    return new Undertaker({
      stream,
      producerBase: producerBase + serviceProducerSpan / 2,
      context,
      place: { queue, group, streams: partitions.map((each) => each.stream.name) },
      onBuried: (burial) => this.#burials.onBuried(burial),
      onSequenceLost: () => this.#burials.onSequenceLost(),
    });
  }

  async #begin(log: StateLog, replay: SetReplay): Promise<void> {
    this.#tagNext = (log.generation % 0x10_0000) * tagSpan + 1;
    this.#burials.sequence = replay.deathSequence;
    this.#burials.epoch = replay.deathEpoch;
    const { partitions, start } = this.#options;
    let isNew = false;
    const positions: number[] = [];
    for (const [partition, { stream }] of partitions.entries()) {
      const known = replay.partitions.get(partition);
      if (known === undefined) isNew = true;
      const places = known === undefined ? await stream.places() : null;
      const fresh = start === 'earliest' ? places?.logStartOffset : places?.highWatermark;
      positions.push(known?.end ?? fresh ?? 0);
    }
    for (const [partition, position] of positions.entries()) this.#addReader(partition, position);
    for (const [partition, known] of replay.partitions) {
      if (partition >= partitions.length) continue;
      const sorted = [...known.entries].sort(([one], [other]) => one - other);
      for (const [offset, entry] of sorted) this.#restore(partition, offset, entry);
    }
    this.#burials.restore(replay.burial);
    this.#touch();
    if (isNew) await log.whenStored();
    this.#schedule();
  }

  #addReader(partition: number, position: number): void {
    const { partitions, context, decompress = null, settings } = this.#options;
    const reader = new PartitionReader({
      partition: partitions[partition].stream,
      position,
      context,
      decompress,
      onReady: () => this.#schedule(),
    });
    reader.ttlMs = settings.ttlMs;
    this.#readers.push(reader);
    const table = this.#table;
    const loader = new MessageLoader(reader, context, {
      isWanted: (offset) => {
        const slot = table.find(partition, offset);
        return slot !== nothing && table.message[slot] === null && this.#wantsBytes(slot);
      },
      loaded: (message) => this.#onLoaded(table.find(partition, message.offset), message),
      gone: (offset) => {
        this.#counters.lost += 1;
        const slot = table.find(partition, offset);
        if (table.state[slot] === is.dying) this.#burials.abandon();
        this.#settle(slot, on.gone);
        this.#burials.dig();
      },
      rested: () => this.#schedule(),
      hasRoom: () => this.#bufferBytes < settings.bufferBytesMax || this.#ready.count === 0,
    });
    this.#loaders.push(loader);
  }

  /** A message that an owner before had read and not settled. */
  #restore(partition: number, offset: number, { count, due, firstFailure }: ReplayedEntry): void {
    const table = this.#table;
    const now = this.#context.clock.now();
    const slot = table.add(partition, offset, is.loading, null);
    this.#counts[is.loading] += 1;
    this.#loading.push(slot);
    table.count[slot] = count;
    table.firstFailure[slot] = firstFailure;
    const { deliveriesMax } = this.#settings;
    if (deliveriesMax !== null && count >= deliveriesMax) {
      unlist(table, slot);
      this.#kill(slot, 'deliveries', now);
      return;
    }
    if (due > now) {
      // Not an event of the table: a delay that was there before the restart.
      unlist(table, slot);
      this.#setState(slot, is.delayed);
      table.due[slot] = due;
      this.#deadlines.start(slot, due - now);
      if (this.#locks === null) return;
    }
    this.#loaders[partition].want(offset);
  }

  // ---- reading

  /** Entries whose bytes are of no use now are not read again. */
  #wantsBytes(slot: number): boolean {
    const state = this.#table.state[slot];
    if (state === is.loading || state === is.dying) return true;
    return this.#locks !== null && state === is.delayed && this.#table.key[slot] === nothing;
  }

  #canRead(partition: number): boolean {
    const { readAheadMax, holesMax, bufferBytesMax } = this.#settings;
    return (
      this.#ready.freshOf(partition) < readAheadMax &&
      this.#table.countOf(partition) < holesMax &&
      this.#bufferBytes < bufferBytesMax
    );
  }

  #read(): void {
    for (const [partition, reader] of this.#readers.entries()) {
      const loader = this.#loaders[partition];
      if (!loader.isResting) {
        loader.resume();
        // Keys of what was read before must be known before what comes behind it.
        if (!loader.isResting && this.#locks !== null) continue;
      }
      if (!this.#canRead(partition)) continue;
      if (!reader.hasAnswer) {
        reader.fetch();
        continue;
      }
      reader.tell({
        message: (message) => {
          this.#addMessage(partition, message);
          return this.#canRead(partition);
        },
        gap: (first, end) => {
          this.#writer.skip(partition, first, end - first);
          this.#touch();
        },
      });
      if (!reader.hasAnswer && this.#canRead(partition)) reader.fetch();
    }
  }

  #addMessage(partition: number, message: StoredMessage): void {
    const slot = this.#table.add(partition, message.offset, is.ready, message);
    this.#counts[is.ready] += 1;
    this.#bufferBytes += sizeOf(message);
    if (message.expiresAt !== Infinity && this.#sweepTimer.dueTick === -1) {
      this.#context.timers.start(this.#sweepTimer, sweepMs);
    }
    if (this.#locks !== null && message.key !== null && !this.#locks.acquire(message.key, slot)) {
      this.#move(slot, on.lock);
      return;
    }
    this.#ready.pushFresh(slot);
  }

  #onLoaded(slot: number, message: StoredMessage): void {
    const table = this.#table;
    table.message[slot] = message;
    table.timestamp[slot] = message.timestamp;
    this.#bufferBytes += sizeOf(message);
    const before = table.state[slot];
    this.#move(slot, on.loaded);
    if (before === is.dying) {
      if (this.#locks !== null && message.key !== null && table.key[slot] === nothing) {
        this.#locks.acquireFree(message.key, slot);
      }
      this.#burials.dig();
      return;
    }
    if (before === is.loading) this.#loading.remove(slot);
    if (this.#locks !== null && message.key !== null && table.key[slot] === nothing) {
      if (!this.#locks.acquire(message.key, slot)) {
        this.#deadlines.cancel(slot);
        this.#move(slot, on.lock);
        if (this.#bufferBytes > this.#settings.bufferBytesMax) this.#dropBytes(slot);
        return;
      }
    }
    if (before === is.loading) this.#ready.pushAgain(slot);
    this.#schedule();
  }

  #dropBytes(slot: number): void {
    const message = this.#table.message[slot];
    if (message === null) return;
    this.#bufferBytes -= sizeOf(message);
    this.#table.message[slot] = null;
  }

  // ---- delivering

  #schedule(): void {
    if (this.#isScheduled || this.#end !== null || this.#log === null) return;
    this.#isScheduled = true;
    this.#context.defer(() => {
      this.#isScheduled = false;
      this.#pump();
    });
  }

  #pump(): void {
    if (this.#end !== null || this.#isClosing) return;
    const now = this.#context.clock.now();
    this.#deadlines.advance();
    this.#read();
    const isStored = this.#settings.deliveryCount === 'stored';
    // While the storage is away nothing is claimed: it would only wait, and nobody else could have it.
    if (!this.#logOf().isStalled && !this.#waitsForOrder()) {
      for (;;) {
        const readyBefore = this.#ready.count;
        if (this.#settings.order === 'sticky-key') this.#dispatchSticky(now, isStored);
        else this.#dispatch(now, isStored);
        if (this.#ready.count === readyBefore || this.#line.front() === null) break;
        // What was given away made room for more that is read already.
        this.#read();
      }
    }
    this.#flushOutboxes();
  }

  /** An exclusive consumer gets what comes back before what is behind it; others need not wait for a read. */
  #waitsForOrder(): boolean {
    if (this.#settings.consumers === 'shared' || this.#loading.count === 0) return false;
    return this.#loaders.every(({ problem }) => problem === null);
  }

  #dispatch(now: number, isStored: boolean): void {
    for (let consumer = this.#line.front(); consumer !== null; consumer = this.#line.front()) {
      const slot = this.#nextReady(now);
      if (slot === nothing) return;
      this.#claim(slot, consumer, isStored);
      this.#line.rotate();
    }
  }

  #dispatchSticky(now: number, isStored: boolean): void {
    for (const consumer of this.#line.drain()) {
      while (consumer.canTake && consumer.parked.count > 0) {
        const slot = consumer.parked.shift();
        if (!this.#hasExpired(slot, now)) this.#claim(slot, consumer, isStored);
      }
    }
    if (this.#line.count === 0) return;
    for (let slot = this.#nextReady(now); slot !== nothing; slot = this.#nextReady(now)) {
      const consumer = this.#line.ownerOf(this.#hashOf(slot));
      assert(consumer !== null, 'there is a consumer');
      if (consumer.canTake) this.#claim(slot, consumer, isStored);
      else consumer.parked.push(slot);
    }
    for (const consumer of this.#line.all) this.#line.enter(consumer);
  }

  /** Messages without a key are spread. */
  #hashOf(slot: number): number {
    return this.#locks === null || this.#table.key[slot] === nothing
      ? Math.imul(this.#table.order[slot] | 0, 0x27d4eb2f)
      : this.#locks.hashOfSlot(slot);
  }

  #nextReady(now: number): number {
    for (;;) {
      const slot = this.#ready.shift();
      if (slot === nothing || !this.#hasExpired(slot, now)) return slot;
    }
  }

  /** True when the message was too old, and is on its way out. It is in no list. */
  #hasExpired(slot: number, now: number): boolean {
    const message = this.#table.message[slot];
    if (message === null || message.expiresAt > now) return false;
    this.#expire(slot, now);
    return true;
  }

  #claim(slot: number, consumer: QueueConsumer, isStored: boolean): void {
    const table = this.#table;
    this.#move(slot, on.claim);
    table.count[slot] += 1;
    table.consumer[slot] = consumer.number;
    table.tag[slot] = this.#tagNext;
    consumer.inFlight.push(slot);
    consumer.credit -= 1;
    this.#writer.deliver(table.partition[slot], table.offset[slot], table.count[slot]);
    if (isStored) {
      this.#claims.slots.push(slot);
      this.#claims.tags.push(this.#tagNext);
    } else this.#handOver(slot);
    this.#tagNext += 1;
    this.#touch();
  }

  #handOver(slot: number): void {
    const table = this.#table;
    const message = table.message[slot];
    const consumer = this.#line.at(table.consumer[slot]);
    assert(message !== null && consumer !== null, 'a claimed message has its bytes and a consumer');
    this.#move(slot, on.handOver);
    const deliveryCount = table.count[slot];
    this.#counters.delivered += 1;
    if (deliveryCount > 1) this.#counters.redelivered += 1;
    if (this.#settings.visibilityMs !== null) this.#deadlines.start(slot, this.#settings.visibilityMs);
    if (consumer.outbox.length === 0) this.#outboxes.push(consumer);
    const { offset } = message;
    consumer.outbox.push({ partition: table.partition[slot], offset, tag: table.tag[slot], message, deliveryCount });
    this.#dropBytes(slot);
  }

  #flushOutboxes(): void {
    for (let consumer = this.#outboxes.pop(); consumer !== undefined; consumer = this.#outboxes.pop()) {
      const messages = consumer.outbox;
      consumer.outbox = [];
      if (messages.length > 0) consumer.options.onMessages(messages);
    }
  }

  // ---- what becomes of messages

  /** @returns the slot of a delivery that is out or claimed; `nothing` when the receipt is void */
  #find({ partition, offset, tag }: Receipt): number {
    if (this.#end !== null) return nothing;
    const slot = this.#table.find(partition, offset);
    return slot === nothing || this.#table.tag[slot] !== tag ? nothing : slot;
  }

  #findOut(receipt: Receipt): number {
    const slot = this.#find(receipt);
    return slot === nothing || this.#table.state[slot] !== is.inFlight ? nothing : slot;
  }

  /** The consumer does not have it any more. */
  #takeBack(slot: number): void {
    const table = this.#table;
    const consumer = this.#line.at(table.consumer[slot]);
    unlist(table, slot);
    table.consumer[slot] = nothing;
    if (consumer !== null) this.#relieve(consumer);
  }

  #relieve(consumer: QueueConsumer): void {
    if (consumer.isInLine || !consumer.canTake) return;
    this.#line.enter(consumer);
    this.#schedule();
  }

  /** A delivery failed. The message is in no list and at no consumer. `delayMs` null: as the settings say. */
  #fail(slot: number, delayMs: number | null, now: number): void {
    const table = this.#table;
    const { deliveriesMax, redelivery } = this.#settings;
    if (table.firstFailure[slot] === 0) table.firstFailure[slot] = now;
    const count = table.count[slot];
    if (deliveriesMax !== null && count >= deliveriesMax) {
      this.#kill(slot, 'deliveries', now);
      return;
    }
    const delay = delayMs ?? redeliveryDelayMs(redelivery, count, this.#context.random());
    if (delay === 0) {
      this.#return(slot, 0);
      this.#again(slot, on.retry);
      return;
    }
    this.#return(slot, now + delay);
    this.#move(slot, on.retryLater);
    table.tag[slot] = 0;
    table.due[slot] = now + delay;
    this.#deadlines.start(slot, delay);
  }

  /** Stores that it is to be delivered again. */
  #return(slot: number, due: number): void {
    const { partition, offset, count, firstFailure } = this.#table;
    this.#writer.return(partition[slot], offset[slot], 1, count[slot], due, firstFailure[slot]);
    this.#touch();
  }

  /** Ready once more; its bytes have to be read when they were given away. */
  #again(slot: number, event: number): void {
    this.#deadlines.cancel(slot);
    this.#table.tag[slot] = 0;
    this.#move(slot, event);
    this.#enqueue(slot);
  }

  #enqueue(slot: number): void {
    const table = this.#table;
    if (table.message[slot] === null) {
      this.#move(slot, on.missing);
      this.#loading.push(slot);
      this.#loaders[table.partition[slot]].want(table.offset[slot]);
    } else this.#ready.pushAgain(slot);
    this.#schedule();
  }

  /** The consumer went before the delivery was handed over. */
  #unclaim(slot: number): void {
    this.#table.count[slot] -= 1;
    this.#return(slot, 0);
    this.#again(slot, on.unclaim);
  }

  #unpark(consumer: QueueConsumer): void {
    for (let slot = consumer.parked.shift(); slot !== nothing; slot = consumer.parked.shift()) {
      this.#ready.pushAgain(slot);
    }
  }

  /** Keys may belong to others now. */
  #unparkAll(): void {
    if (this.#settings.order !== 'sticky-key') return;
    for (const consumer of this.#line.all) this.#unpark(consumer);
  }

  #expire(slot: number, now: number): void {
    this.#counters.expired += 1;
    if (this.#settings.expired === 'dead-letter') this.#kill(slot, 'expired', now);
    else this.#settle(slot, on.discard);
  }

  /** To the dead-letter stream, or away without one. The message is in no list. */
  #kill(slot: number, reason: DeathReason, now: number): void {
    const table = this.#table;
    this.#deadlines.cancel(slot);
    table.tag[slot] = 0;
    if (!this.#burials.isOpen) {
      if (reason !== 'expired') this.#counters.dropped += 1;
      this.#settle(slot, on.discard);
      return;
    }
    if (table.firstFailure[slot] === 0) table.firstFailure[slot] = now;
    table.reason[slot] = deathReasons.indexOf(reason);
    this.#move(slot, on.bury);
    this.#burials.dying.push(slot);
    if (table.message[slot] === null) {
      this.#loaders[table.partition[slot]].want(table.offset[slot]);
      this.#schedule();
    } else this.#burials.dig();
  }

  /** Never again: stored, and the slot is free. */
  #settle(slot: number, event: number): void {
    const table = this.#table;
    assert(nextState(table.state[slot], event) === is.settled, 'the event settles the message');
    this.#writer.settle(table.partition[slot], table.offset[slot]);
    this.#forget(slot);
    this.#touch();
  }

  #forget(slot: number): void {
    const table = this.#table;
    const state = table.state[slot];
    const consumer = this.#line.at(table.consumer[slot]);
    if (state !== is.ready || !this.#ready.remove(slot)) {
      // A held message leaves the list of its key below.
      if (state !== is.held) unlist(table, slot);
    }
    this.#deadlines.cancel(slot);
    this.#dropBytes(slot);
    this.#counts[state] -= 1;
    const next = this.#locks === null ? nothing : this.#locks.release(slot);
    table.remove(slot);
    if (consumer !== null) this.#relieve(consumer);
    if (next !== nothing) {
      this.#move(next, on.unlock);
      this.#enqueue(next);
    }
    if (this.#canReadMore(table.partition[slot])) this.#schedule();
  }

  /** Whether room has come where there was none. */
  #canReadMore(partition: number): boolean {
    return this.#table.countOf(partition) === this.#settings.holesMax - 1 || this.#ready.count === 0;
  }

  #move(slot: number, event: number): void {
    const before = this.#table.state[slot];
    const next = nextState(before, event);
    assert(next !== refused, 'the event means something in the state of the message');
    this.#table.state[slot] = next;
    this.#counts[before] -= 1;
    this.#counts[next] += 1;
  }

  #setState(slot: number, state: number): void {
    this.#counts[this.#table.state[slot]] -= 1;
    this.#table.state[slot] = state;
    this.#counts[state] += 1;
  }

  // ---- time

  #onDeadline(slot: number): void {
    if (this.#end !== null) return;
    const state = this.#table.state[slot];
    if (state === is.delayed) this.#again(slot, on.due);
    else if (state === is.inFlight) {
      this.#counters.timedOut += 1;
      this.#takeBack(slot);
      this.#fail(slot, null, this.#context.clock.now());
    }
    this.#schedule();
  }

  /** New messages that are too old go, although nobody asks for them. */
  #sweep(): void {
    if (this.#end !== null) return;
    const now = this.#context.clock.now();
    for (let level = 0; level < this.#ready.levelCount; level += 1) {
      for (let slot = this.#ready.headOf(level); slot !== nothing; slot = this.#ready.headOf(level)) {
        const message = this.#table.message[slot];
        if (message === null || message.expiresAt > now) break;
        this.#ready.remove(slot);
        this.#expire(slot, now);
      }
    }
    if (this.#ready.count > 0) this.#context.timers.start(this.#sweepTimer, sweepMs);
    this.#schedule();
  }

  // ---- records

  #logOf(): StateLog {
    assert(this.#log !== null, 'the set is open');
    return this.#log;
  }

  #touch(): number {
    return this.#logOf().touch();
  }

  #collect(add: (key: Uint8Array | null, value: Uint8Array | null) => void, ticket: number): boolean {
    const bytes = this.#recordBytes + this.#writer.size;
    const isSnapshot = this.#wantsSnapshot || bytes > Math.max(snapshotBytesMin, 4 * this.#snapshotBytes);
    if (isSnapshot) {
      writeSnapshot(this.#writer, this.#table, {
        positions: this.#readers.map(({ position }) => position),
        deathSequence: this.#burials.sequence,
        deathEpoch: this.#burials.epoch,
        burial: this.#burials.burial,
      });
    }
    const record = this.#writer.take();
    if (record !== null) {
      add(null, record);
      this.#recordBytes += record.length;
    }
    if (isSnapshot) {
      this.#wantsSnapshot = false;
      this.#snapshotTicket = ticket;
      this.#snapshotBytes = record?.length ?? 0;
      this.#recordBytes = 0;
    }
    if (this.#floorsTicket === 0) this.#measureFloors(ticket);
    const sent = this.#claimsSent;
    this.#claimsSent = this.#claims;
    this.#claims = sent;
    return false;
  }

  #onStored(ticket: number, offset: number): void {
    if (this.#end !== null) return;
    const { slots, tags } = this.#claimsSent;
    for (let at = 0; at < slots.length; at += 1) {
      const slot = slots[at];
      // A consumer that went, or a seek, has taken it back.
      if (this.#table.tag[slot] === tags[at] && this.#table.state[slot] === is.claimed) this.#handOver(slot);
    }
    slots.length = 0;
    tags.length = 0;
    if (this.#snapshotTicket !== 0 && ticket >= this.#snapshotTicket) {
      this.#snapshotTicket = 0;
      this.#onSnapshot(offset);
    }
    if (this.#floorsTicket !== 0 && ticket >= this.#floorsTicket) {
      this.#floorsTicket = 0;
      this.#floors = this.#floorsNext;
      this.#options.onFloors?.(this.#floors);
    }
    this.#burials.lower();
    this.#flushOutboxes();
    if (this.#line.front() !== null) this.#schedule();
  }

  #onSnapshot(offset: number): void {
    this.#logOf()
      .trim(offset)
      .catch((error: unknown) => this.#finish(toError(error)));
  }

  #measureFloors(ticket: number): void {
    const floors = this.#readers.map((_, partition) => this.#floorOf(partition));
    const hasGrown = floors.some((floor, partition) => floor - (this.#floors[partition] ?? 0) >= floorStep);
    if (!hasGrown) return;
    this.#floorsNext = floors;
    this.#floorsTicket = ticket;
  }

  // ---- the end

  #floorOf(partition: number): number {
    const first = this.#table.firstOf(partition);
    return first === nothing ? this.#readers[partition].position : this.#table.offset[first];
  }

  #problems(): string[] {
    const problems = [
      this.#end,
      this.#burials.problem,
      ...this.#readers.map(({ problem }) => problem),
      ...this.#loaders.map(({ problem }) => problem),
    ];
    const messages = problems.flatMap((problem) => (problem === null ? [] : [problem.message]));
    if (this.#log?.isStalled === true) messages.push('The storage does not take the records of the set');
    return messages;
  }

  #stop(): void {
    for (const reader of this.#readers) reader.close();
    for (const loader of this.#loaders) loader.close();
    this.#burials.close();
    this.#deadlines.close();
    this.#context.timers.cancel(this.#sweepTimer);
  }

  #finish(reason: Error): void {
    if (this.#end !== null) return;
    this.#end = reason;
    this.#stop();
    for (const consumer of [...this.#line.all]) {
      consumer.isClosed = true;
      consumer.options.onEnd?.(reason);
    }
  }
}

function clampDelay(delayMs: number): number {
  return Math.min(Math.max(0, delayMs), delayMsMax);
}

/** Neither at a consumer nor dying. */
function isWaiting(state: number): boolean {
  return state === is.ready || state === is.loading || state === is.held || state === is.delayed;
}
