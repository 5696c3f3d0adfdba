/** Where publications of one topic go: targets on this worker and a mask of other workers. Thread: one worker. */
import { tenantPrefixLength } from '../tenants/tenant-names.ts';
import type { Run } from './run.ts';

/** What one subscriber on this worker wants of a topic; made by the subscriber's protocol. */
export interface Target {
  /** Takes every publication of the run, or drops and counts. Must not throw and must not keep the run. */
  deliver(run: Run): void;
}

/** Who subscribes. One object per session. */
export interface Subscriber {
  /** Makes the target for a topic out of all subscriptions of this subscriber that match it (one or more). */
  createTarget(subscriptions: readonly Subscription[]): Target;
}

/** One filter of one subscriber. Protocols extend it with their options. */
export class Subscription {
  readonly filter: string;
  readonly subscriber: Subscriber;

  constructor(filter: string, subscriber: Subscriber) {
    this.filter = filter;
    this.subscriber = subscriber;
  }
}

export class Route {
  /** With the tenant, where it is not the default one. */
  readonly topic: string;
  readonly topicBytes: Buffer;
  /** The topic as clients know it; in the default tenant the same strings and bytes. */
  readonly name: string;
  readonly nameBytes: Buffer;
  targets: Target[] = [];
  /** Groups that share the topic's publications among their members; null for nearly every topic. */
  groups: readonly SharedGroupTarget[] | null = null;
  /** Other workers with a matching filter. */
  maskLow = 0;
  maskHigh = 0;
  /** Interest epoch at which the mask was computed. */
  maskEpoch = -1;
  /** Whether some stored session wants the topic, as of `keptEpoch`; filled in by who publishes. */
  isKept = false;
  /** Epoch of the interest of stored sessions at which `isKept` was found. */
  keptEpoch = Number.NEGATIVE_INFINITY;
  /** Generation of the targets; they are stale when the router's differs or `stale` is set. */
  generation = -1;
  stale = true;
  /** What the protocol of its publishers keeps of them beside the delivery, decided once; undefined: not yet, null: nothing. */
  copies: object | null | undefined = undefined;
  /** Of the route cache that holds it, see `Router.currentOf`; -1 while none does. */
  cacheAge = -1;

  constructor(topic: string, topicBytes: Buffer) {
    const start = tenantPrefixLength(topic);
    this.topic = topic;
    this.topicBytes = topicBytes;
    this.name = start === 0 ? topic : topic.slice(start);
    // What is in front is ASCII.
    this.nameBytes = start === 0 ? topicBytes : topicBytes.subarray(start);
  }

  /** Holds no subscriber any more; the next publication asks the index again. */
  letGo(): void {
    this.stale = true;
    if (this.targets.length > 0) this.targets = [];
    this.groups = null;
  }
}

/** A shared group as a route sees it. */
export interface SharedGroupTarget {
  /** Hands each publication of the run to one member. False when a ring has no room: nothing was handed over then. */
  hasRoomFor(run: Run): boolean;
  share(run: Run): void;
}
