/**
 * All sessions of one owner, and the columns with their positions in the message logs. Thread: the owner of the sessions.
 */
import { isMoved } from './moved-topic.ts';
import { SessionEntry, type SessionSubscription } from './session-entry.ts';

/** How a subscription counts: `beside` is one that a protocol stores with another one, and does not. */
export type SubscriptionClass = 'plain' | 'shared' | 'beside';

/** Of all sessions, connected or not. */
export interface SubscriptionCounts {
  readonly subscriptions: number;
  /** Those of them that are shared. */
  readonly shared: number;
  /** Sessions with at least one. */
  readonly subscribers: number;
}

export class SessionTable {
  readonly partitionCount: number;
  readonly #classOf: (subscription: SessionSubscription) => SubscriptionClass;
  readonly #counts = { subscriptions: 0, shared: 0, subscribers: 0 };
  readonly #byId = new Map<string, SessionEntry>();
  #rows: (SessionEntry | null)[] = [];
  readonly #free: number[] = [];
  /** For each message log: where each session goes on reading. Below it everything is settled, dropped, or in flight. */
  readonly #positions: Float64Array[];
  /** When something is to be done about a session without a client; infinite when nothing is. */
  #due = new Float64Array(16).fill(Number.POSITIVE_INFINITY);

  constructor(
    partitionCount: number,
    classOf: (subscription: SessionSubscription) => SubscriptionClass = () => 'plain',
  ) {
    this.partitionCount = partitionCount;
    this.#classOf = classOf;
    this.#positions = Array.from({ length: partitionCount }, () => new Float64Array(16));
  }

  get size(): number {
    return this.#byId.size;
  }

  get counts(): SubscriptionCounts {
    return this.#counts;
  }

  /** Rows, in use or not. */
  get rowCount(): number {
    return this.#rows.length;
  }

  get(id: string): SessionEntry | undefined {
    return this.#byId.get(id);
  }

  at(row: number): SessionEntry | null {
    return this.#rows[row] ?? null;
  }

  entries(): IterableIterator<SessionEntry> {
    return this.#byId.values();
  }

  add(id: string): SessionEntry {
    const row = this.#free.pop() ?? this.#rows.length;
    const entry = new SessionEntry(id, row);
    this.#rows[row] = entry;
    this.#byId.set(id, entry);
    for (let partition = 0; partition < this.partitionCount; partition += 1) {
      const column = this.#positions[partition];
      if (row >= column.length) {
        const larger = new Float64Array(2 * column.length);
        larger.set(column);
        this.#positions[partition] = larger;
      }
      this.#positions[partition][row] = 0;
    }
    if (row >= this.#due.length) {
      const larger = new Float64Array(2 * this.#due.length).fill(Number.POSITIVE_INFINITY);
      larger.set(this.#due);
      this.#due = larger;
    }
    return entry;
  }

  /** The only way to change what a session of the table is subscribed to: they are counted. */
  setSubscriptions(entry: SessionEntry, subscriptions: readonly SessionSubscription[]): void {
    if (!entry.isRemoved) {
      this.#count(entry.subscriptions, -1);
      this.#count(subscriptions, 1);
    }
    entry.subscriptions = subscriptions;
  }

  #count(subscriptions: readonly SessionSubscription[], by: 1 | -1): void {
    if (subscriptions.length === 0) return;
    const counts = this.#counts;
    counts.subscribers += by;
    for (const subscription of subscriptions) {
      // Not one that anybody asked for.
      if (isMoved(subscription.filter)) continue;
      const kind = this.#classOf(subscription);
      if (kind !== 'beside') counts.subscriptions += by;
      if (kind === 'shared') counts.shared += by;
    }
  }

  remove(entry: SessionEntry): void {
    if (!entry.isRemoved) this.#count(entry.subscriptions, -1);
    entry.isRemoved = true;
    this.#byId.delete(entry.id);
    this.#rows[entry.row] = null;
    this.#free.push(entry.row);
    this.#due[entry.row] = Number.POSITIVE_INFINITY;
  }

  /** Notes when the will or the end of a session is due. */
  setDue(entry: SessionEntry): void {
    this.#due[entry.row] = Math.min(entry.isWillUnderWay ? Number.POSITIVE_INFINITY : entry.willDueAt, entry.expiresAt);
  }

  /** Nothing is due about the session until `setDue`. */
  setNever(entry: SessionEntry): void {
    this.#due[entry.row] = Number.POSITIVE_INFINITY;
  }

  /** Sessions about which something is due, at most `countMax`. Looks at a number for each session, at nothing else. */
  dueAt(now: number, countMax: number): SessionEntry[] {
    const found: SessionEntry[] = [];
    const due = this.#due;
    for (let row = 0; row < this.#rows.length && found.length < countMax; row += 1) {
      const entry = due[row] <= now ? this.#rows[row] : null;
      if (entry !== null && entry !== undefined) found.push(entry);
    }
    return found;
  }

  position(entry: SessionEntry, partition: number): number {
    return this.#positions[partition][entry.row];
  }

  setPosition(entry: SessionEntry, partition: number, offset: number): void {
    this.#positions[partition][entry.row] = offset;
  }
}
