/**
 * Watches: who wants to know of which keys, and how far everybody is. Fed by the state machine as it applies; what is
 * older is read from the change log. Thread: the Raft worker; owned by `placement-state.ts`.
 *
 * A watcher is either live, and then its events are collected as they happen until it is ready for them, or behind, and
 * then they are read again from the change log in slices. So what waits for a slow one is bounded, and a slice never holds
 * the thread for long. Events are handed over whole revisions at a time, never from inside of `watch` or `apply`.
 */
import type {
  Bytes,
  KeyValue,
  RefusalCode,
  Revision,
  WatchEvent,
  Watcher,
  WatchRequest,
} from '../../core/ports/placement.ts';
import { latin1Of } from './bytes.ts';
import type { Change, ChangeEvent } from './change-log.ts';
import { checkRead } from './key-checks.ts';
import { limits, watcherEventsMax, watcherLagMax, watcherProgressRevisions, watcherSliceRevisions } from './limits.ts';
import { type Refusal, refuse } from './refusal.ts';

/** What the hub asks of the state. */
export interface WatchSource {
  readonly revision: Revision;
  readonly compactedRevision: Revision;
  changesFrom(revision: Revision, limit: number, bytesMax: number): Change[];
  /** The item that `event` replaced or removed; null when there was none, or when it is compacted. */
  previousOf(event: ChangeEvent): KeyValue | null;
}

type EndCode = RefusalCode | 'STOPPED' | 'SLOW_WATCHER';

interface Subscription {
  readonly watcher: Watcher;
  readonly low: string;
  /** Null: no upper bound. Equal to `low` for one key. */
  readonly high: string | null;
  readonly isOneKey: boolean;
  readonly withPrevious: boolean;
  /** Earlier revisions are not asked for. */
  readonly from: Revision;
  isLive: boolean;
  isOver: boolean;
  /** The promise of the last batch is open. */
  isBusy: boolean;
  /** Of a live one: events that wait. Of one behind: events that were collected while it was live, up to `seen`. */
  pending: WatchEvent[];
  /** Of one behind: everything up to here was handed over or is pending. */
  seen: Revision;
  /** The revision of the last batch. */
  reported: Revision;
  /** Where the store was when the last batch was handed over. */
  handedAt: Revision;
}

export class WatchHub {
  private readonly source: WatchSource;
  private readonly defer: (callback: () => void) => void;
  private readonly byKey = new Map<string, Set<Subscription>>();
  private readonly byRange = new Set<Subscription>();
  private readonly ready = new Set<Subscription>();
  private isScheduled = false;

  constructor(source: WatchSource, defer: (callback: () => void) => void) {
    this.source = source;
    this.defer = defer;
  }

  add(request: WatchRequest, watcher: Watcher): { cancel(): void } {
    const refusal = checkRead(request.key, request.end, request.scope) ?? checkRevision(request.fromRevision);
    if (refusal !== null) {
      this.defer(() => watcher.onEnd({ code: refusal.code, compactedRevision: this.source.compactedRevision }));
      return { cancel: () => undefined };
    }
    const { revision } = this.source;
    const from = request.fromRevision === 0 ? revision + 1 : request.fromRevision;
    const isOneKey = request.end === null;
    const end = request.end === null || request.end.length === 0 ? null : latin1Of(request.end);
    const subscription: Subscription = {
      watcher,
      low: latin1Of(request.key),
      high: isOneKey ? latin1Of(request.key) : end,
      isOneKey,
      withPrevious: request.withPrevious,
      from,
      isLive: from > revision,
      isOver: false,
      isBusy: false,
      pending: [],
      seen: from - 1,
      reported: Math.min(from - 1, revision),
      handedAt: revision,
    };
    if (isOneKey) this.ofKey(subscription.low).add(subscription);
    else this.byRange.add(subscription);
    if (!subscription.isLive) this.schedule(subscription);
    return { cancel: () => this.remove(subscription) };
  }

  /** Every revision, in order, as it is applied. */
  push(change: Change): void {
    if (this.byKey.size === 0 && this.byRange.size === 0) return;
    for (const event of change.events) {
      const text = latin1Of(event.item.key);
      const watchers = this.byKey.get(text);
      if (watchers !== undefined) {
        for (const each of watchers) this.offer(each, event, change.revision);
      }
      for (const each of this.byRange) {
        if (matches(each, text)) this.offer(each, event, change.revision);
      }
    }
    if (change.revision % watcherProgressRevisions === 0) this.sweep();
  }

  /** Tells every live watcher that waits for nothing how far everything is. */
  progress(): void {
    for (const each of this.all()) {
      if (each.isLive && !each.isBusy && each.pending.length === 0 && each.reported < this.source.revision) {
        this.hand(each, { revision: this.source.revision, events: [] });
      }
    }
  }

  /** The state is another one: everybody reads on from its change log. */
  reset(before: Revision): void {
    for (const each of this.all()) {
      if (each.isLive && each.from <= before) {
        each.isLive = false;
        each.seen = before;
      }
      if (each.from <= this.source.revision) {
        each.isLive = false;
        this.schedule(each);
      }
    }
  }

