/**
 * A session on its way to another node: everything of it, in chunks that are asked for one after the other, while it stands still here.
 * Nothing is changed by reading it. Thread: the owner of the sessions; made by `DurableSessions.depart`.
 *
 * What waits are the messages from its place on up to where the logs ended when it stood still, without those that have expired or that a
 * limit has dropped.
 */
import { type QueueContext, timerOf } from '../queues/queue-context.ts';
import { matches } from '../routing/topic.ts';
import type { StoredBatch } from './batch-cache.ts';
import type { Flight } from './flight-table.ts';
import type { LogFeed } from './log-feed.ts';
import { afterSkips, isDamage, planFrom } from './log-reading.ts';
import { MessageView } from './message-record.ts';
import { isMoved, movedPrefixIn } from './moved-topic.ts';
import type { SessionEntry, SessionSubscription } from './session-entry.ts';
import { MoveWriter } from './session-move.ts';
import {
  encodeHead,
  encodeProgress,
  encodeSubscription,
  recordKind,
  sessionKey,
  subscriptionKey,
} from './session-records.ts';
import type { SessionRuntime } from './session-runtime.ts';

const chunkBytes = 256 * 1024;
const readBytes = 256 * 1024;
const retryMs = 100;
/** Offsets that are looked at in one turn of the thread. */
const turnOffsetsMax = 512;

export class SessionDeparture {
  readonly id: string;
  /** Of the session, as it was when it stood still. */
  readonly epoch: number;
  readonly #entry: SessionEntry;
  readonly #runtime: SessionRuntime;
  readonly #context: QueueContext;
  readonly #ends: readonly number[];
  readonly #writer = new MoveWriter();
  readonly #view = new MessageView();
  readonly #wanted: readonly SessionSubscription[];
  readonly #matched = new Map<string, readonly SessionSubscription[]>();
  readonly #chunks: AsyncGenerator<Buffer, void>;
  #messages = 0;

  /** `ends`: where each message log ended. */
  constructor(entry: SessionEntry, runtime: SessionRuntime, context: QueueContext, ends: readonly number[]) {
    this.id = entry.id;
    this.epoch = entry.epoch;
    this.#entry = entry;
    this.#runtime = runtime;
    this.#context = context;
    this.#ends = ends;
    this.#wanted = entry.subscriptions.filter(({ grade }) => grade > 0);
    this.#chunks = this.#write();
  }

  /** The next chunk; null behind the last one. One call at a time. Rejects with StorageError or SessionError. */
  async next(): Promise<Buffer | null> {
    const { value } = await this.#chunks.next();
    return value ?? null;
  }

