/**
 * The groups that this slot owns: opens their shards, hears of members on all slots, and gives them messages. Thread: the slot's.
 *
 * After an opening nothing is given before every slot has said what its members hold, so that a message of grade 2 that is on its way to
 * one member is never given to another.
 */
import { hashBytes } from '../../../std/hash.ts';
import type { WheelTimer } from '../../../std/timing-wheel.ts';
import type { GroupStrategy } from '../../broker/group-strategies.ts';
import { timerOf } from '../../queues/queue-context.ts';
import type { SubscriptionIndex } from '../../routing/subscription-index.ts';
import { StorageError } from '../../streams/storage-error.ts';
import { openInternalStream } from '../../transactions/internal-stream.ts';
import type { SessionInterest } from '../interest.ts';
import type { LiveSubscription, LogFeed } from '../log-feed.ts';
import type { MessageView } from '../message-record.ts';
import type { DropCounts } from '../online-session.ts';
import { SessionError } from '../session-error.ts';
import type { SessionLimits } from '../session-limits.ts';
import { type DurableSessionsOptions, defaultLimits, sessionDefaults, sessionLogPrefix } from '../session-options.ts';
import { SessionTable } from '../session-table.ts';
import { type GroupFigures, type GroupTotals, noCounts } from './group-figures.ts';
import { filterOfGroup, groupLogPrefix, groupShards, shardOfGroup } from './group-key.ts';
import type { GroupFailure, GroupMessage, ResidentCount } from './group-messages.ts';
import { type DurableGroupsOptions, groupDefaults } from './group-options.ts';
import type { GroupPost } from './group-post.ts';
import { GroupShard } from './group-shard.ts';
import { type GroupHost, SharedGroup } from './shared-group.ts';

/** What of the sessions of the slot the groups share. */
export interface OwnerParts {
  readonly feeds: readonly LogFeed[];
  readonly live: SubscriptionIndex<LiveSubscription>;
  readonly drops: DropCounts;
  readonly interest: SessionInterest;
}

type Sync = Extract<GroupMessage, { readonly kind: 'sync' }>;

const laterMs = 100;
/** How long one pass of measuring may hold the thread. */
const measureMsMax = 20;
/** The same when an administrator asks. */
const figuresMsMax = 50;

export class GroupOwner implements GroupHost {
  readonly slot: number;
  readonly openMax: number;
  readonly waitingMax: number;
  readonly limits: SessionLimits;
  readonly keepsEmpty: boolean;
  readonly counts = noCounts();
  readonly #sessions: DurableSessionsOptions;
  readonly #options: DurableGroupsOptions;
  readonly #post: GroupPost;
  readonly #shards = new Map<number, GroupShard>();
  readonly #opening = new Map<number, Promise<void>>();
  /** Shards that are tried again. */
  readonly #unopened = new Set<number>();
  #parts: OwnerParts | null = null;
  #table: SessionTable | null = null;
  #onFailed: (error: SessionError) => void = () => undefined;
  #ready: SharedGroup[] = [];
  readonly #later: SharedGroup[] = [];
  #isScheduled = false;
  readonly #laterTimer: WheelTimer;
  readonly #syncTimer: WheelTimer;
  #isClosed = false;
  #measuredRow = 0;

  constructor(sessions: DurableSessionsOptions, options: DurableGroupsOptions, post: GroupPost) {
    this.#sessions = sessions;
    this.#options = options;
    this.#post = post;
    this.slot = sessions.slot;
    this.openMax = options.openMax ?? groupDefaults.openMax;
    this.waitingMax = options.waitingMax ?? groupDefaults.waitingMax;
    this.limits = { ...defaultLimits, ...sessions.limits, ...options.limits };
    this.keepsEmpty = (options.emptyMs ?? groupDefaults.emptyMs) > 0;
    this.#laterTimer = timerOf(() => this.#retry());
    this.#syncTimer = timerOf(() => this.#stopWaiting());
  }

