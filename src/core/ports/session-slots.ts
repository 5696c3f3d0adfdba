/**
 * The port of durable sessions: what a protocol has of them on a connection worker. A worker owns a slot of the stored sessions, and
 * those slots that workers of a former start had and nobody has now. Slots are opened when they are needed: at the start when sessions
 * are stored in them, else with the first session, or the first message that a session elsewhere on the node wants.
 *
 * Thread: one connection worker. Implemented by `workers/sessions`.
 */
import type { DurableSessions } from '../sessions/durable-sessions.ts';
import type { DurableGroups } from '../sessions/groups/durable-groups.ts';
import type { SessionInterest } from '../sessions/interest.ts';
import type { MessageView, NewMessage } from '../sessions/message-record.ts';
import type { SessionSubscription, SessionWill } from '../sessions/session-entry.ts';
import type { SessionError } from '../sessions/session-error.ts';
import type { SubscriptionClass, SubscriptionCounts } from '../sessions/session-table.ts';

/** Packet ids up to here belong to messages from the logs; those above it to what a protocol sends beside them. */
export const keptPacketIdMax = 61_439;

/** The protocol whose sessions they are. */
export interface SessionUser {
  /** A slot was opened, and nothing of it was used yet: it serves when this resolves. */
  opened(sessions: DurableSessions): Promise<void>;
  /** See `DurableSessionsOptions.onWill`. */
  willIsDue(id: string, will: SessionWill, done: () => void): void;
  /** A session has ended: its time was over. */
  expired(id: string): void;
  /** See `DurableSessionsOptions.classOf`. */
  classOf(subscription: SessionSubscription): SubscriptionClass;
  /** See `DurableGroupsOptions`. */
  keyHashOf(message: MessageView): number;
  /** A group is kept from now on, or is not any more; once for each worker. */
  groupIsKept(group: string, isKept: boolean): void;
}

/** Told once when the message is durable, or refused; never inside of the call. */
export type MessageKept = (error: Error | null) => void;

export interface SessionSlots {
  /** What the stored sessions of this worker want, and through the shared table those of all workers. */
  readonly interest: SessionInterest;
  /**
   * Whether `interest` can be asked: the stored sessions of this worker have been read. Until then nothing may be acknowledged that
   * one of them might want, and no session may be connected.
   */
  readonly isSettled: boolean;
  /** The slot of this worker, when it is open; sessions are connected there and nowhere else. */
  readonly own: DurableSessions | null;
  /** The groups of that slot. */
  readonly ownGroups: DurableGroups | null;
  /** Why nothing can be stored at present; null while it can, or is not known yet. */
  readonly failure: SessionError | null;
  /** A message can be stored at once: the slot is open and has room. */
  readonly hasRoom: boolean;
  /** Sessions of this worker, connected or not. */
  readonly sessionCount: number;
  /** What they are subscribed to. */
  readonly subscriptionCounts: SubscriptionCounts;
  /** Registers the protocol; one on each worker, before anything else. */
  use(user: SessionUser): void;
  /** Opens the slot of this worker if it is not open. Rejects with SessionError or StorageError; the next call tries again. */
  open(): Promise<DurableSessions>;
  /** Calls back once when something has changed that may let a publisher go on: settled, opened, failed, or room. */
  whenReady(callback: () => void): void;
  /** Names of all sessions of this worker. */
  ids(): string[];
  /** Whether a session is in a slot of this worker. */
  has(id: string): boolean;
  /** The owner on this worker that has the session, if one has. */
  ownerOf(id: string): DurableSessions | null;
  /** Moves a session from the slot of a former worker into that of this one. Nothing happens when it is there, or nowhere. */
  bringHome(id: string): Promise<void>;
  /**
   * Stores a message that nobody can hold back the publisher of, such as a will; opens the slot first if need be. What waits for that is
   * bounded, and refused beyond.
   */
  keep(message: NewMessage, done: MessageKept): void;
}