  async *#write(): AsyncGenerator<Buffer, void> {
    const writer = this.#writer;
    for (const [key, value] of recordsToMove(this.#entry)) {
      writer.record(key, value);
      if (writer.bytes >= chunkBytes) yield writer.take();
    }
    for (const flight of inOrder(this.#entry)) {
      await this.#writeFlight(flight);
      if (writer.bytes >= chunkBytes) yield writer.take();
    }
    for (const feed of this.#runtime.feeds) yield* this.#writeLog(feed);
    writer.end(this.#messages);
    yield writer.take();
  }

  async #writeFlight({ packetId, state, order, partition, offset }: Flight): Promise<void> {
    const writer = this.#writer;
    if (state === 'receiving' || state === 'received') {
      writer.flight(packetId, 'received', order, null, 0);
      return;
    }
    const batch = await this.#batchOf(this.#runtime.feeds[partition], offset);
    const isThere = batch !== 'gone' && this.#read(batch, offset);
    // A bound has dropped it: of grade 2 the client may know the packet id, and is told to release it.
    if (isThere) writer.flight(packetId, state === 'sent' ? 'sent' : 'sentOnce', order, this.#view, this.#prefix());
    else if (state !== 'sent') writer.flight(packetId, 'received', order, null, 0);
  }

  async *#writeLog(feed: LogFeed): AsyncGenerator<Buffer, void> {
    const { number } = feed;
    const end = this.#ends[number] ?? 0;
    const writer = this.#writer;
    let position = Math.max(this.#runtime.positionsOf(this.#entry)[number] ?? 0, feed.logStart);
    // What others wrote last may not have come here yet.
    while (feed.tail < end) {
      feed.wake();
      await this.#pause(10);
    }
    let turn = 0;
    while (position < end) {
      position = afterSkips(this.#entry, number, Math.max(position, feed.logStart));
      const plan = planFrom(feed, position, () => this.#filters(number), wakesNobody);
      if (plan === null) {
        await this.#pause(retryMs);
        continue;
      }
      for (let next = plan.next(position); next < plan.end && next < end; next = plan.next(position)) {
        const skipped = afterSkips(this.#entry, number, next);
        position = skipped;
        if (skipped > next) continue;
        const batch = await this.#batchOf(feed, next);
        if (batch !== 'gone' && this.#read(batch, next) && this.#isWanted(number, next)) {
          writer.message(this.#view, this.#prefix());
          this.#messages += 1;
          if (writer.bytes >= chunkBytes) yield writer.take();
        }
        position = next + 1;
        turn += 1;
        if (turn % turnOffsetsMax === 0) await new Promise<void>((resolve) => this.#context.defer(resolve));
      }
      position = Math.max(position, Math.min(plan.end, end));
    }
  }

  #filters(partition: number): readonly { readonly filter: string; readonly since: number }[] {
    return this.#wanted.map(({ filter, since }) => ({ filter, since: since[partition] ?? 0 }));
  }

  #read(batch: StoredBatch, offset: number): boolean {
    const start = batch.startOf(offset);
    return start >= 0 && this.#view.read(batch.bytes, start, batch.limit, batch.baseTimestamp);
  }

  /** Of the message that was read: bytes of its topic that are this node's own. */
  #prefix(): number {
    const { bytes, topicStart, topicLength } = this.#view;
    return movedPrefixIn(bytes, topicStart, topicLength);
  }

  #isWanted(partition: number, offset: number): boolean {
    const view = this.#view;
    const { expiresAtMs, timestamp } = view;
    const now = this.#context.clock.now();
    if ((expiresAtMs !== 0 && expiresAtMs <= now) || now - timestamp > this.#runtime.ageMsMax) return false;
    const topic = view.bytes.toString('utf8', view.topicStart, view.topicStart + view.topicLength);
    let found = this.#matched.get(topic);
    if (found === undefined) {
      found = this.#wanted.filter(({ filter }) => matches(filter, topic));
      if (this.#matched.size >= matchesMax) this.#matched.clear();
      this.#matched.set(topic, found);
    }
    const isOwn = found.length > 0 && view.publisherLength > 0 && view.publisher === this.id;
    return found.some(({ since, noLocal }) => offset >= (since[partition] ?? 0) && !(noLocal && isOwn));
  }

  /** The batch of an offset, valid until the next pause; `gone` when it cannot be read any more. Waits while the storage cannot be read. */
  async #batchOf(feed: LogFeed, offset: number): Promise<StoredBatch | 'gone'> {
    for (;;) {
      if (offset < feed.logStart) return 'gone';
      const known = feed.cache.find(offset);
      if (known !== null) return known;
      try {
        const batch = await feed.cache.load(offset, readBytes);
        return batch === null || offset < batch.baseOffset ? 'gone' : batch;
      } catch (error) {
        if (await isDamage(feed, error)) {
          this.#runtime.drops.damaged += 1;
          return 'gone';
        }
        await this.#pause(retryMs);
      }
    }
  }

  #pause(ms: number): Promise<void> {
    this.#runtime.checkOpen();
    return new Promise((resolve) => this.#context.timers.start(timerOf(resolve), ms));
  }
}

const matchesMax = 1024;
/** It looks again by itself. */
const wakesNobody = { resume: () => undefined };

function recordsToMove(entry: SessionEntry): (readonly [Buffer, Buffer])[] {
  const { id } = entry;
  const records: (readonly [Buffer, Buffer])[] = [
    [sessionKey(recordKind.head, id), encodeHead(entry)],
    [sessionKey(recordKind.progress, id), encodeProgress(entry, [])],
  ];
  for (const each of entry.subscriptions) {
    if (isMoved(each.filter)) continue;
    records.push([subscriptionKey(id, each.filter), encodeSubscription({ ...each, since: [] })]);
  }
  return records;
}

/** Flights, oldest first. One of grade 1 of a group goes to another member. */
function inOrder({ flights }: SessionEntry): Flight[] {
  const all = [...(flights?.values() ?? [])].filter(({ group, state }) => group === undefined || state !== 'sent');
  return all.sort((one, other) => one.order - other.order);
}
