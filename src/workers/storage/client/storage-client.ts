/**
 * The storage as a thread uses it that does not host it: a connection worker, or the main thread. A `StreamStore` over a link to the
 * journal worker, which the main thread hands in, and again after the journal worker was replaced. Before the first link, and
 * between two, appends and calls wait, bounded in number, bytes and time; `health` says `retrying`.
 *
 * What a death of the journal worker means to a caller: an append that was on its way is answered STORAGE_UNCERTAIN (unless its answer
 * had left), later ones wait for the successor. Partitions stay the same objects.
 */
import type {
  AppendDone,
  ReadAnswer,
  ReadRequest,
  StoreHealth,
  StreamPartition,
  StreamSettings,
  StreamStore,
} from '../../../core/ports/stream-store.ts';
import { StorageError } from '../../../core/streams/storage-error.ts';
import { Doorbell } from '../../../shm/doorbell.ts';
import { assert } from '../../../std/assert.ts';
import { fromSentError, hostLine, type StorageLink } from '../link.ts';
import type { HostToClient, SentAnswer, SentPlan, SlotOrError, StorageCall } from '../messages.ts';
import { AppendLane } from './append-lane.ts';
import { CallLane } from './call-lane.ts';
import { ClientPartition, type PartitionOwner } from './client-partition.ts';
import { ColdGate } from './cold-gate.ts';
import { PlanReader } from './plan-reader.ts';

export interface StorageClientOptions {
  /** Name of the adapter. */
  readonly adapter: string;
  /** A line for the host and one for each client. */
  readonly doorbells: SharedArrayBuffer;
  /** See `cold-pace.ts`; the same lines. */
  readonly coldPace: SharedArrayBuffer;
  /** The line of this thread. */
  readonly line: number;
  /** Appends without an answer, in bytes; beyond it appends are refused. */
  readonly unansweredBytesMax: number;
  /** How long appends and calls wait for a host, ms. */
  readonly waitMsMax: number;
}

/** A share of the bound: beyond the first a caller should stop, below the second it may go on. */
const congestedShare = 3 / 4;
const easedShare = 1 / 2;

export class StorageClient implements StreamStore, PartitionOwner {
  readonly adapter: string;
  readonly #options: StorageClientOptions;
  readonly #doorbell: Doorbell;
  readonly #appends: AppendLane;
  readonly #calls = new CallLane();
  readonly #reader: PlanReader;
  readonly #partitions = new Map<string, ClientPartition>();
  readonly #bySlot = new Map<number, ClientPartition>();
  readonly #opening = new Map<string, Promise<ClientPartition>>();
  readonly #healthListeners = new Set<(health: StoreHealth) => void>();
  readonly #drainListeners = new Set<() => void>();
  #health: StoreHealth = { state: 'retrying', reason: 'the journal worker starts', since: Date.now() };
  #link: StorageLink | null = null;
  /** The host at the link has said something: its store is open. */
  #isMet = false;
  /** Appends and calls go out. */
  #isJoined = false;
  #isRingDue = false;
  #isTurnDue = false;
  #isCongested = false;
  #giveUpTimer: NodeJS.Timeout | null = null;
  #closed: Promise<void> | null = null;
  #eased: (() => void) | null = null;

