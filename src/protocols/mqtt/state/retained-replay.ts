/**
 * Retained messages that one client is still to be sent, subscription by subscription. The values are walked over when their turn
 * comes and not before: neither a large match nor many of them become a list. One per client while there is something to send, on
 * the connection's worker.
 *
 * Order. A value that is older than the subscription is sent before any live message of its topic: whoever delivers one takes the
 * value out first (`takeAhead`). A value that is newer than the subscription came, or comes, as a live message and is not sent
 * again, unless that message was dropped (`missed`).
 */
import type { RetainedSelection } from '../../../core/broker/retained-replica.ts';
import { frameOf, type RetainedValue } from '../../../core/retained/retained-value.ts';
import type { RetainedDelivery } from '../delivery/delivery.ts';

/** A subscription whose retained messages are to be sent. */
export interface RetainedRequest {
  readonly filter: string;
  readonly qos: 0 | 1 | 2;
  /** Subscription identifier, 0 for none. */
  readonly identifier: number;
}

/** Where the values are; `RetainedValues` of the router is one. */
export interface ReplaySource {
  readonly latestStamp: number;
  walk(filter: string): Pick<RetainedSelection, 'next' | 'hasPassed'>;
  get(topic: string): RetainedValue | undefined;
}

/** One subscription. */
interface Replayed {
  readonly request: RetainedRequest;
  /** Values with a higher stamp are newer than the subscription. */
  readonly stampMax: number;
  /** Null before its turn. */
  walk: Pick<RetainedSelection, 'next' | 'hasPassed'> | null;
  /** Messages that are no retained values, sent behind them. */
  extras: readonly RetainedDelivery[] | null;
  extraIndex: number;
  /** Topics whose value was sent before its turn. */
  ahead: Set<string> | null;
  /** Topics with a newer message that was dropped. */
  dropped: Set<string> | null;
}

export class RetainedReplay {
  /** The message whose turn it is; null when `advance` has to look for it first. */
  due: RetainedDelivery | null = null;
  private readonly source: ReplaySource;
  private readonly extrasOf: (request: RetainedRequest) => readonly RetainedDelivery[];
  /** By filter, in the order in which they were asked for; the first one is being walked over. */
  private readonly all = new Map<string, Replayed>();
  private current: Replayed | null = null;
  private dueTopic = '';

  /** `extrasOf`: what else a new subscription is to be sent. */
  constructor(source: ReplaySource, extrasOf: (request: RetainedRequest) => readonly RetainedDelivery[]) {
    this.source = source;
    this.extrasOf = extrasOf;
  }

  /** Call it when the subscription receives live messages. One with the same filter begins anew. */
  add(request: RetainedRequest): void {
    const { filter } = request;
    this.drop(filter);
    const { latestStamp: stampMax } = this.source;
    this.all.set(filter, { request, stampMax, walk: null, extras: null, extraIndex: 0, ahead: null, dropped: null });
  }

  /** The message that was due has been sent. */
  sent(): void {
    this.due = null;
  }

  /** Looks for the message that is due next, a little of the way; false when there is nothing left. */
  advance(nowMs: number): boolean {
    if (this.due !== null) return true;
    let replayed = this.current;
    if (replayed === null) {
      for (const first of this.all.values()) {
        replayed = first;
        break;
      }
      if (replayed === null) return false;
      this.current = replayed;
    }
    replayed.walk ??= this.source.walk(replayed.request.filter);
    const entry = replayed.walk.next(nowMs);
    if (entry === undefined) this.extraOf(replayed);
    else if (entry !== null && isToSend(replayed, entry.topic, entry.value)) {
      this.due = deliveryOf(entry.value, replayed.request);
      this.dueTopic = entry.topic;
    }
    return true;
  }

  private extraOf(replayed: Replayed): void {
    replayed.extras ??= this.extrasOf(replayed.request);
    const extra = replayed.extras[replayed.extraIndex];
    if (extra === undefined) {
      this.drop(replayed.request.filter);
      return;
    }
    replayed.extraIndex++;
    this.due = extra;
    this.dueTopic = '';
  }

  /** A live message of `topic` is about to be sent for the subscription to `filter`: what has to be sent before it, or null. */
  takeAhead(topic: string, filter: string): RetainedDelivery | null {
    const replayed = this.all.get(filter);
    if (replayed === undefined) return null;
    const { due } = this;
    if (due !== null && this.current === replayed && this.dueTopic === topic) {
      this.due = null;
      return due;
    }
    const value = this.waitingValue(replayed, topic);
    if (value === undefined || !isToSend(replayed, topic, value)) return null;
    replayed.ahead ??= new Set();
    replayed.ahead.add(topic);
    return deliveryOf(value, replayed.request);
  }

  /** A live message of `topic` for the subscription to `filter` is dropped: the value of the topic is sent in its turn, though it is newer. */
  missed(topic: string, filter: string): void {
    const replayed = this.all.get(filter);
    if (replayed === undefined || this.waitingValue(replayed, topic) === undefined) return;
    replayed.dropped ??= new Set();
    replayed.dropped.add(topic);
  }

  /** The value of a topic that the walk still comes to. */
  private waitingValue({ walk }: Replayed, topic: string): RetainedValue | undefined {
    const value = this.source.get(topic);
    return value === undefined || walk?.hasPassed(topic) === true ? undefined : value;
  }

  /** The subscription to `filter` ended. */
  drop(filter: string): void {
    const replayed = this.all.get(filter);
    if (replayed === undefined) return;
    this.all.delete(filter);
    if (this.current !== replayed) return;
    this.current = null;
    this.due = null;
  }
}

function isToSend({ stampMax, ahead, dropped }: Replayed, topic: string, { stamp }: RetainedValue): boolean {
  if (ahead?.has(topic) === true) return false;
  return stamp <= stampMax || dropped?.has(topic) === true;
}

function deliveryOf(value: RetainedValue, { qos, identifier }: RetainedRequest): RetainedDelivery {
  const published = (value.detailA >> 1) & 3;
  return {
    frame: frameOf(value),
    layout: value.layout === 5 ? 5 : 4,
    qos: Math.min(published, qos) as 0 | 1 | 2,
    retain: 1, // [MQTT-3.3.1-8] of 3.1.1
    identifier,
    expiresAtS: value.expiresAtS,
  };
}
