/**
 * The durable sessions of one connection worker: opens its slot, and those of workers that are no more, over the worker's own client of
 * the storage; opens them again when they fail; and answers the main thread, which collects what the message logs are needed for.
 * Lives on a connection worker; protocols use it through the port `core/ports/session-slots.ts`.
 *
 * The service itself is loaded with the first slot that is opened, so that a node without durable sessions pays nothing for it.
 */

import type { ControlPlane } from '../../core/ports/control-plane.ts';
import {
  keptPacketIdMax,
  type MessageKept,
  type SessionSlots,
  type SessionUser,
} from '../../core/ports/session-slots.ts';
import type { StreamStore } from '../../core/ports/stream-store.ts';
import type { QueueContext } from '../../core/queues/queue-context.ts';
import { InterestTable } from '../../core/routing/interest-table.ts';
import type { DurableSessions } from '../../core/sessions/durable-sessions.ts';
import type { DurableGroups } from '../../core/sessions/groups/durable-groups.ts';
import type { GroupFigures } from '../../core/sessions/groups/group-figures.ts';
import { SessionInterest } from '../../core/sessions/interest.ts';
import type { MessageView, NewMessage } from '../../core/sessions/message-record.ts';
import type { SessionSubscription, SessionWill } from '../../core/sessions/session-entry.ts';
import { SessionError } from '../../core/sessions/session-error.ts';
import type { SubscriptionCounts } from '../../core/sessions/session-table.ts';
import { GroupMetrics } from '../../observability/group-metrics.ts';
import type { Logger } from '../../observability/log.ts';
import type { ThreadMetrics } from '../../observability/metrics.ts';
import { SessionMetrics } from '../../observability/session-metrics.ts';
import { assert } from '../../std/assert.ts';
import { type TimingWheel, WheelTimer } from '../../std/timing-wheel.ts';
import type { SessionsToMain, SessionsToWorker } from '../session-messages.ts';
import { GroupPlane } from './group-plane.ts';
import type { SessionSlotsStart } from './session-slots-start.ts';

export interface WorkerSessionSlotsOptions {
  readonly workerIndex: number;
  readonly workerCount: number;
  readonly control: ControlPlane;
  readonly start: SessionSlotsStart;
  readonly store: StreamStore;
  readonly timers: TimingWheel;
  readonly metrics: ThreadMetrics;
  readonly log: Logger;
  post(message: SessionsToMain): void;
}

/** What an administrator wants to know of groups. */
export interface SharedGroupsRequest {
  readonly limit: number;
  /** Groups of this name alone; null: all. */
  readonly name: string | null;
}

export interface SharedGroupsAnswer {
  readonly count: number;
  readonly groups: readonly GroupFigures[];
}

const tickMs = 1_000;
/** Between two tries to open a slot. */
const retryMs = 1_000;
/** Messages that have no publisher to hold back, while the slot opens. */
const waitingBytesMax = 16 * 1024 * 1024;
const waitingOverhead = 256;

interface WaitingMessage {
  readonly message: NewMessage;
  readonly done: MessageKept;
}

export class WorkerSessionSlots implements SessionSlots {
  readonly interest: SessionInterest;
  isSettled = false;
  own: DurableSessions | null = null;
  ownGroups: DurableGroups | null = null;
  failure: SessionError | null = null;
  readonly #options: WorkerSessionSlotsOptions;
  readonly #context: QueueContext;
  readonly #metrics: SessionMetrics;
  readonly #groupMetrics: GroupMetrics;
  /** Slots of workers that are no more, with the sessions that nobody has asked for yet. */
  readonly #former = new Map<number, DurableSessions>();
  readonly #plane: GroupPlane;
  /** Groups of each slot that is open, or was. */
  readonly #groups = new WeakMap<DurableSessions, DurableGroups>();
  /** Slots that the main thread says have stored sessions, and that are not open yet. */
  #stored: number[] = [];
  #user: SessionUser | null = null;
  #opening: Promise<DurableSessions> | null = null;
  /** The service that failed, until its successor has made its filters known. */
  #failed: DurableSessions | null = null;
  #ready: (() => void)[] = [];
  #waiting: WaitingMessage[] = [];
  #waitingBytes = 0;
  #isClosed = false;
  #isTrying = false;
  readonly #tickTimer = new WheelTimer(() => this.#tick());
  readonly #retryTimer = new WheelTimer(() => void this.#tryAgain());