  constructor(options: StorageClientOptions) {
    this.adapter = options.adapter;
    this.#options = options;
    this.#doorbell = new Doorbell(options.doorbells, options.line);
    this.#reader = new PlanReader(new ColdGate(options.coldPace, options.line));
    this.#appends = new AppendLane({
      unansweredBytesMax: options.unansweredBytesMax,
      ringHost: () => this.#ringHost(),
      committed: (slot, end) => this.#bySlot.get(slot)?.committed(end),
      eased: () => this.#easedOff(),
    });
    this.#doorbell.listen(() => this.#turn());
    this.#doorbell.sleep();
  }

  // --- the host, told by the main thread ---

  /** Goes on with a host, the first one or the next. */
  adopt(link: StorageLink): void {
    this.#lose();
    if (this.#closed !== null && this.#eased === null) {
      link.port.close();
      link.payloads.close();
      return;
    }
    assert(link.line === this.#options.line, 'the link is for this thread');
    this.#link = link;
    link.port.on('close', () => {
      if (this.#link === link) this.#lose();
    });
    link.port.on('message', (message: HostToClient) => {
      if (this.#link === link) this.#receive(message);
    });
    // Neither keeps the thread alive.
    link.port.unref();
    link.payloads.unref();
    this.#appends.attach(link);
    this.#calls.attach(link.port);
  }

  // --- for callers ---

  /** Appends without an answer. */
  get unanswered(): number {
    return this.#appends.unanswered;
  }

  /** More appends are under way than is good: stop reading what makes them, and go on at `onDrained`. */
  get isCongested(): boolean {
    return this.#isCongested;
  }

  /** Told when it is congested no more; answers how to end it. */
  onDrained(listener: () => void): () => void {
    this.#drainListeners.add(listener);
    return () => this.#drainListeners.delete(listener);
  }

  health(): StoreHealth {
    return this.#health;
  }

  onHealth(listener: (health: StoreHealth) => void): () => void {
    this.#healthListeners.add(listener);
    return () => this.#healthListeners.delete(listener);
  }

  async create(name: string, settings: StreamSettings = {}): Promise<StreamPartition> {
    const slot = await this.#call(() => ({ call: 'create', name, settings }), false);
    return this.#partition(name, slot as number);
  }

  async open(name: string): Promise<StreamPartition> {
    const known = this.#partitions.get(name);
    if (known !== undefined && known.failure === null) return known;
    const opening = this.#opening.get(name);
    if (opening !== undefined) return opening;
    const opened = this.#open(name);
    this.#opening.set(name, opened);
    return opened;
  }

  async remove(name: string): Promise<void> {
    await this.#call(() => ({ call: 'remove', name }), false);
    this.#forget(name);
  }

  async names(): Promise<readonly string[]> {
    return (await this.ask(() => ({ call: 'names' }))) as readonly string[];
  }

  async change(name: string, settings: StreamSettings): Promise<void> {
    await this.ask(() => ({ call: 'change', name, settings }));
  }

  async settings(name: string): Promise<StreamSettings> {
    return (await this.ask(() => ({ call: 'settings', name }))) as StreamSettings;
  }

  /** Ends the use of the storage on this thread, not the storage. What waits for a host is refused. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  // --- for the partitions ---

  append(partition: ClientPartition, bytes: Buffer, done: AppendDone): void {
    this.#appends.append(partition, bytes, done);
    if (!this.#isJoined) this.#armGiveUp();
    if (!this.#isCongested && this.#fillOf() > congestedShare) this.#isCongested = true;
  }

  async read(partition: ClientPartition, request: ReadRequest): Promise<ReadAnswer> {
    const plan = await this.#plan(partition, request, false);
    if (plan.type === 'answer') return toAnswer(plan.answer);
    const answer = await this.#reader.read(plan.file, request);
    if (answer !== null) return answer;
    // The log has changed meanwhile, or is damaged: the host knows which.
    const second = await this.#plan(partition, request, true);
    assert(second.type === 'answer', 'the host reads itself when it is asked to');
    return toAnswer(second.answer);
  }

  ask(make: () => StorageCall): Promise<unknown> {
    return this.#call(make, true);
  }

  // --- parts ---

  #call(make: () => StorageCall, canRepeat: boolean): Promise<unknown> {
    const result = this.#calls.run(make, { canRepeat });
    if (!this.#isJoined) this.#armGiveUp();
    return result;
  }

  async #plan(partition: ClientPartition, request: ReadRequest, byHost: boolean): Promise<SentPlan> {
    return (await this.ask(() => ({ call: 'read', slot: partition.usableSlot(), request, byHost }))) as SentPlan;
  }

  async #open(name: string): Promise<ClientPartition> {
    try {
      const slot = await this.ask(() => ({ call: 'open', name }));
      return this.#partition(name, slot as number);
    } finally {
      this.#opening.delete(name);
    }
  }

  /** The partition that has `slot` at the present host; the same object as before, unless it was removed. */
  #partition(name: string, slot: number): ClientPartition {
    const partition = this.#partitions.get(name) ?? new ClientPartition(name, slot, this);
    this.#partitions.set(name, partition);
    this.#takeSlot(partition, slot);
    return partition;
  }

  /** It was removed: the object serves no more, and another one under its name is a new one. */
  #forget(name: string): void {
    const partition = this.#partitions.get(name);
    if (partition === undefined) return;
    partition.failure ??= new StorageError(
      'STORAGE_PARTITION_UNKNOWN',
      `Cannot use partition "${name}": it was removed`,
    );
    this.#partitions.delete(name);
    if (this.#bySlot.get(partition.slot) === partition) this.#bySlot.delete(partition.slot);
  }

  /** The first word of a host is its health. */
  #meet(): void {
    if (this.#isMet || this.#link === null) return;
    this.#isMet = true;
    void this.#join(this.#link);
  }

  /** Learns the numbers of the partitions at a new host, and lets go out what waits. */
  async #join(link: StorageLink): Promise<void> {
    const known = [...this.#partitions.values()];
    if (known.length > 0) {
      const names = known.map(({ name }) => name);
      let slots: readonly SlotOrError[];
      try {
        const options = { canRepeat: false, isEarly: true };
        slots = (await this.#calls.run(() => ({ call: 'reopen', names }), options)) as readonly SlotOrError[];
      } catch (error) {
        // The host is lost again, and the next one is asked; or this client was closed.
        if (!(error instanceof StorageError)) throw error;
        return;
      }
      if (this.#link !== link) return;
      this.#bySlot.clear();
      for (const [index, partition] of known.entries()) this.#takeSlot(partition, slots[index]);
    }
    this.#isJoined = true;
    this.#stopGiveUp();
    this.#calls.open();
    this.#appends.open();
    for (const partition of known) {
      partition.watch();
      // What was committed meanwhile was told to nobody.
      partition.committed();
    }
    this.#turn();
  }

  #takeSlot(partition: ClientPartition, slot: SlotOrError): void {
    if (typeof slot === 'number') {
      partition.failure = null;
      partition.slot = slot;
      this.#bySlot.set(slot, partition);
      return;
    }
    // Opening it by name tries again.
    partition.failure = fromSentError(slot);
  }

  #lose(): void {
    const link = this.#link;
    if (link === null) return;
    this.#link = null;
    this.#isMet = false;
    this.#isJoined = false;
    link.port.close();
    this.#setHealth({ state: 'retrying', reason: 'the journal worker is being replaced', since: Date.now() });
    this.#appends.lose();
    this.#calls.lose();
    if (this.#appends.waiting + this.#calls.unanswered > 0) this.#armGiveUp();
    this.#eased?.();
  }

  #receive(message: HostToClient): void {
    switch (message.type) {
      case 'result':
        this.#calls.answered(message.id, message.result);
        break;
      case 'error':
        this.#calls.failed(message.id, message.error);
        break;
      case 'health':
        this.#setHealth(message.health);
        this.#meet();
        break;
      case 'removed': {
        const partition = this.#bySlot.get(message.slot);
        if (partition !== undefined) this.#forget(partition.name);
      }
    }
    this.#eased?.();
  }

  #setHealth(health: StoreHealth): void {
    this.#health = health;
    for (const listener of [...this.#healthListeners]) listener(health);
  }

  /** Takes answers, puts into the ring what waits, sleeps when there is nothing left. */
  #turn(): void {
    if (this.#appends.take()) this.#doorbell.ring(hostLine);
    this.#appends.push();
    this.#doorbell.sleep();
    if (!this.#appends.hasWork) return;
    this.#doorbell.awake();
    if (this.#isTurnDue) return;
    this.#isTurnDue = true;
    setImmediate(() => {
      this.#isTurnDue = false;
      this.#turn();
    });
  }

  /** Once for all appends of this turn. */
  #ringHost(): void {
    if (this.#isRingDue) return;
    this.#isRingDue = true;
    queueMicrotask(() => {
      this.#isRingDue = false;
      this.#doorbell.ring(hostLine);
    });
  }

  #fillOf(): number {
    return this.#appends.unansweredBytes / this.#options.unansweredBytesMax;
  }

  #easedOff(): void {
    this.#eased?.();
    if (!this.#isCongested || this.#fillOf() > easedShare) return;
    this.#isCongested = false;
    for (const listener of [...this.#drainListeners]) listener();
  }

  /** Nobody waits for a host for ever. */
  #armGiveUp(): void {
    const { waitMsMax } = this.#options;
    this.#giveUpTimer ??= setTimeout(() => {
      this.#giveUpTimer = null;
      const message = `Cannot use the storage: ${this.#health.reason} for ${waitMsMax} ms`;
      const error = new StorageError('STORAGE_UNAVAILABLE', message);
      this.#appends.giveUp(error);
      this.#calls.giveUp(error);
    }, waitMsMax).unref();
  }

  #stopGiveUp(): void {
    if (this.#giveUpTimer !== null) clearTimeout(this.#giveUpTimer);
    this.#giveUpTimer = null;
  }

  async #close(): Promise<void> {
    const error = new StorageError('STORAGE_CLOSED', 'Cannot use the storage: it was closed');
    this.#appends.close(error);
    this.#calls.close(error);
    await new Promise<void>((resolve) => {
      this.#eased = () => {
        if (this.#appends.unanswered > 0 || this.#calls.unanswered > 0) return;
        this.#eased = null;
        resolve();
      };
      this.#eased();
    });
    this.#stopGiveUp();
    const link = this.#link;
    this.#link = null;
    link?.port.close();
    link?.payloads.close();
    this.#reader.close();
    this.#doorbell.close();
  }
}

/** Structured clone makes plain arrays of buffers. */
function toAnswer(answer: SentAnswer): ReadAnswer {
  const slices = answer.slices.map(({ buffer, byteOffset, byteLength }) => Buffer.from(buffer, byteOffset, byteLength));
  return { ...answer, slices };
}
