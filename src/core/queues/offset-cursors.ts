/**
 * Offset cursors: where each group goes on in each stream, for readers that keep a place instead of acknowledging messages. Thread: one
 * owner for all calls; made by the queue service.
 *
 *   - a commit is answered when it is as durable as a message, and read by others only then
 *   - the members of a group are fenced by its generation: what an older one commits is refused
 *   - commits of a turn are one batch; of a call all or none
 *   - a transaction stages cursors and sets them all at once when it commits
 */
import type { StreamPartition } from '../ports/stream-store.ts';
import {
  cursorRecord,
  decodeCursor,
  decodeCursorKey,
  decodeGroup,
  encodeCursor,
  encodeCursorKey,
  encodeGroup,
  type OffsetCursor,
} from './cursor-records.ts';
import { type GroupEvent, type GroupState, groupTransitions } from './group-state.ts';
import { LogRewriter } from './log-rewriter.ts';
import type { QueueContext } from './queue-context.ts';
import { QueueError } from './queue-error.ts';
import { corrupted, StateLog } from './state-log.ts';

/** Bytes of the metadata of a cursor, and of the name of a group. */
export const cursorMetadataBytesMax = 4096;
export const groupNameBytesMax = 1024;
/** Cursors of one call, and of all groups: about 200 bytes each. */
export const cursorsPerCallMax = 10_000;
export const cursorsMax = 2_000_000;
/** Bytes of one batch of commits, about. */
const batchBytesMax = 4 * 1024 * 1024;

export interface OffsetCommit {
  readonly stream: string;
  readonly offset: number;
  readonly leaderEpoch?: number;
  readonly metadata?: string;
}

export interface GroupDescription {
  readonly group: string;
  readonly state: GroupState;
  /** 0: it never had members. */
  readonly generation: number;
  readonly cursors: ReadonlyMap<string, OffsetCursor>;
}

export interface OffsetCursorsOptions {
  /** For this alone. */
  readonly stream: StreamPartition;
  /** Whether the storage compacts the stream; else it is kept short from here. */
  readonly isCompacted: boolean;
  readonly producerBase: number;
  readonly context: QueueContext;
}

interface Group {
  state: GroupState;
  generation: number;
  /** What is asked for, stored or not: decides what a deletion has to delete. */
  readonly latest: Map<string, OffsetCursor>;
  /** What is durable: what readers see. */
  readonly stored: Map<string, OffsetCursor>;
  /** By producer id, then by stream. */
  readonly staged: Map<number, Map<string, OffsetCursor>>;
}

interface Change {
  readonly key: Buffer;
  readonly value: Buffer | null;
  /** Makes it visible. */
  readonly apply: (() => void) | null;
}

export class OffsetCursors {
  readonly #context: QueueContext;
  readonly #groups = new Map<string, Group>();
  #log: StateLog | null = null;
  /** Calls that wait for a batch; the changes of one are never torn apart. */
  #waiting: (readonly Change[])[] = [];
  #sent: (readonly Change[])[] = [];
  /** Groups in which a producer may have staged something. */
  readonly #stagers = new Map<number, Set<string>>();
  readonly #rewriter: LogRewriter | null;
  #count = 0;

  private constructor(context: QueueContext, isCompacted: boolean) {
    this.#context = context;
    const source = { keys: () => this.#keys(), valueOf: (key: Buffer) => this.#valueOf(key) };
    this.#rewriter = isCompacted ? null : new LogRewriter(source);
  }

  /** @throws StorageError, QueueError QUEUE_STATE_CORRUPTED */
  static async open({ stream, isCompacted, producerBase, context }: OffsetCursorsOptions): Promise<OffsetCursors> {
    const cursors = new OffsetCursors(context, isCompacted);
    cursors.#log = await StateLog.open({
      partition: stream,
      producerBase,
      context,
      user: {
        replay: ({ key, value, offset }) => {
          if (key === null || !cursors.#replay(key, value)) throw corrupted(stream.name, offset);
        },
        collect: (add, ticket) => cursors.#collect(add, ticket),
        stored: (ticket, offset) => cursors.#onStored(ticket, offset),
        failed: () => {
          cursors.#waiting = [];
          cursors.#sent = [];
        },
      },
    });
    return cursors;
  }

