/**
 * Opens the sessions of a slot: the steps in which an owner takes over from the one before it, which may have crashed. Thread: the
 * owner of the sessions.
 *
 *   1. The stream of the sessions is fenced and read: from now on the owner before stores no progress.
 *   2. Each message log is fenced: from now on it stores no message either, and all of its messages lie before the fence.
 *   3. Receipts that no progress tells of are looked for between the receipt floors and the fences.
 *   4. Sessions that had a client begin to be away; their messages up to the fences may have been sent already.
 *   5. The filters of all sessions are made known, and the logs are followed from the fences on.
 */
import type { StreamPartition } from '../ports/stream-store.ts';
import { SubscriptionIndex } from '../routing/subscription-index.ts';
import { openInternalStream } from '../transactions/internal-stream.ts';
import { SessionInterest } from './interest.ts';
import { type LiveSubscription, LogFeed } from './log-feed.ts';
import { MessageLog } from './message-log.ts';
import { dirtyPart } from './session-entry.ts';
import { SessionError } from './session-error.ts';
import {
  type DurableSessionsOptions,
  defaultLimits,
  messageLogPrefix,
  packetIdLimit,
  partitionsMax,
  producerBaseOf,
  producerOf,
  sessionDefaults,
  sessionLogPrefix,
  slotsMax,
} from './session-options.ts';
import { ReceiptSearch } from './session-recovery.ts';
import { SessionRuntime } from './session-runtime.ts';
import { SessionStore } from './session-store.ts';
import { SessionTable } from './session-table.ts';

export interface OpenedSessions {
  readonly interest: SessionInterest;
  readonly table: SessionTable;
  readonly store: SessionStore;
  readonly logs: readonly MessageLog[];
  readonly feeds: readonly LogFeed[];
  readonly runtime: SessionRuntime;
  /** Above all serials of receipts that were ever given. */
  readonly serialEnd: number;
}

/** Rejects with StorageError, QueueError or SessionError. `onFailed` is told when nothing can be stored any more. */
export async function openSessions(
  options: DurableSessionsOptions,
  onFailed: (error: SessionError) => void,
): Promise<OpenedSessions> {
  const { store: streams, context, slot } = options;
  const written = options.partitions ?? sessionDefaults.partitions;
  checkWhole('slot', slot, 0, slotsMax - 1);
  checkWhole('partitions', written, 1, partitionsMax);
  const partitions = await openMessageLogs(options, written);
  const table = new SessionTable(partitions.length, options.classOf);
  const interest = options.sharedInterest ?? new SessionInterest(options.interest ?? null);
  const live = new SubscriptionIndex<LiveSubscription>();
  const logs: MessageLog[] = [];
  const feeds: LogFeed[] = [];
  let runtime: SessionRuntime | null = null;
  const { store, replay } = await SessionStore.open({
    partition: await openInternalStream(streams, `${sessionLogPrefix}${slot}`, { isCompacted: true }),
    producerBase: producerBaseOf(slot),
    context,
    table,
    progressMs: options.progressMs ?? sessionDefaults.progressMs,
    rewriteBytesMin: options.rewriteBytesMin ?? sessionDefaults.rewriteBytesMin,
    positionsOf: (entry) => runtime?.positionsOf(entry) ?? [],
    // What this owner appends later lies behind the tail.
    floors: () =>
      logs.map(({ storedEnd, underWay }, at) => (underWay === 0 ? Math.max(storedEnd, feeds[at].tail) : storedEnd)),
    onFailed,
  });
  const producer = producerOf(slot, store.generation);
  for (const [number, partition] of partitions.entries()) {
    const feed = new LogFeed({
      number,
      partition,
      context,
      live,
      cacheBytesMax: options.cacheBytesMax ?? sessionDefaults.cacheBytesMax,
      indexBytesMax: options.indexBytesMax ?? sessionDefaults.indexBytesMax,
      hasSessions: () => table.size > 0 || options.readers?.hasGroups === true,
      onDamaged: (name, offset) => options.onDamaged?.(name, offset),
    });
    feeds.push(feed);
    logs.push(
      new MessageLog({
        partition,
        context,
        ...producer,
        waitingBytesMax: options.waitingBytesMax ?? sessionDefaults.waitingBytesMax,
        onStored: (bytes, starts) => feed.onStored(bytes, starts),
        onRoom: () => options.onRoom?.(),
        onFailed,
      }),
    );
  }
  const search = new ReceiptSearch(slot, table, replay);
  const isFirst = store.generation === 1;
  let fences: readonly number[];
  const starts: number[] = [];
  try {
    fences = await Promise.all(logs.map((log) => log.fence()));
    for (const [number, partition] of partitions.entries()) {
      const { logStartOffset } = await partition.places();
      starts.push(logStartOffset);
      const from = isFirst ? fences[number] : Math.max(replay.floors[number] ?? 0, logStartOffset);
      await search.search(partition, from, fences[number]);
    }
  } catch (error) {
    // Nobody has them yet: nothing may go on in the background.
    const failure = new SessionError('SESSION_CLOSED', 'Cannot open the sessions');
    for (const log of logs) log.fail(failure);
    for (const feed of feeds) feed.close();
    throw error;
  }
  for (const [number, feed] of feeds.entries()) {
    const lowest = Math.min(lowestPosition(table, number), options.readers?.floor(number) ?? Number.POSITIVE_INFINITY);
    feed.start(starts[number], Math.max(starts[number], lowest), fences[number] + 1);
  }
  const now = context.clock.now();
  runtime = new SessionRuntime({
    slot,
    writtenCount: written,
    context,
    limits: { ...defaultLimits, ...options.limits },
    interest,
    table,
    store,
    feeds,
    logs,
    live,
    packetIdMax: options.packetIdMax ?? packetIdLimit,
    readers: options.readers ?? null,
  });
  for (const entry of replay.interrupted) {
    entry.awaySince = now;
    entry.doubtEnds = fences;
    store.save(entry, dirtyPart.head);
  }
  let added = 0;
  for (const entry of table.entries()) {
    added += 1;
    // A million of them take seconds, and the thread has a heartbeat.
    if (added % sessionsPerTurn === 0) await new Promise<void>((resolve) => context.defer(resolve));
    for (const { filter, grade } of entry.subscriptions) if (grade > 0) interest.add(filter);
    table.setDue(entry);
    if (entry.receipts !== null) store.save(entry, dirtyPart.progress);
  }
  store.saveFloors();
  return { interest, table, store, logs, feeds, runtime, serialEnd: search.serialEnd };
}

const sessionsPerTurn = 20_000;

async function openMessageLogs(
  { store }: DurableSessionsOptions,
  written: number,
): Promise<readonly StreamPartition[]> {
  const names = await store.names();
  let count = written;
  // Fewer than before: the others are still read.
  while (count < partitionsMax && names.includes(`${messageLogPrefix}${count}`)) count += 1;
  const partitions: StreamPartition[] = [];
  for (let number = 0; number < count; number += 1) {
    partitions.push(await openInternalStream(store, `${messageLogPrefix}${number}`));
  }
  return partitions;
}

function lowestPosition(table: SessionTable, partition: number): number {
  let lowest = Number.POSITIVE_INFINITY;
  for (const entry of table.entries()) lowest = Math.min(lowest, table.position(entry, partition));
  return lowest;
}

function checkWhole(name: string, value: number, min: number, max: number): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  throw new SessionError(
    'SESSION_LIMIT',
    `Cannot open sessions with ${name} ${value}: it is a whole number from ${min} to ${max}`,
  );
}