  endAll(code: EndCode): void {
    for (const each of this.all()) this.end(each, code);
  }

  get count(): number {
    return this.all().length;
  }

  private offer(each: Subscription, event: ChangeEvent, revision: Revision): void {
    if (!each.isLive || revision < each.from) return;
    const last = each.pending.at(-1);
    const isNewRevision = last === undefined || last.item.modRevision !== revision;
    if (isNewRevision && each.pending.length >= watcherEventsMax) {
      // What is pending is whole; from this revision on it is read again.
      each.isLive = false;
      each.seen = revision - 1;
      if (!each.isBusy) this.schedule(each);
      return;
    }
    each.pending.push(this.eventFor(each, event));
    if (!each.isBusy) this.schedule(each);
  }

  private eventFor({ withPrevious }: Subscription, event: ChangeEvent): WatchEvent {
    const previous = withPrevious ? (event.previous ?? this.source.previousOf(event)) : null;
    return { type: event.type, item: event.item, previous };
  }

  private schedule(subscription: Subscription): void {
    this.ready.add(subscription);
    if (this.isScheduled) return;
    this.isScheduled = true;
    this.defer(() => {
      this.isScheduled = false;
      const ready = [...this.ready];
      this.ready.clear();
      for (const each of ready) this.deliver(each);
    });
  }

  private deliver(each: Subscription): void {
    if (each.isOver || each.isBusy) return;
    if (each.pending.length > 0) {
      const events = each.pending;
      each.pending = [];
      this.hand(each, { revision: each.isLive ? this.source.revision : each.seen, events });
      return;
    }
    if (!each.isLive) this.catchUp(each);
  }

  private catchUp(each: Subscription): void {
    const { source } = this;
    if (each.seen < source.compactedRevision) {
      this.end(each, 'COMPACTED');
      return;
    }
    const changes = source.changesFrom(each.seen + 1, watcherSliceRevisions, limits.rangeBytesMax);
    const events: WatchEvent[] = [];
    for (const change of changes) {
      each.seen = change.revision;
      for (const event of change.events) {
        if (change.revision >= each.from && matches(each, latin1Of(event.item.key))) {
          events.push(this.eventFor(each, event));
        }
      }
    }
    each.isLive = changes.length === 0 || each.seen >= source.revision;
    const revision = each.isLive ? source.revision : each.seen;
    if (events.length > 0 || (each.isLive && each.reported < revision)) this.hand(each, { revision, events });
    else if (!each.isLive) this.schedule(each);
  }

  private hand(
    each: Subscription,
    batch: { readonly revision: Revision; readonly events: readonly WatchEvent[] },
  ): void {
    each.reported = batch.revision;
    each.handedAt = this.source.revision;
    const taken = each.watcher.onBatch(batch);
    if (taken !== undefined) {
      each.isBusy = true;
      taken.then(
        () => this.resume(each),
        // Whoever cannot take a batch is gone.
        () => this.remove(each),
      );
    } else if (!each.isLive) {
      this.schedule(each);
    }
  }

  private resume(each: Subscription): void {
    each.isBusy = false;
    if (!each.isOver && (each.pending.length > 0 || !each.isLive)) this.schedule(each);
  }

  /** From time to time: who takes too long is ended, who hears nothing is told the revision. */
  private sweep(): void {
    this.defer(() => {
      for (const each of this.all()) {
        if (each.isBusy && this.source.revision - each.handedAt > watcherLagMax) this.end(each, 'SLOW_WATCHER');
      }
      this.progress();
    });
  }

  private end(each: Subscription, code: EndCode): void {
    if (each.isOver) return;
    this.remove(each);
    each.watcher.onEnd({ code, compactedRevision: this.source.compactedRevision });
  }

  private remove(each: Subscription): void {
    each.isOver = true;
    each.pending = [];
    this.ready.delete(each);
    this.byRange.delete(each);
    const watchers = this.byKey.get(each.low);
    if (each.isOneKey && watchers?.delete(each) === true && watchers.size === 0) this.byKey.delete(each.low);
  }

  private ofKey(text: string): Set<Subscription> {
    let watchers = this.byKey.get(text);
    if (watchers === undefined) {
      watchers = new Set();
      this.byKey.set(text, watchers);
    }
    return watchers;
  }

  private all(): Subscription[] {
    return [...this.byRange, ...[...this.byKey.values()].flatMap((watchers) => [...watchers])];
  }
}

function checkRevision(revision: Revision): Refusal | null {
  if (Number.isSafeInteger(revision) && revision >= 0) return null;
  return refuse('INVALID_ARGUMENT', `A revision cannot be ${revision}`);
}

function matches({ low, high, isOneKey }: Subscription, text: string): boolean {
  return isOneKey ? text === low : text >= low && (high === null || text < high);
}

/** The item among the events of a change, for `WatchSource.previousOf`. */
export function itemOf(change: Change | null, key: Bytes): KeyValue | null {
  const text = latin1Of(key);
  const event = change?.events.find(({ type, item }) => type === 'set' && latin1Of(item.key) === text);
  return event?.item ?? null;
}