  /**
   * A generation of members begins; commits of all others are refused from now on. Answered when that survives a crash.
   *
   * @throws QueueError QUEUE_GENERATION_STALE
   */
  claim(group: string, generation: number): Promise<void> {
    return this.#changeGroup(group, (known) => (generation > known.generation ? 'claim' : 'claimOld'), generation);
  }

  /**
   * The generation has no members any more: the group can be committed to without one, and be deleted.
   *
   * @throws QueueError QUEUE_GENERATION_STALE
   */
  release(group: string, generation: number): Promise<void> {
    return this.#changeGroup(
      group,
      (known) => (generation === known.generation ? 'release' : 'releaseOld'),
      generation,
    );
  }

  /**
   * Moves cursors, forwards or backwards. `generation` null: by somebody who is no member, which a claimed group refuses.
   *
   * @throws QueueError QUEUE_GENERATION_STALE, QUEUE_LIMIT
   */
  async commit(group: string, generation: number | null, commits: readonly OffsetCommit[]): Promise<void> {
    const known = this.#checkCommit(group, generation, commits);
    if (commits.length === 0) return;
    const changes = commits.map((commit) => this.#set(group, known, commit.stream, this.#cursorOf(commit)));
    await this.#submit(changes);
  }

  /**
   * Keeps cursors that the transaction of the producer sets when it commits. Staged again they are replaced.
   *
   * @throws QueueError QUEUE_GENERATION_STALE, QUEUE_LIMIT
   */
  async stage(
    producerId: number,
    group: string,
    generation: number | null,
    commits: readonly OffsetCommit[],
  ): Promise<void> {
    const known = this.#checkCommit(group, generation, commits);
    if (commits.length === 0) return;
    const staged = known.staged.get(producerId) ?? new Map<string, OffsetCursor>();
    known.staged.set(producerId, staged);
    this.#remember(producerId, group);
    await this.#submit(
      commits.map((commit) => {
        const cursor = this.#cursorOf(commit);
        staged.set(commit.stream, cursor);
        const key = encodeCursorKey(cursorRecord.staged, group, commit.stream, producerId);
        return { key, value: encodeCursor(cursor), apply: null };
      }),
    );
  }

  /** The transaction of the producer has ended: what it staged in all groups is set, or forgotten. Harmless when repeated. */
  async finish(producerId: number, outcome: 'commit' | 'abort'): Promise<void> {
    const changes: Change[] = [];
    const groups = this.#stagers.get(producerId) ?? [];
    this.#stagers.delete(producerId);
    for (const group of groups) {
      const known = this.#groups.get(group);
      const staged = known?.staged.get(producerId);
      if (known === undefined || staged === undefined) continue;
      known.staged.delete(producerId);
      for (const [stream, cursor] of staged) {
        if (outcome === 'commit') changes.push(this.#set(group, known, stream, cursor));
        const key = encodeCursorKey(cursorRecord.staged, group, stream, producerId);
        changes.push({ key, value: null, apply: null });
      }
    }
    await this.#submit(changes);
  }

  /** Null when there is none. */
  fetch(group: string, stream: string): OffsetCursor | null {
    return this.#groups.get(group)?.stored.get(stream) ?? null;
  }

  /** Whether a transaction that is under way has staged a cursor: a reader of stable offsets asks again later. */
  isStaged(group: string, stream: string): boolean {
    for (const staged of this.#groups.get(group)?.staged.values() ?? []) if (staged.has(stream)) return true;
    return false;
  }

  /** About how many groups there are. */
  get groupCount(): number {
    return this.#groups.size;
  }

  /** Sorted. */
  groups(): string[] {
    return [...this.#groups].flatMap(([name, { state }]) => (state === 'unknown' ? [] : [name])).sort();
  }

  /** @throws QueueError QUEUE_GROUP_UNKNOWN */
  describe(group: string): GroupDescription {
    const { state, generation, stored } = this.#known(group);
    return { group, state, generation, cursors: new Map(stored) };
  }

  /**
   * Deletes cursors of a group; answers which were there.
   *
   * @throws QueueError QUEUE_GROUP_UNKNOWN
   */
  async deleteCursors(group: string, streams: readonly string[]): Promise<string[]> {
    const known = this.#known(group);
    const present = streams.filter((stream) => known.latest.has(stream));
    await this.#submit(this.#remove(group, known, present));
    return present;
  }

  /** @throws QueueError QUEUE_GROUP_UNKNOWN, QUEUE_GROUP_IN_USE */
  async deleteGroup(group: string): Promise<void> {
    const known = this.#known(group);
    this.#move(group, known, 'deleteGroup');
    const changes = [...known.latest.keys()].map((stream) => this.#unset(group, known, stream));
    for (const [producerId, staged] of known.staged) {
      for (const stream of staged.keys()) {
        changes.push({
          key: encodeCursorKey(cursorRecord.staged, group, stream, producerId),
          value: null,
          apply: null,
        });
      }
    }
    known.staged.clear();
    changes.push(this.#forget(group));
    await this.#submit(changes);
  }

  /** Deletes the cursors of a stream that was removed, in all groups. */
  async deleteStream(stream: string): Promise<void> {
    const changes = [...this.#groups].flatMap(([group, known]) =>
      known.latest.has(stream) ? this.#remove(group, known, [stream]) : [],
    );
    await this.#submit(changes);
  }

  /**
   * Deletes cursors of free groups that were committed before `time` (milliseconds since 1970), except of those that are kept; answers
   * how many.
   */
  async expire(time: number, isKept: (group: string) => boolean = () => false): Promise<number> {
    let count = 0;
    const changes: Change[] = [];
    for (const [group, known] of this.#groups) {
      if (known.state !== 'free' || known.staged.size > 0 || isKept(group)) continue;
      const old = [...known.latest].filter(([, cursor]) => cursor.time < time).map(([stream]) => stream);
      count += old.length;
      if (old.length > 0 || known.latest.size === 0) changes.push(...this.#remove(group, known, old));
    }
    await this.#submit(changes);
    return count;
  }

  async close(): Promise<void> {
    await this.#logOf().close();
  }

  // ---- changes

  async #changeGroup(group: string, eventOf: (known: Group) => GroupEvent, generation: number): Promise<void> {
    checkName(group);
    const known = this.#groups.get(group) ?? newGroup();
    this.#move(group, known, eventOf(known));
    known.generation = generation;
    this.#groups.set(group, known);
    await this.#submit([this.#groupChange(group, known)]);
  }

  #checkCommit(group: string, generation: number | null, commits: readonly OffsetCommit[]): Group {
    checkName(group);
    if (commits.length > cursorsPerCallMax || this.#count + commits.length > cursorsMax) {
      throw new QueueError('QUEUE_LIMIT', `Cannot commit ${commits.length} cursors of "${group}": there are too many`);
    }
    for (const { stream, offset, metadata = '' } of commits) {
      if (Buffer.byteLength(metadata) > cursorMetadataBytesMax || stream.length > 249 || stream.includes('\0')) {
        throw new QueueError(
          'QUEUE_LIMIT',
          `Cannot commit a cursor of "${group}": its metadata or the name of its stream is too long`,
        );
      }
      if (!Number.isSafeInteger(offset) || offset < 0) {
        throw new QueueError('QUEUE_SETTING_INVALID', `Cannot commit offset ${offset} of "${group}": it is none`);
      }
    }
    const known = this.#groups.get(group) ?? newGroup();
    const isMember = generation !== null && generation === known.generation;
    this.#move(group, known, generation === null ? 'commitFree' : isMember ? 'commit' : 'commitOld');
    this.#groups.set(group, known);
    return known;
  }

  /** @throws QueueError when the table refuses the event */
  #move(group: string, known: Group, event: GroupEvent): void {
    const outcome = groupTransitions[known.state][event];
    if (typeof outcome !== 'string') {
      throw new QueueError(outcome.refused, `Cannot ${event} group "${group}": it is ${known.state}`);
    }
    known.state = outcome;
  }

  #remember(producerId: number, group: string): void {
    const groups = this.#stagers.get(producerId);
    if (groups === undefined) this.#stagers.set(producerId, new Set([group]));
    else groups.add(group);
  }

  #groupChange(group: string, { generation, state }: Group): Change {
    const value = encodeGroup(generation, state === 'claimed');
    return { key: encodeCursorKey(cursorRecord.group, group), value, apply: null };
  }

  #cursorOf({ offset, leaderEpoch = -1, metadata = '' }: OffsetCommit): OffsetCursor {
    return { offset, leaderEpoch, metadata, time: this.#context.clock.now() };
  }

  #set(group: string, known: Group, stream: string, cursor: OffsetCursor): Change {
    if (!known.latest.has(stream)) this.#count += 1;
    known.latest.set(stream, cursor);
    const apply = (): void => {
      known.stored.set(stream, cursor);
    };
    return { key: encodeCursorKey(cursorRecord.cursor, group, stream), value: encodeCursor(cursor), apply };
  }

  #unset(group: string, known: Group, stream: string): Change {
    if (known.latest.delete(stream)) this.#count -= 1;
    const apply = (): void => {
      known.stored.delete(stream);
    };
    return { key: encodeCursorKey(cursorRecord.cursor, group, stream), value: null, apply };
  }

  /** Without cursors a free group is nothing. */
  #remove(group: string, known: Group, streams: readonly string[]): Change[] {
    const changes = streams.map((stream) => this.#unset(group, known, stream));
    this.#move(group, known, known.latest.size === 0 && known.staged.size === 0 ? 'deleteLast' : 'deleteCursors');
    if (known.state === 'unknown') changes.push(this.#forget(group));
    return changes;
  }

  #forget(group: string): Change {
    const known = this.#groups.get(group);
    const apply = (): void => {
      // It may have come back while this was on its way.
      if (known !== undefined && known.state === 'unknown' && this.#groups.get(group) === known) {
        this.#groups.delete(group);
      }
    };
    return { key: encodeCursorKey(cursorRecord.group, group), value: null, apply };
  }

  #known(group: string): Group {
    const known = this.#groups.get(group);
    if (known === undefined || known.state === 'unknown') {
      throw new QueueError('QUEUE_GROUP_UNKNOWN', `Cannot find group "${group}": there is none`);
    }
    return known;
  }

  // ---- records

  #logOf(): StateLog {
    if (this.#log === null) throw new QueueError('QUEUE_CLOSED', 'Cannot use the cursors: they are not open');
    return this.#log;
  }

  #submit(changes: readonly Change[]): Promise<void> {
    const log = this.#logOf();
    if (log.error !== null) return Promise.reject(log.error);
    // Nothing to change means that somebody else has asked for it before, and that may still be on its way.
    if (changes.length === 0) return log.whenStored();
    this.#waiting.push(changes);
    // What does not fit into the next batch comes in one after it.
    const last = log.touch() + this.#batchesBefore();
    return log.whenStored(last);
  }

  #batchesBefore(): number {
    let batches = 0;
    let bytes = 0;
    for (const changes of this.#waiting) {
      const size = sizeOf(changes);
      if (bytes > 0 && bytes + size > batchBytesMax) {
        batches += 1;
        bytes = 0;
      }
      bytes += size;
    }
    return batches;
  }

  #collect(add: (key: Uint8Array | null, value: Uint8Array | null) => void, ticket: number): boolean {
    let bytes = 0;
    while (this.#waiting.length > 0) {
      const size = sizeOf(this.#waiting[0]);
      if (bytes > 0 && bytes + size > batchBytesMax) break;
      bytes += size;
      const changes = this.#waiting.shift();
      if (changes === undefined) break;
      for (const { key, value } of changes) add(key, value);
      this.#sent.push(changes);
    }
    const hasMore = this.#rewriter?.collect(add, bytes, ticket) ?? false;
    return hasMore || this.#waiting.length > 0;
  }

  #onStored(ticket: number, offset: number): void {
    const sent = this.#sent;
    this.#sent = [];
    for (const changes of sent) for (const { apply } of changes) apply?.();
    // A trim that fails is tried again after the next rewrite.
    this.#rewriter?.stored(ticket, offset, this.#logOf()).catch(rethrow);
  }

  *#keys(): Generator<Buffer> {
    for (const [group, { state, latest, staged }] of this.#groups) {
      if (state !== 'unknown') yield encodeCursorKey(cursorRecord.group, group);
      for (const stream of latest.keys()) yield encodeCursorKey(cursorRecord.cursor, group, stream);
      for (const [producerId, cursors] of staged) {
        for (const stream of cursors.keys()) yield encodeCursorKey(cursorRecord.staged, group, stream, producerId);
      }
    }
  }

  #valueOf(key: Buffer): Buffer | null {
    const place = decodeCursorKey(key);
    const known = place === null ? undefined : this.#groups.get(place.group);
    if (place === null || known === undefined) return null;
    if (place.kind === cursorRecord.group) {
      return known.state === 'unknown' ? null : encodeGroup(known.generation, known.state === 'claimed');
    }
    const cursors = place.kind === cursorRecord.cursor ? known.latest : known.staged.get(place.producerId);
    const cursor = cursors?.get(place.stream);
    return cursor === undefined ? null : encodeCursor(cursor);
  }

  /** False when the record is not one. */
  #replay(key: Buffer, value: Buffer | null): boolean {
    const place = decodeCursorKey(key);
    if (place === null) return false;
    const { kind, group, stream, producerId } = place;
    const known = this.#groups.get(group) ?? newGroup();
    this.#groups.set(group, known);
    if (kind === cursorRecord.group) {
      const read = value === null ? { generation: 0, isClaimed: false } : decodeGroup(value);
      if (read === null) return false;
      known.generation = read.generation;
      // Its members are there or not; who was one before a restart is one after it.
      known.state = read.isClaimed ? 'claimed' : stateWithout(known, value !== null);
      return true;
    }
    const cursor = value === null ? null : decodeCursor(value);
    if (value !== null && cursor === null) return false;
    if (kind === cursorRecord.staged) {
      replayStaged(known, producerId, stream, cursor);
      if (cursor !== null) this.#remember(producerId, group);
    } else if (cursor === null) {
      if (known.latest.delete(stream)) this.#count -= 1;
      known.stored.delete(stream);
    } else {
      if (!known.latest.has(stream)) this.#count += 1;
      known.latest.set(stream, cursor);
      known.stored.set(stream, cursor);
    }
    if (known.state !== 'claimed') known.state = stateWithout(known, known.generation > 0);
    return true;
  }
}

function rethrow(error: unknown): never {
  throw error;
}

function stateWithout(known: Group, hasRecord: boolean): GroupState {
  return hasRecord || known.latest.size > 0 || known.staged.size > 0 ? 'free' : 'unknown';
}

function replayStaged(known: Group, producerId: number, stream: string, cursor: OffsetCursor | null): void {
  const staged = known.staged.get(producerId) ?? new Map<string, OffsetCursor>();
  if (cursor === null) staged.delete(stream);
  else staged.set(stream, cursor);
  if (staged.size === 0) known.staged.delete(producerId);
  else known.staged.set(producerId, staged);
}

function newGroup(): Group {
  return { state: 'unknown', generation: 0, latest: new Map(), stored: new Map(), staged: new Map() };
}

function sizeOf(changes: readonly Change[]): number {
  return changes.reduce((size, { key, value }) => size + key.length + (value?.length ?? 0) + 16, 0);
}

function checkName(group: string): void {
  if (Buffer.byteLength(group) > groupNameBytesMax) {
    throw new QueueError('QUEUE_LIMIT', `Cannot use the name of a group: it has more than ${groupNameBytesMax} bytes`);
  }
}