  constructor(options: WorkerSessionSlotsOptions) {
    this.#options = options;
    this.interest = new SessionInterest(new InterestTable(options.start.interest, options.workerIndex));
    this.#metrics = new SessionMetrics(options.metrics);
    this.#groupMetrics = new GroupMetrics(options.metrics);
    this.#plane = new GroupPlane(options.workerIndex, options.workerCount, options.control);
    this.#plane.onKept = (group, isKept) => this.#user?.groupIsKept(group, isKept);
    this.#plane.onWanted = () => void this.open().catch(ignoreFailure);
    this.#context = {
      clock: { now: () => Date.now(), monotonic: () => performance.now() },
      timers: options.timers,
      random: Math.random,
      defer: (task) => setImmediate(task),
    };
  }

  // ---- for the protocol

  use(user: SessionUser): void {
    assert(this.#user === null, 'durable sessions have one protocol');
    this.#user = user;
  }

  get hasRoom(): boolean {
    return this.own?.hasRoom === true;
  }

  get sessionCount(): number {
    let count = this.own?.size ?? 0;
    for (const sessions of this.#former.values()) count += sessions.size;
    return count;
  }

  get subscriptionCounts(): SubscriptionCounts {
    const sum = { subscriptions: 0, shared: 0, subscribers: 0 };
    for (const { subscriptionCounts: counts } of this.#all()) {
      sum.subscriptions += counts.subscriptions;
      sum.shared += counts.shared;
      sum.subscribers += counts.subscribers;
    }
    return sum;
  }

  ids(): string[] {
    return this.#all().flatMap((sessions) => sessions.ids());
  }

  has(id: string): boolean {
    return this.ownerOf(id) !== null;
  }

  ownerOf(id: string): DurableSessions | null {
    if (this.own?.has(id) === true) return this.own;
    for (const sessions of this.#former.values()) if (sessions.has(id)) return sessions;
    return null;
  }

  open(): Promise<DurableSessions> {
    if (this.own !== null) return Promise.resolve(this.own);
    if (this.#isClosed) return Promise.reject(closedError());
    // It is tried again soon, and not by each client that comes.
    if (this.#opening === null && this.failure !== null && !this.#isTrying) return Promise.reject(this.failure);
    this.#opening ??= this.#open();
    return this.#opening;
  }

  async bringHome(id: string): Promise<void> {
    const former = this.ownerOf(id);
    if (former === null || former === this.own) return;
    const own = await this.open();
    const transfer = await former.handOver(id);
    if (transfer === null) return;
    try {
      await own.adopt(transfer);
    } catch (error) {
      former.keep(transfer);
      throw error;
    }
    await former.forget(transfer);
  }

  whenReady(callback: () => void): void {
    this.#ready.push(callback);
  }

  keep(message: NewMessage, done: MessageKept): void {
    const { own } = this;
    if (own !== null) {
      own.publish(message, done);
      return;
    }
    const bytes = message.body.length + message.header.length + message.topicBytes.length + waitingOverhead;
    if (this.#isClosed || this.failure !== null || this.#waitingBytes + bytes > waitingBytesMax) {
      const error = this.failure ?? new SessionError('SESSION_MESSAGE_REFUSED', 'Cannot keep a message: too many wait');
      queueMicrotask(() => done(error));
      return;
    }
    this.#waitingBytes += bytes;
    this.#waiting.push({ message, done });
    // Whoever waits is told how it went; the error itself was logged.
    if (this.isSettled) this.open().catch(ignoreFailure);
  }

  // ---- for the worker

  handle(message: SessionsToWorker): void {
    if (message.type === 'sessions-open') void this.#openStored(message.slots);
    else if (message.type === 'sessions-upkeep') this.#upkeep(message.round);
    else if (this.own !== null) void this.own.trim(message.floors);
  }

  /** Groups that this worker owns, those with most that waits first; see `admin/api/shared-groups.ts`. */
  sharedGroups({ limit, name }: SharedGroupsRequest): SharedGroupsAnswer {
    const figures = this.#all().flatMap((sessions) => this.#groups.get(sessions)?.figures() ?? []);
    const found = name === null ? figures : figures.filter((each) => each.name === name);
    found.sort((one, other) => other.waiting - one.waiting);
    return { count: found.length, groups: found.slice(0, limit) };
  }

  /** Messages without an answer. */
  get isBusy(): boolean {
    return this.#all().some(({ runtime }) => runtime.logs.some(({ underWay }) => underWay > 0));
  }

  /** Stores what there is to store, and ends. The worker's clients are gone. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#options.timers.cancel(this.#tickTimer);
    this.#options.timers.cancel(this.#retryTimer);
    await this.#opening?.catch(ignoreFailure);
    await Promise.all(this.#all().map((sessions) => this.#groups.get(sessions)?.close()));
    await Promise.all(this.#all().map((sessions) => sessions.close()));
  }

  // ---- opening

  async #openStored(slots: readonly number[]): Promise<void> {
    this.#stored = [...slots];
    // Without their protocol they stay as they are: nothing is opened, and nothing of the logs is given up.
    const problem = this.#user === null ? null : await this.#openAll();
    this.#options.post({ type: 'sessions-opened', problem });
  }

  /** Opens what has stored sessions. Answers why it did not work; it is tried again then. */
  async #openAll(): Promise<string | null> {
    const { workerIndex, start, log } = this.#options;
    this.#isTrying = true;
    try {
      for (const slot of [...this.#stored]) {
        if (slot === workerIndex) await this.open();
        else await this.#openFormer(slot);
        this.#stored = this.#stored.filter((each) => each !== slot);
      }
    } catch (error) {
      const problem = textOf(error);
      if (!this.#isClosed) {
        log.error('Cannot open the durable sessions: it is tried again', { error: problem });
        this.#retryLater();
      }
      return problem;
    } finally {
      this.#isTrying = false;
    }
    this.isSettled = true;
    // Every filter is in the table: from now on it says what is wanted here.
    InterestTable.letGo(start.interest, workerIndex);
    this.#keepWhatIsWanted();
    this.#tellReady();
    return null;
  }

  async #openFormer(slot: number): Promise<void> {
    if (this.#former.has(slot)) return;
    const sessions = await this.#openSlot(slot);
    // Its stream stays: a worker that has this number again needs the numbers of its producers.
    if (sessions.size === 0) {
      await this.#groups.get(sessions)?.close();
      await sessions.close();
      this.#plane.closed(slot);
      return;
    }
    this.#former.set(slot, sessions);
    this.#begin();
  }

  async #open(): Promise<DurableSessions> {
    try {
      const sessions = await this.#openSlot(this.#options.workerIndex);
      if (this.#failed !== null) this.#releaseInterest(this.#failed);
      this.#failed = null;
      this.own = sessions;
      this.ownGroups = this.#groups.get(sessions) ?? null;
      this.failure = null;
      this.#begin();
      const waiting = this.#waiting;
      this.#waiting = [];
      this.#waitingBytes = 0;
      for (const { message, done } of waiting) sessions.publish(message, done);
      return sessions;
    } catch (error) {
      this.failure = failureOf(error);
      const { workerIndex } = this.#options;
      if (!this.#stored.includes(workerIndex)) this.#stored.push(workerIndex);
      this.#retryLater();
      this.#refuseWaiting(this.failure);
      throw error;
    } finally {
      this.#opening = null;
      this.#tellReady();
    }
  }

  async #openSlot(slot: number): Promise<DurableSessions> {
    const { start, store, log } = this.#options;
    const { groups: groupSettings, ...settings } = start.settings;
    const { DurableGroups: Service } = await import('../../core/sessions/groups/durable-groups.ts');
    const user = this.#userOf();
    let serving: DurableSessions | null = null;
    let failure: SessionError | null = null;
    const sessionOptions = {
      ...settings,
      packetIdMax: keptPacketIdMax,
      store,
      context: this.#context,
      slot,
      sharedInterest: this.interest,
      onWill: (id: string, will: SessionWill, done: () => void) => user.willIsDue(id, will, done),
      onExpired: (id: string) => user.expired(id),
      classOf: (subscription: SessionSubscription) => user.classOf(subscription),
      onRoom: () => this.#tellReady(),
      onDamaged: (partition: string, offset: number) => log.error('A message log is damaged', { partition, offset }),
      onFailed: (error: SessionError) => {
        failure = error;
        if (serving !== null) this.#slotFailed(slot, serving, error);
      },
    };
    const isOwn = slot === this.#options.workerIndex;
    const groupOptions = {
      ...groupSettings,
      transport: this.#plane.transportOf(slot),
      keyHashOf: (message: MessageView) => user.keyHashOf(message),
      onGroup: (group: string, isKept: boolean) => {
        if (isOwn) this.#plane.told(group, isKept);
      },
    };
    const opening = Service.open(sessionOptions, groupOptions);
    opening.catch(() => this.#plane.closed(slot));
    const { sessions, groups } = await opening;
    this.#groups.set(sessions, groups);
    await user.opened(sessions);
    if (failure !== null) {
      this.#releaseInterest(sessions);
      this.#plane.closed(slot);
      throw failure;
    }
    serving = sessions;
    this.#plane.opened(slot);
    log.debug('durable sessions are open', { slot, sessions: sessions.size });
    return sessions;
  }

  #begin(): void {
    if (this.#tickTimer.dueTick !== -1) return;
    this.#options.timers.start(this.#tickTimer, tickMs);
    this.#options.post({ type: 'sessions-begun' });
  }

  #slotFailed(slot: number, sessions: DurableSessions, error: SessionError): void {
    if (this.#isClosed) return;
    this.#options.log.error('Durable sessions cannot be stored any more: they are opened again', {
      slot,
      code: error.code,
      error: error.message,
    });
    this.#stored.push(slot);
    this.#plane.closed(slot);
    if (slot !== this.#options.workerIndex) {
      this.#releaseInterest(sessions);
      this.#former.delete(slot);
      // Until they are open again nobody knows what they want.
      this.isSettled = false;
    } else {
      // Its filters stay: what it wanted is refused, and not lost, until it is open again.
      this.failure = error;
      this.#failed = sessions;
      this.own = null;
      this.ownGroups = null;
    }
    this.#retryLater();
    this.#tellReady();
  }

  #releaseInterest(sessions: DurableSessions): void {
    sessions.releaseInterest();
    this.#groups.get(sessions)?.releaseInterest();
  }

  #retryLater(): void {
    if (this.#retryTimer.dueTick === -1 && !this.#isClosed) this.#options.timers.start(this.#retryTimer, retryMs);
  }

  async #tryAgain(): Promise<void> {
    const problem = await this.#openAll();
    if (problem === null) this.#options.post({ type: 'sessions-opened', problem });
  }

  /** It is known now what waited for nothing. */
  #keepWhatIsWanted(): void {
    const unwanted = this.#waiting.filter(({ message }) => !this.interest.wants(message.topicBytes.toString()));
    this.#waiting = this.#waiting.filter((each) => !unwanted.includes(each));
    for (const { done } of unwanted) queueMicrotask(() => done(null));
    if (this.#waiting.length > 0) this.open().catch(ignoreFailure);
    else this.#waitingBytes = 0;
  }

  #refuseWaiting(error: SessionError): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#waitingBytes = 0;
    for (const { done } of waiting) queueMicrotask(() => done(error));
  }

  #tellReady(): void {
    const ready = this.#ready;
    this.#ready = [];
    for (const callback of ready) callback();
  }

  // ---- time

  #all(): readonly DurableSessions[] {
    return this.own === null ? [...this.#former.values()] : [this.own, ...this.#former.values()];
  }

  #tick(): void {
    if (this.#isClosed) return;
    this.#options.timers.start(this.#tickTimer, tickMs);
    const all = this.#all();
    for (const sessions of all) {
      sessions.tick();
      this.#groups.get(sessions)?.tick();
    }
    this.#metrics.update(
      all.map((owner) => {
        const { runtime } = owner;
        const { onlineCount: connected, expired, drops } = runtime;
        const batches = runtime.logs.reduce((sum, log) => sum + log.batches, 0);
        const stateBytes = runtime.store.bytesWritten;
        return { owner, totals: { sessions: owner.size, connected, batches, stateBytes, expired, drops } };
      }),
    );
    const groups = all.map((sessions) => this.#groups.get(sessions)).filter((each) => each !== undefined);
    this.#groupMetrics.update(
      groups.map((owner) => ({ owner, totals: owner.totals })),
      Date.now(),
    );
  }

  #upkeep(round: number): void {
    // What could not be opened may need anything.
    if (!this.isSettled || this.#stored.length > 0) return;
    let floors: number[] | null = null;
    for (const sessions of this.#all()) {
      const groups = this.#groups.get(sessions);
      groups?.upkeep();
      groups?.measure();
      const mine = sessions.upkeep();
      const former: readonly number[] = floors ?? [];
      floors = mine.map((floor, partition) => Math.min(floor, former[partition] ?? floor));
    }
    this.#options.post({ type: 'sessions-floors', round, floors });
  }

  #userOf(): SessionUser {
    assert(this.#user !== null, 'a protocol uses the durable sessions');
    return this.#user;
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function failureOf(error: unknown): SessionError {
  if (error instanceof SessionError) return error;
  const text = `Cannot open the durable sessions: ${textOf(error)}`;
  return new SessionError('SESSION_STORAGE_FAILED', text, { cause: error });
}

function closedError(): SessionError {
  return new SessionError('SESSION_CLOSED', 'Cannot open durable sessions: the worker ends');
}

function ignoreFailure(): void {
  // Everybody who waits for it is told, and it was logged.
}
