/** What durable sessions are opened with. Thread: the owner of the sessions. */
import type { StreamStore } from '../ports/stream-store.ts';
import type { QueueContext } from '../queues/queue-context.ts';
import { serviceProducerBase, serviceProducerSpan } from '../queues/state-log.ts';
import type { InterestTable } from '../routing/interest-table.ts';
import type { SessionInterest } from './interest.ts';
import type { SessionSubscription, SessionWill } from './session-entry.ts';
import type { SessionError } from './session-error.ts';
import type { SessionLimits } from './session-limits.ts';
import type { SubscriptionClass } from './session-table.ts';

/** Groups, as the sessions of their slot see them. */
export interface LogReaders {
  readonly hasGroups: boolean;
  /** Messages up to this age may be for one of them, ms. */
  readonly ageMsMax: number;
  /** The lowest offset that one of them needs; infinite: none. */
  floor(partition: number): number;
}

export interface DurableSessionsOptions {
  readonly store: StreamStore;
  readonly context: QueueContext;
  /** Number of this owner, from 0 on: it has the stream `__sessions.<slot>`. One owner a slot at a time; the newest one wins. */
  readonly slot: number;
  /** Message logs, 1 to 64. More can come with a later start, fewer cannot. Default 1. */
  readonly partitions?: number;
  /** View of the table that tells the owners of each other's filters; null when there is one owner. */
  readonly interest?: InterestTable | null;
  /** In place of `interest`: where several owners on one thread make their filters known together. */
  readonly sharedInterest?: SessionInterest;
  /** The highest packet id that is given to a message, above all windows; those above it are the protocol's own. Default 65,535. */
  readonly packetIdMax?: number;
  readonly limits?: Partial<SessionLimits>;
  /** How a subscription counts. Default: all of them as plain ones. */
  classOf?(subscription: SessionSubscription): SubscriptionClass;
  /** Others that read the message logs here. */
  readonly readers?: LogReaders;
  /** Default 1,000,000. */
  readonly sessionsMax?: number;
  /** Of one session. Default 10,000. */
  readonly subscriptionsMax?: number;
  /** Progress that nobody waits for is stored within this time. Default 200 ms. */
  readonly progressMs?: number;
  /** Messages that wait to be stored, for each log; beyond it publishers are held back. Default 8 MiB. */
  readonly waitingBytesMax?: number;
  /** Batches in memory, for each log. Default 16 MiB. */
  readonly cacheBytesMax?: number;
  /** The index, for each log. Default 64 MiB. */
  readonly indexBytesMax?: number;
  /** The stream of sessions is not written anew before it has grown by so much. Default 16 MiB. */
  readonly rewriteBytesMin?: number;
  /** All of one message log; beyond it the oldest go, whoever waits for them. Infinite: no bound. Default 16 GiB. */
  readonly logBytesMax?: number;
  /**
   * The will of a session is due. `done` is called when it is published; until then it comes again after a restart.
   */
  onWill(id: string, will: SessionWill, done: () => void): void;
  /** A session has ended: its time was over. */
  onExpired?(id: string): void;
  /** Publishers may go on: `hasRoom` is true again. */
  onRoom?(): void;
  /** A place of a message log cannot be read. */
  onDamaged?(partition: string, offset: number): void;
  /** Nothing can be stored any more: all clients were told. */
  onFailed?(error: SessionError): void;
}

const gibibyte = 1024 * 1024 * 1024;

export const sessionDefaults = {
  partitions: 1,
  sessionsMax: 1_000_000,
  subscriptionsMax: 10_000,
  progressMs: 200,
  waitingBytesMax: 8 * 1024 * 1024,
  cacheBytesMax: 16 * 1024 * 1024,
  indexBytesMax: 64 * 1024 * 1024,
  rewriteBytesMin: 16 * 1024 * 1024,
  logBytesMax: 16 * gibibyte,
} as const;

export const defaultLimits: SessionLimits = {
  countMax: 100_000,
  bytesMax: 256 * 1024 * 1024,
  ageMsMax: Number.POSITIVE_INFINITY,
  overflow: 'drop-oldest',
};

export const partitionsMax = 64;
/** Packet ids have 16 bits. */
export const packetIdLimit = 65_535;
export const slotsMax = 4096;
export const messageLogPrefix = '__messages.';
export const sessionLogPrefix = '__sessions.';

const epochCount = 0x8000;

/** First of the producer ids of a slot. They are far above those that queues have. */
export function producerBaseOf(slot: number): number {
  return serviceProducerBase + 2 ** 51 + slot * serviceProducerSpan;
}

/** Who writes to the message logs in this life of a slot: the second half of its ids. */
export function producerOf(
  slot: number,
  generation: number,
): { readonly producerId: number; readonly producerEpoch: number } {
  const producerId = producerBaseOf(slot) + serviceProducerSpan / 2 + Math.floor(generation / epochCount);
  return { producerId, producerEpoch: generation % epochCount };
}
