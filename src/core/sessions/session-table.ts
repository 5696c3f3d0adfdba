/**
 * All sessions of one owner, and the columns with their positions in the message logs. Thread: the owner of the sessions.
 */
import { SessionEntry } from './session-entry.ts';

export class SessionTable {
  readonly partitionCount: number;
  readonly #byId = new Map<string, SessionEntry>();
  #rows: (SessionEntry | null)[] = [];
  readonly #free: number[] = [];
  /** For each message log: where each session goes on reading. Below it everything is settled, dropped, or in flight. */
  readonly #positions: Float64Array[];
  /** When something is to be done about a session without a client; infinite when nothing is. */
  #due = new Float64Array(16).fill(Number.POSITIVE_INFINITY);

  constructor(partitionCount: number) {
    this.partitionCount = partitionCount;
    this.#positions = Array.from({ length: partitionCount }, () => new Float64Array(16));
  }

  get size(): number {
    return this.#byId.size;
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

  remove(entry: SessionEntry): void {
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
