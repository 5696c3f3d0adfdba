/** What groups on durable sessions are opened with. Any thread. */
import type { MessageView } from '../message-record.ts';
import type { SessionLimits } from '../session-limits.ts';
import type { GroupTransport } from './group-messages.ts';

export interface DurableGroupsOptions {
  /** How slots reach each other; none: this is the only one. */
  readonly transport?: GroupTransport;
  /** Groups that one slot owns. Default 100,000. */
  readonly groupsMax?: number;
  /** Messages of one group that members have, or that wait for one of them; beyond it the group reads no further. Default 16,384. */
  readonly openMax?: number;
  /** Of these: messages of keys whose member has no room. Default 1,024. */
  readonly waitingMax?: number;
  /** Messages that one member may have of a group, at most; its window if that is smaller. Default 1,024. */
  readonly creditMax?: number;
  /** How long groups wait, after a start, for slots that have not said what their members hold. Default 30,000 ms. */
  readonly syncMs?: number;
  /** A group without subscribers is forgotten after this time. Default 5,000 ms. */
  readonly graceMs?: number;
  /**
   * A group without subscribers is kept for so long, over restarts too, with what waits and what comes; whoever subscribes then goes on with
   * it. 0: what comes meanwhile is for nobody. Default 0.
   */
  readonly emptyMs?: number;
  /** What may wait for one group; what is left out is as for sessions. */
  readonly limits?: Partial<SessionLimits>;
  /** The stream of a shard is not written anew before it has grown by so much. Default 1 MiB. */
  readonly rewriteBytesMin?: number;
  /** A hash of the protocol's key of a message, for the strategy `hash-key`. Default: of the topic. */
  keyHashOf?(view: MessageView): number;
  /** A group is kept from now on, or is not any more: members without a stored session belong to it, or do not. */
  onGroup?(group: string, isKept: boolean): void;
}

export const groupDefaults = {
  groupsMax: 100_000,
  openMax: 16_384,
  waitingMax: 1024,
  creditMax: 1024,
  syncMs: 30_000,
  graceMs: 5000,
  emptyMs: 0,
  rewriteBytesMin: 1024 * 1024,
} as const;