  /** Reads the shards that there are, before the sessions open: their places count for what is indexed. */
  async load(): Promise<void> {
    const names = await this.#sessions.store.names();
    for (let shard = 0; shard < groupShards; shard += 1) {
      if (this.#post.ownerOf(shard) !== this.slot || !names.includes(`${groupLogPrefix}${shard}`)) continue;
      this.#shards.set(shard, await this.#read(shard));
    }
  }

  /** The sessions are open: groups go on in their logs. From the return on publishers are told of their filters. */
  start(parts: OwnerParts, onFailed: (error: SessionError) => void): void {
    this.#parts = parts;
    this.#table = new SessionTable(parts.feeds.length);
    this.#onFailed = onFailed;
    for (const shard of this.#shards.values()) this.#restore(shard);
  }

  /** Slots are told that they are to say what they know. */
  async greetAll(): Promise<void> {
    for (const shard of this.#shards.values()) await this.#awaitSlots(shard);
  }

  // ---- for the sessions of the slot

  get ageMsMax(): number {
    return this.hasGroups ? this.limits.ageMsMax : 0;
  }

  get hasGroups(): boolean {
    for (const { groups, found } of this.#shards.values()) if (groups.size > 0 || found.size > 0) return true;
    return false;
  }

  /** Below it no group needs the log; infinite when there are none. */
  floor(partition: number): number {
    let floor = Number.POSITIVE_INFINITY;
    for (const shard of this.#shards.values()) {
      for (const group of shard.groups.values()) floor = Math.min(floor, group.floor(partition));
      for (const { positions, open } of shard.found.values()) {
        floor = Math.min(floor, positions[partition] ?? 0, open[partition]?.[0] ?? Number.POSITIVE_INFINITY);
      }
    }
    return floor;
  }

  // ---- what slots say

  handle(from: number, message: GroupMessage): void {
    if (message.kind === 'ready') {
      for (const shard of this.#shards.values()) this.#greet(shard, from);
      return;
    }
    if (message.kind === 'sync') {
      this.#sync(from, message);
      return;
    }
    const key = groupOf(message);
    if (key === null) return;
    const number = shardOfGroup(key);
    const shard = this.#shards.get(number);
    if (shard === undefined || this.#parts === null) {
      // Whoever asks says it again when the shard is there.
      if (message.kind === 'join' && this.#post.ownerOf(number) === this.slot) this.#openShard(number);
      return;
    }
    if (!shard.synced.has(from)) return;
    if (message.kind === 'join') this.#join(shard, from, message.request, message.resident);
    else if (message.kind === 'residents') this.#residents(shard, from, message.resident);
    else if (message.kind === 'settle') this.#settle(shard, from, message);
    else if (message.kind === 'member') shard.groups.get(key)?.member(from, message.state);
    else if (message.kind === 'return') {
      const { id, refs } = message;
      for (let at = 0; at + 1 < refs.length; at += 2) shard.groups.get(key)?.returned(id, refs[at], refs[at + 1]);
    }
  }

  slotGone(slot: number): void {
    for (const shard of this.#shards.values()) {
      if (shard.synced.delete(slot)) shard.awaited.add(slot);
      for (const group of shard.groups.values()) group.slotGone(slot);
    }
  }

  /** Called every second: groups that nobody subscribes to any more end. */
  tick(): void {
    const { graceMs = groupDefaults.graceMs, emptyMs = groupDefaults.emptyMs } = this.#options;
    const end = this.now() - Math.max(graceMs, emptyMs);
    for (const shard of this.#shards.values()) {
      if (!shard.isStarted || shard.awaited.size > 0) continue;
      for (const group of shard.groups.values()) {
        if (!group.isPlaced) this.#place(shard, group).catch(ignoreFailure);
        if (group.abandonedSince <= end && !group.isInUse) this.#end(shard, group);
      }
    }
  }

  /** Limits of what waits; called every few seconds. */
  upkeep(): void {
    for (const { groups } of this.#shards.values()) {
      for (const group of groups.values()) if (group.isPlaced && group.reader.applyLimits()) group.wake();
    }
  }

  /** Measures groups in turn; those that it does not come to in the time count as they were measured last. */
  measure(): void {
    const all = [...this.groups()];
    const { clock } = this.#sessions.context;
    const begin = clock.monotonic();
    for (let count = all.length; count > 0 && clock.monotonic() - begin <= measureMsMax; count -= 1) {
      this.#measuredRow = this.#measuredRow + 1 >= all.length ? 0 : this.#measuredRow + 1;
      const group = all[this.#measuredRow];
      group.measured = group.figures;
    }
  }

  /** Measured now, as many as the time allows; the others as they were measured last, and those that never were are left out. */
  figures(): GroupFigures[] {
    const { clock } = this.#sessions.context;
    const end = clock.monotonic() + figuresMsMax;
    const found: GroupFigures[] = [];
    for (const group of this.groups()) {
      if (clock.monotonic() < end) group.measured = group.figures;
      if (group.measured !== null) found.push(group.measured);
    }
    return found;
  }

  /** As they were measured last. */
  get totals(): GroupTotals {
    const totals = { groups: 0, members: 0, waiting: 0, inFlight: 0 };
    let oldestAtMs: number | null = null;
    for (const { measured } of this.groups()) {
      totals.groups += 1;
      if (measured === null) continue;
      totals.members += measured.members;
      totals.waiting += measured.waiting;
      totals.inFlight += measured.inFlight;
      if (measured.oldestAtMs !== null) oldestAtMs = Math.min(oldestAtMs ?? measured.oldestAtMs, measured.oldestAtMs);
    }
    return { ...totals, oldestAtMs, ...this.counts };
  }

  /** For metrics and tests. */
  *groups(): Iterable<SharedGroup> {
    for (const { groups } of this.#shards.values()) yield* groups.values();
  }

  async close(): Promise<void> {
    this.stop();
    await Promise.all([...this.#opening.values()]);
    for (const shard of this.#shards.values()) await shard.close();
  }

  /** Gives nothing any more. */
  stop(): void {
    this.#isClosed = true;
    const { timers } = this.#sessions.context;
    timers.cancel(this.#laterTimer);
    timers.cancel(this.#syncTimer);
    for (const group of this.groups()) group.reader.close();
  }

  /** The groups are another owner's now, which has made their filters known again. */
  releaseInterest(): void {
    for (const group of this.groups()) this.#parts?.interest.remove(filterOfGroup(group.key));
  }

  // ---- shards

  #openShard(number: number): void {
    if (this.#opening.has(number) || this.#isClosed) return;
    const opening = this.#openNow(number).finally(() => this.#opening.delete(number));
    this.#opening.set(number, opening);
  }

  async #openNow(number: number): Promise<void> {
    try {
      let shard = this.#shards.get(number);
      if (shard === undefined) {
        shard = await this.#read(number);
        if (this.#isClosed) return;
        this.#shards.set(number, shard);
        this.#restore(shard);
      }
      await this.#awaitSlots(shard);
    } catch (error) {
      if (this.#isClosed) return;
      if (error instanceof StorageError && error.canRetry) {
        this.#unopened.add(number);
        this.#retryLater();
        return;
      }
      const text = `Cannot open the groups of shard ${number}: ${String(error)}`;
      const isOwn = error instanceof SessionError;
      this.#onFailed(isOwn ? error : new SessionError('SESSION_STORAGE_FAILED', text, { cause: error }));
    }
  }

  async #read(number: number): Promise<GroupShard> {
    const { store, context, progressMs = sessionDefaults.progressMs } = this.#sessions;
    return GroupShard.open({
      number,
      partition: await openInternalStream(store, `${groupLogPrefix}${number}`, { isCompacted: true }),
      context,
      progressMs,
      rewriteBytesMin: this.#options.rewriteBytesMin ?? groupDefaults.rewriteBytesMin,
      onFailed: (error) => this.#onFailed(error),
    });
  }

  #restore(shard: GroupShard): void {
    const tails = this.feeds.map(({ tail }) => tail);
    for (const stored of shard.found.values()) {
      const group = this.#make(shard, stored.key, stored.strategy);
      group.restore(stored, tails, tails);
    }
    shard.found.clear();
  }

  #make(shard: GroupShard, key: string, strategy: GroupStrategy): SharedGroup {
    const group = new SharedGroup(this, this.table.add(key), key, strategy);
    shard.groups.set(key, group);
    this.#parts?.interest.add(filterOfGroup(key));
    if (shard.isStarted) group.start();
    return group;
  }

  /** All slots that may have members, those with stored sessions too that are not there yet. */
  async #awaitSlots(shard: GroupShard): Promise<void> {
    for (const name of await this.#sessions.store.names()) {
      const slot = name.startsWith(sessionLogPrefix) ? Number(name.slice(sessionLogPrefix.length)) : Number.NaN;
      if (Number.isSafeInteger(slot) && !shard.synced.has(slot)) shard.awaited.add(slot);
    }
    const { timers } = this.#sessions.context;
    if (this.#syncTimer.dueTick === -1) timers.start(this.#syncTimer, this.#options.syncMs ?? groupDefaults.syncMs);
    this.#greet(shard, this.slot);
    for (const slot of this.#post.others) if (slot !== this.slot) this.#greet(shard, slot);
  }

  #greet(shard: GroupShard, slot: number): void {
    shard.synced.delete(slot);
    shard.awaited.add(slot);
    const { number, generation, groups } = shard;
    this.#post.post(slot, { kind: 'hello', shard: number, generation, groups: [...groups.keys()] });
  }

  /** Slots that do not answer are not waited for any longer: what their members hold may be given to others. */
  #stopWaiting(): void {
    for (const shard of this.#shards.values()) this.#startShard(shard);
  }

  #startShard(shard: GroupShard): void {
    if (shard.isStarted) return;
    shard.isStarted = true;
    for (const group of shard.groups.values()) {
      this.#countResidents(group);
      group.start();
    }
  }

  #sync(from: number, { shard: number, generation, residents, members }: Sync): void {
    const shard = this.#shards.get(number);
    if (shard === undefined || shard.generation !== generation || this.#parts === null) return;
    shard.synced.add(from);
    shard.awaited.delete(from);
    for (const group of shard.groups.values()) group.residents.delete(from);
    for (const { group, strategy, count } of residents) {
      const known = shard.groups.get(group);
      if (known === undefined) this.#begin(shard, group, strategy, from, count);
      else known.residents.set(from, count);
    }
    const byGroup = Map.groupBy(members, ({ group }) => group);
    for (const group of shard.groups.values()) group.synced(from, byGroup.get(group.key) ?? []);
    for (const group of shard.groups.values()) this.#countResidents(group);
    if (shard.awaited.size === 0) this.#startShard(shard);
  }

  // ---- groups

  #join(shard: GroupShard, from: number, request: number, { group: key, strategy, count }: ResidentCount): void {
    const answer = (error: Error | null): void => {
      this.#post.post(from, { kind: 'answer', request, error: error === null ? null : failureOf(error) });
    };
    const known = shard.groups.get(key);
    if (known === undefined) {
      const groupsMax = this.#options.groupsMax ?? groupDefaults.groupsMax;
      if (this.table.size < groupsMax) this.#create(shard, key, strategy, from, count).then(() => answer(null), answer);
      else answer(new SessionError('SESSION_LIMIT', `Cannot make a group: there are ${groupsMax} already`));
      return;
    }
    known.residents.set(from, count);
    this.#place(shard, known).then(() => answer(null), answer);
  }

  /** A group that subscribers know and this owner does not begins here and now. */
  #create(shard: GroupShard, key: string, strategy: GroupStrategy, from: number, count: number): Promise<void> {
    const group = this.#make(shard, key, strategy);
    group.residents.set(from, count);
    this.#post.postAll({ kind: 'group', group: key, exists: true });
    return this.#place(shard, group);
  }

  /** The same, when nobody waits for it: `tick` tries again. */
  #begin(shard: GroupShard, key: string, strategy: GroupStrategy, from: number, count: number): void {
    this.#create(shard, key, strategy, from, count).catch(ignoreFailure);
  }

  /** Behind the end of the logs as they are when publishers know of it. Resolves when it is durable. */
  async #place(shard: GroupShard, group: SharedGroup): Promise<void> {
    if (!this.#goesOn(group)) {
      const places = await Promise.all(this.feeds.map(({ partition }) => partition.places()));
      const ends = places.map(({ logEndOffset }, at) => Math.max(logEndOffset, this.feeds[at].tail));
      if (group.isClosed || this.#isClosed)
        throw new SessionError('SESSION_CLOSED', 'Cannot join: the group has ended');
      if (!this.#goesOn(group)) group.place(ends, ends);
    }
    this.#countResidents(group);
    await new Promise<void>((resolve, reject) => {
      shard.save(group, (error) => (error === null ? resolve() : reject(error)));
    });
  }

  /** Unless groups are kept without subscribers, what came while nobody was subscribed is nobody's. */
  #goesOn(group: SharedGroup): boolean {
    const isUsed = this.keepsEmpty || group.abandonedSince === Number.POSITIVE_INFINITY || group.isInUse;
    return group.isPlaced && isUsed;
  }

  #residents(shard: GroupShard, from: number, { group: key, strategy, count }: ResidentCount): void {
    const group = shard.groups.get(key);
    if (group === undefined) {
      if (count > 0) this.#begin(shard, key, strategy, from, count);
      return;
    }
    group.residents.set(from, count);
    this.#countResidents(group);
  }

  #countResidents(group: SharedGroup): void {
    let count = 0;
    for (const each of group.residents.values()) count += each;
    const wasEmpty = group.abandonedSince !== Number.POSITIVE_INFINITY;
    if (wasEmpty === (count === 0)) return;
    group.abandonedSince = count > 0 ? Number.POSITIVE_INFINITY : this.now();
    if (this.keepsEmpty && group.isPlaced) this.saveLater(group);
  }

  #end(shard: GroupShard, group: SharedGroup): void {
    group.close();
    this.table.remove(group.reader.entry);
    this.#parts?.interest.remove(filterOfGroup(group.key));
    shard.remove(group, () => undefined);
    this.#post.postAll({ kind: 'group', group: group.key, exists: false });
  }

  #settle(shard: GroupShard, from: number, message: Extract<GroupMessage, { readonly kind: 'settle' }>): void {
    const { group: key, id, request, refs } = message;
    const group = shard.groups.get(key);
    for (let at = 0; at + 1 < refs.length; at += 2) group?.settled(id, refs[at], refs[at + 1]);
    if (request === 0) return;
    const answer = (error: Error | null): void => {
      if (error === null) this.#post.post(from, { kind: 'answer', request, error: null });
    };
    // A group that has ended gives nothing to anybody.
    if (group === undefined) answer(null);
    else shard.save(group, answer);
  }

  // ---- for the groups

  get table(): SessionTable {
    return this.#table as SessionTable;
  }

  get feeds(): readonly LogFeed[] {
    return this.#parts?.feeds ?? [];
  }

  get live(): SubscriptionIndex<LiveSubscription> {
    return (this.#parts as OwnerParts).live;
  }

  get drops(): DropCounts {
    return (this.#parts as OwnerParts).drops;
  }

  now(): number {
    return this.#sessions.context.clock.now();
  }

  random(): number {
    return this.#sessions.context.random();
  }

  keyHashOf(view: MessageView): number {
    const { topicStart, topicLength, bytes } = view;
    return this.#options.keyHashOf?.(view) ?? hashBytes(bytes, topicStart, topicStart + topicLength);
  }

  post(slot: number, message: GroupMessage): void {
    this.#post.post(slot, message);
  }

  saveLater(group: SharedGroup): void {
    this.#shards.get(shardOfGroup(group.key))?.saveLater(group);
  }

  pumpSoon(group: SharedGroup): void {
    if (group.isReady || this.#isClosed) return;
    group.isReady = true;
    this.#ready.push(group);
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#sessions.context.defer(() => this.#turn());
  }

  pumpLater(group: SharedGroup): void {
    if (this.#isClosed) return;
    this.#later.push(group);
    this.#retryLater();
  }

  #retryLater(): void {
    if (this.#laterTimer.dueTick === -1) this.#sessions.context.timers.start(this.#laterTimer, laterMs);
  }

  #turn(): void {
    this.#isScheduled = false;
    const ready = this.#ready;
    this.#ready = [];
    for (const group of ready) {
      group.isReady = false;
      group.pump();
    }
  }

  #retry(): void {
    for (const group of this.#later.splice(0)) this.pumpSoon(group);
    const unopened = [...this.#unopened];
    this.#unopened.clear();
    for (const number of unopened) this.#openShard(number);
  }
}

function ignoreFailure(): void {
  // The store says by itself when it takes nothing any more, and `tick` tries again.
}

function failureOf(error: Error): GroupFailure {
  const code = error instanceof SessionError ? error.code : 'SESSION_STORAGE_FAILED';
  return { code, message: error.message };
}

function groupOf(message: GroupMessage): string | null {
  switch (message.kind) {
    case 'join':
    case 'residents':
      return message.resident.group;
    case 'member':
      return message.state.group;
    case 'settle':
    case 'return':
      return message.group;
    default:
      return null;
  }
}
