/**
 * Subscriptions of a kept session as they are stored, and the order in which they are: what one packet, or one change of rules, has
 * changed is stored together, one change after the other. On the session's worker.
 *
 * A plain subscription is stored under its filter. A shared one is stored under its whole path with grade 0, since it is the group that
 * delivers it: beside that the session is a member of the group (`kept-groups.ts`). An exclusive one is stored twice: under its path, to be known again, and under its filter, for which the logs deliver.
 *
 *   detail   bits 0-1 QoS, 2 Retain As Published, 3-4 Retain Handling, 5 not a subscription of its own
 */
import type { DurableSessions, NewSubscription } from '../../../core/sessions/durable-sessions.ts';
import type { SessionSubscription } from '../../../core/sessions/session-entry.ts';
import type { SubscriptionClass } from '../../../core/sessions/session-table.ts';
import type { Session } from '../state/session.ts';
import type { SubscriptionOptions } from '../state/subscription.ts';
import { knownPath, parsePath } from '../state/subscription-path.ts';

const asPublishedBit = 4;
const derivedBit = 32;

export function returnsRetained(detail: number): boolean {
  return (detail & asPublishedBit) !== 0;
}

/** What the client asked for; null when it did not ask for this one by itself. */
export function optionsOf({ detail, noLocal, identifier }: SessionSubscription): SubscriptionOptions | null {
  if ((detail & derivedBit) !== 0) return null;
  const qos = Math.min(2, detail & 3) as 0 | 1 | 2;
  const retainHandling = Math.min(2, (detail >> 3) & 3) as 0 | 1 | 2;
  return { qos, noLocal, identifier, retainHandling, retainAsPublished: returnsRetained(detail) };
}

/** How it counts: an exclusive one is stored twice. */
export function classOf({ filter, detail }: SessionSubscription): SubscriptionClass {
  if ((detail & derivedBit) !== 0) return 'beside';
  return filter.charCodeAt(0) === 0x24 && parsePath(filter)?.kind === 'shared' ? 'shared' : 'plain';
}

/** See above. */
export function detailOf({ qos, retainAsPublished, retainHandling }: SubscriptionOptions): number {
  return qos | (retainAsPublished ? asPublishedBit : 0) | (retainHandling << 3);
}

/** Names under which a path is stored. */
function keysOf(path: string): readonly string[] {
  const { kind, filter } = knownPath(path);
  return kind === 'exclusive' ? [path, filter] : [path];
}

/** What is to be stored under `key` now; null: nothing. */
function storedUnder(session: Session, key: string): NewSubscription | null {
  const own = session.subscriptions.get(key)?.options;
  if (knownPath(key).kind !== 'plain') {
    if (own === undefined) return null;
    return { filter: key, grade: 0, noLocal: own.noLocal, detail: detailOf(own), identifier: own.identifier };
  }
  const exclusive = session.subscriptions.get(`$exclusive/${key}`)?.options;
  const first = own ?? exclusive;
  if (first === undefined) return null;
  const second = exclusive ?? first;
  return {
    filter: key,
    grade: Math.max(first.qos, second.qos) as 0 | 1 | 2,
    noLocal: first.noLocal && second.noLocal,
    detail: detailOf(first) | (own === undefined ? derivedBit : 0),
    identifier: first.identifier === 0 ? second.identifier : first.identifier,
  };
}

/** Shared subscriptions of stored sessions, see `kept-groups.ts`. */
export interface MembershipStore {
  /** Stores that a session is a member, or is none any more (`options` null). Rejects with SessionError. */
  store(session: Session, path: string, options: SubscriptionOptions | null): Promise<void>;
}

function optionsIn(session: Session, path: string): SubscriptionOptions | null {
  return session.subscriptions.get(path)?.options ?? null;
}

export class SubscriptionKeeper {
  readonly #session: Session;
  readonly #service: DurableSessions;
  readonly #groups: MembershipStore;
  #changed = new Set<string>();
  /** The storing of all changes up to now. */
  #stored: Promise<void> | null = null;

  constructor(session: Session, service: DurableSessions, groups: MembershipStore) {
    this.#session = session;
    this.#groups = groups;
    this.#service = service;
  }

  /** The session has, or has not any more, a subscription of this path. */
  changed(path: string): void {
    for (const key of keysOf(path)) this.#changed.add(key);
    if (this.#stored === null) this.#begin(Promise.resolve());
  }

  /** Resolves when everything that was changed before is stored. */
  async stored(): Promise<void> {
    while (this.#stored !== null) await this.#stored;
  }

  #begin(after: Promise<void>): void {
    const mine = after.then(() => this.#store());
    this.#stored = mine;
    const ended = (): void => {
      if (this.#changed.size > 0) this.#begin(Promise.resolve());
      else this.#stored = null;
    };
    mine.then(ended, ended);
  }

  async #store(): Promise<void> {
    const session = this.#session;
    const { online } = session;
    const keys = [...this.#changed];
    this.#changed.clear();
    if (online === null || online.isClosed) return;
    const added: NewSubscription[] = [];
    const removed: string[] = [];
    for (const key of keys) {
      const subscription = storedUnder(this.#session, key);
      if (subscription === null) removed.push(key);
      else added.push(subscription);
    }
    if (removed.length > 0) await this.#service.unsubscribe(online, removed);
    if (added.length > 0) await this.#service.subscribe(online, added);
    for (const key of keys)
      if (knownPath(key).kind === 'shared') await this.#groups.store(session, key, optionsIn(session, key));
  }
}
