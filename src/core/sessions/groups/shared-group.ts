/**
 * One group at its owner: reads the logs from its place on, gives each message of its filter to one member that has room, and knows what
 * is open until a member settles it. Thread: the owner of the group; slots tell it of members through `GroupOwner`.
 *
 * Nothing is kept in memory of a message but its offset: a member's slot reads the body itself. A group without room reads no further.
 */
import { hashBytes } from '../../../std/hash.ts';
import { type Chooser, createChooser, type GroupStrategy, type RunKeys } from '../../broker/group-strategies.ts';
import { Run } from '../../broker/run.ts';
import type { MessageView } from '../message-record.ts';
import type { SessionEntry, Skip } from '../session-entry.ts';
import { GroupAge } from './group-age.ts';
import { type GroupCounts, type GroupFigures, noCounts } from './group-figures.ts';
import { filterOfGroup, shownGroupOf } from './group-key.ts';
import { GroupLanes } from './group-lanes.ts';
import { Member, OpenMessage } from './group-member.ts';
import { type GroupMessage, giveFlag, type MemberState } from './group-messages.ts';
import { GroupReader, type GroupReaderHost, type GroupReaderUser } from './group-reader.ts';
import type { StoredGroup } from './group-records.ts';

/** What a group needs of its owner. */
export interface GroupHost extends GroupReaderHost {
  readonly slot: number;
  readonly openMax: number;
  readonly waitingMax: number;
  /** Of all its groups. */
  readonly counts: GroupCounts;
  /** Groups live on, and keep messages, while nobody is subscribed. */
  readonly keepsEmpty: boolean;
  now(): number;
  random(): number;
  /** Of the protocol's key of a message: those with equal ones stay in order with the strategy `hash-key`. */
  keyHashOf(view: MessageView): number;
  post(slot: number, message: GroupMessage): void;
  /** The group changed: stored within the time of progress. */
  saveLater(group: SharedGroup): void;
  /** Calls `pump` soon, or after a pause. */
  pumpSoon(group: SharedGroup): void;
  pumpLater(group: SharedGroup): void;
}

/** How the member for a message is found: any with room; one for all of them; one for each key. */
type Manner = 'any' | 'one' | 'key';

const manners: Readonly<Record<GroupStrategy, Manner>> = {
  'round-robin': 'any',
  random: 'any',
  'local-first': 'any',
  'least-inflight': 'any',
  sticky: 'one',
  'hash-publisher': 'key',
  'hash-topic': 'key',
  'hash-key': 'key',
};

const pumpBudget = 256;
const topicSeed = 0x2f6b1d3a;

export class SharedGroup implements GroupReaderUser {
  readonly key: string;
  readonly strategy: GroupStrategy;
  readonly reader: GroupReader;
  /** Sessions that are subscribed, by slot. */
  readonly residents = new Map<number, number>();
  readonly members = new Map<string, Member>();
  /** Since when nobody is subscribed; infinite: somebody is. */
  abandonedSince = Number.POSITIVE_INFINITY;
  readonly counts = noCounts();
  /** As they were measured last; null: never. */
  measured: GroupFigures | null = null;
  /** It has a place in each log. */
  isPlaced = false;
  /** All slots have said what their members hold. */
  isStarted = false;
  isClosed = false;
  /** Owned by the host. */
  isReady = false;
  // Owned by the store.
  readonly dirtyWaiters: ((error: Error | null) => void)[] = [];
  isDirty = false;
  isQueued = false;
  readonly #host: GroupHost;
  readonly #manner: Manner;
  readonly #chooser: Chooser;
  readonly #lanes = new GroupLanes();
  /** For each log: what is seen and not settled. */
  readonly #open: Map<number, OpenMessage>[];
  /** For each log: settled though the group has not come to them. A member can have had them from an owner before. */
  readonly #passed: Set<number>[];
  #openCount = 0;
  #waiting: OpenMessage[] = [];
  #isSorted = true;
  /** Of those that wait: not read since the start. */
  #unknown = 0;
  /** With members, and not read: their keys are to be known before others are given. */
  #toKnow: OpenMessage[] = [];
  #taking: Member[] = [];
  #proxies: Member['proxy'][] = [];
  #memberNumber = 1;
  /** Below it the owner before may have given messages. */
  #doubtEnds: readonly number[] = [];
  readonly #age: GroupAge;
  readonly #run = new Run();
  readonly #keys: RunKeys;

  constructor(host: GroupHost, entry: SessionEntry, key: string, strategy: GroupStrategy) {
    this.#host = host;
    this.key = key;
    this.strategy = strategy;
    this.#manner = manners[strategy];
    this.#chooser = createChooser(strategy, () => host.random());
    this.#open = host.feeds.map(() => new Map());
    this.#passed = host.feeds.map(() => new Set());
    this.reader = new GroupReader(host, this, entry, filterOfGroup(key));
    this.#age = new GroupAge(host.feeds.length);
    const current = (): number => this.#run.detailA;
    this.#keys = { publisherHash: current, keyHash: current };
  }

  // ---- its state

  /** Begins in the logs, with nothing but what members hold. */
  place(positions: readonly number[], since: readonly number[]): void {
    for (const open of [...this.#waiting]) {
      this.#waitsNoMore(open);
      this.#forget(open);
    }
    this.reader.entry.skips = null;
    this.reader.place(positions, since);
    this.isPlaced = true;
    this.abandonedSince = Number.POSITIVE_INFINITY;
    this.wake();
  }

  /** Goes on from what was stored; `doubtEnds`: what lies before may have been given to somebody. */
  restore(stored: StoredGroup, ends: readonly number[], doubtEnds: readonly number[]): void {
    // A log that is new to the group: from its end at this start on.
    const positions = this.#host.feeds.map(({ number }) => stored.positions[number] ?? ends[number]);
    this.reader.entry.skips = stored.skips.length === 0 ? null : stored.skips;
    this.reader.place(positions, stored.since);
    this.#doubtEnds = doubtEnds;
    for (const [partition, offsets] of stored.open.entries()) {
      for (const offset of partition < this.#open.length ? offsets : []) this.#waits(this.#opened(partition, offset));
    }
    for (const [partition, offsets] of stored.passed.entries()) {
      for (const offset of offsets) this.#passed[partition]?.add(offset);
    }
    if (this.#host.keepsEmpty) this.abandonedSince = stored.emptySince;
    this.isPlaced = true;
  }

  get stored(): StoredGroup {
    const { key, strategy, reader } = this;
    const { positions } = reader;
    const skips: readonly Skip[] = reader.entry.skips ?? [];
    for (const [partition, passed] of this.#passed.entries()) {
      for (const offset of passed) if (offset < positions[partition]) passed.delete(offset);
    }
    const open = this.#open.map((each) => ascending(each.keys()));
    const passed = this.#passed.map((each) => ascending(each));
    const emptySince = this.#host.keepsEmpty ? this.abandonedSince : Number.POSITIVE_INFINITY;
    const since = positions.map((_, at) => reader.since[at] ?? 0);
    return { key, strategy, positions, since, skips, open, passed, emptySince };
  }

  /** Below it the group needs nothing of the log. */
  floor(partition: number): number {
    if (!this.isPlaced) return 0;
    let floor = this.reader.position(partition);
    for (const offset of this.#open[partition].keys()) floor = Math.min(floor, offset);
    return floor;
  }

  get openCount(): number {
    return this.#openCount;
  }

  /** Somebody takes messages, or has some. */
  get isInUse(): boolean {
    for (const { isTaking, held } of this.members.values()) if (isTaking || held.size > 0) return true;
    return false;
  }

  get waitingCount(): number {
    return this.#waiting.length;
  }

  /** Measures what waits: some searches for each topic of the filter, unless the group has come to the end of the logs. */
  get figures(): GroupFigures {
    const { reader, members, residents, abandonedSince } = this;
    const backlog = this.isPlaced && !reader.isCaughtUp ? reader.backlog : null;
    let online = 0;
    for (const { isOnline } of members.values()) if (isOnline) online += 1;
    let sessions = 0;
    for (const count of residents.values()) sessions += count;
    return {
      ...shownGroupOf(this.key),
      strategy: this.strategy,
      members: online,
      sessions,
      waiting: this.#waiting.length + (backlog?.count ?? 0),
      waitingBytes: backlog?.bytes ?? 0,
      isCounted: backlog?.isCounted ?? true,
      inFlight: this.#openCount - this.#waiting.length,
      oldestAtMs: this.#oldestAt(backlog?.first ?? []),
      emptySinceMs: abandonedSince === Number.POSITIVE_INFINITY ? null : abandonedSince,
      ...this.counts,
    };
  }

  /** `backlog`: the first message in each log that it has not come to; below 0: none. */
  #oldestAt(backlog: readonly number[]): number | null {
    let oldest: number | null = null;
    for (const feed of this.#host.feeds) {
      const ahead = backlog[feed.number] ?? -1;
      let offset = ahead < 0 ? Number.POSITIVE_INFINITY : ahead;
      for (const open of this.#open[feed.number].keys()) offset = Math.min(offset, open);
      if (offset === Number.POSITIVE_INFINITY) continue;
      const open = this.#open[feed.number].get(offset);
      const time = open?.isKnown === true ? open.timestamp : this.#age.timeOf(feed, offset);
      if (time === null) return null;
      oldest = Math.min(oldest ?? time, time);
    }
    return oldest;
  }

  /** Messages went without being given to anybody, or to anybody more. */
  dropped(count: number): void {
    this.counts.dropped += count;
    this.#host.counts.dropped += count;
  }

  #count(what: 'given' | 'redelivered' | 'settled'): void {
    this.counts[what] += 1;
    this.#host.counts[what] += 1;
  }

  /** All slots have told what their members hold. */
  start(): void {
    this.isStarted = true;
    this.wake();
  }

  wake(): void {
    if (this.isPlaced && this.isStarted && !this.isClosed) this.#host.pumpSoon(this);
  }

  wakeLater(): void {
    this.#host.pumpLater(this);
  }

  close(): void {
    this.isClosed = true;
    this.reader.close();
  }

  // ---- members

  /** What the slot of a member says of it. */
  member(from: number, state: MemberState): void {
    const known = this.members.get(state.id);
    if (known !== undefined && state.epoch < known.epoch) return;
    const member = known ?? new Member(state.id, this.#memberNumber++, this.#host.slot, this.#manner === 'any');
    this.members.set(state.id, member);
    member.set(from, state);
    if (state.held !== null) this.#reconcile(member, state.held);
    this.#membersChanged(member);
  }

  /** All of a slot's members are known: what others of it had was never stored. */
  synced(from: number, states: readonly MemberState[]): void {
    const told = new Set(states.map(({ id }) => id));
    for (const member of [...this.members.values()]) {
      if (member.slot !== from || told.has(member.id)) continue;
      member.isOnline = false;
      this.#giveBack(member, () => true);
      this.#membersChanged(member);
    }
    for (const state of states) this.member(from, state);
  }

  /** The thread of a slot died: only what is stored with its sessions stays theirs. */
  slotGone(slot: number): void {
    for (const member of [...this.members.values()]) {
      if (member.slot !== slot) continue;
      member.isOnline = false;
      this.#giveBack(member, ({ givenGrade }) => !member.isDurable || givenGrade < 2);
      this.#membersChanged(member);
    }
  }

  #membersChanged(member: Member): void {
    if (!member.isOnline && member.held.size === 0) this.members.delete(member.id);
    member.refresh();
    const taking = [...this.members.values()].filter(({ isTaking }) => isTaking);
    this.#taking = taking;
    this.#proxies = taking.map(({ proxy }) => proxy);
    this.#chooser.changed();
    this.wake();
  }

  /** What the member has is what it says. */
  #reconcile(member: Member, held: readonly number[]): void {
    const mine = new Set<OpenMessage>();
    for (let at = 0; at + 2 < held.length; at += 3) {
      const open = this.#claimed(member, held[at], held[at + 1], held[at + 2] === 2 ? 2 : 1);
      if (open !== null) mine.add(open);
    }
    this.#giveBack(member, (open) => !mine.has(open));
  }

  /** The open message that a member says it has; null when it is settled, or somebody else's. */
  #claimed(member: Member, partition: number, offset: number, grade: 1 | 2): OpenMessage | null {
    if (this.#open[partition] === undefined) return null;
    let open = this.#open[partition].get(offset);
    if (open === undefined) {
      // Settled before, and the member has not heard of it: it asks again.
      if (this.#passed[partition].has(offset)) return null;
      if (this.isPlaced && offset < this.reader.position(partition)) return null;
      open = this.#opened(partition, offset);
    } else if (open.member === member) return open;
    else if (open.member !== null) return null;
    else this.#waitsNoMore(open);
    open.givenGrade = grade;
    this.#give(open, member);
    if (!open.isKnown && this.#manner === 'key' && member.isOnline) this.#toKnow.push(open);
    return open;
  }

  #giveBack(member: Member, isBack: (open: OpenMessage) => boolean): void {
    for (const open of [...member.held]) {
      if (!isBack(open)) continue;
      this.#takeFrom(open, member);
      // Grade 2 is not sent before it is stored, and then it is held.
      if (open.givenGrade < 2) open.isDoubtful = true;
      this.#waits(open);
    }
  }

  /** A member was given a message and has not sent it. */
  returned(id: string, partition: number, offset: number): void {
    const open = this.#open[partition]?.get(offset);
    if (open === undefined || open.member === null || open.member.id !== id) return;
    this.#takeFrom(open, open.member);
    this.#waits(open);
    this.wake();
  }

  /** A member is done with a message. */
  settled(id: string, partition: number, offset: number): void {
    const open = this.#open[partition]?.get(offset);
    const member = open?.member ?? null;
    if (open === undefined || member === null || member.id !== id) return;
    this.#takeFrom(open, member);
    this.#forget(open);
    this.#count('settled');
    this.#host.saveLater(this);
    if (!member.isOnline && member.held.size === 0) this.members.delete(member.id);
    this.wake();
  }

  // ---- messages

  /** The feed, or the reader, has come to a message. */
  take(partition: number, offset: number, view: MessageView): boolean {
    if (this.#open[partition].has(offset) || this.#passed[partition].delete(offset)) return true;
    if (!this.isStarted || this.#taking.length === 0 || this.#openCount >= this.#host.openMax) return false;
    if (this.#isOver(view.expiresAtMs, view.timestamp)) return true;
    const isByKey = this.#manner === 'key';
    // What waits goes first; of keys only those that are known can be told apart.
    if (isByKey ? this.#unknown > 0 || this.#toKnow.length > 0 : this.#waiting.length > 0) return false;
    const hash = isByKey ? this.#hashOf(view) : 0;
    const member = isByKey && this.#lanes.isWaiting(hash) ? null : this.#choose(hash);
    if (member === null && (!isByKey || this.#waiting.length >= this.#host.waitingMax)) return false;
    const open = this.#opened(partition, offset);
    this.#know(open, view, hash);
    if (member === null) this.#waits(open);
    else this.#send(open, member);
    this.#host.saveLater(this);
    return true;
  }

  /** Gives what waits, and reads on. */
  pump(): void {
    if (!this.isPlaced || !this.isStarted || this.isClosed || this.#taking.length === 0) return;
    if (this.#toKnow.length > 0 && !this.#knowHeld()) return;
    if (this.#waiting.length > 0) this.#giveWaiting();
    if (this.reader.isLoading || (this.#manner !== 'key' && this.#waiting.length > 0)) return;
    if (this.#openCount >= this.#host.openMax || !this.#taking.some(({ hasRoom }) => hasRoom)) return;
    if (!this.reader.isCaughtUp && this.reader.read(pumpBudget)) this.wake();
  }

  /** False: one of them is being read. */
  #knowHeld(): boolean {
    for (let open = this.#toKnow.at(-1); open !== undefined; open = this.#toKnow.at(-1)) {
      if (!open.isKnown && open.member !== null) {
        const view = this.reader.message(open.partition, open.offset);
        if (view === null) return false;
        if (view !== 'gone') {
          this.#know(open, view, this.#hashOf(view));
          this.#lanes.given(open.hash, open.member);
        }
      }
      this.#toKnow.pop();
    }
    return true;
  }

  #giveWaiting(): void {
    if (!this.#isSorted) this.#waiting.sort((a, b) => a.partition - b.partition || a.offset - b.offset);
    this.#isSorted = true;
    const waiting = this.#waiting;
    const kept: OpenMessage[] = [];
    let at = 0;
    for (; at < waiting.length; at += 1) {
      const open = waiting[at];
      const outcome = this.#giveOne(open);
      if (outcome === 'stop') break;
      if (outcome === 'keep') kept.push(open);
    }
    this.#waiting = at === waiting.length ? kept : [...kept, ...waiting.slice(at)];
  }

  #giveOne(open: OpenMessage): 'given' | 'keep' | 'stop' {
    if (!this.#taking.some(({ hasRoom }) => hasRoom)) return 'stop';
    if (!open.isKnown) {
      const view = this.reader.message(open.partition, open.offset);
      if (view === null) return 'stop';
      this.#unknown -= 1;
      if (view === 'gone') {
        this.#host.drops.gone += 1;
        this.dropped(1);
        this.#forget(open);
        this.#host.saveLater(this);
        return 'given';
      }
      this.#know(open, view, this.#manner === 'key' ? this.#hashOf(view) : 0);
      this.#lanes.waits(open.hash);
    }
    if (this.#isOver(open.expiresAtMs, open.timestamp)) {
      this.#lanes.waitsNoMore(open.hash);
      this.#forget(open);
      this.#host.saveLater(this);
      return 'given';
    }
    const member = this.#choose(open.hash);
    if (member === null) return this.#manner === 'key' ? 'keep' : 'stop';
    this.#lanes.waitsNoMore(open.hash);
    this.#send(open, member);
    return 'given';
  }

  /** Who gets a message; null: nobody has room for it now. */
  #choose(hash: number): Member | null {
    if (this.#taking.length === 0) return null;
    let member = this.#manner === 'key' ? this.#lanes.holder(hash) : null;
    if (member === null) {
      this.#run.detailA = hash;
      // The circle of a hash of topics asks for the topic itself: a text of the hash is spread as well.
      this.#run.topic = this.strategy === 'hash-topic' ? String(hash) : '';
      const proxy = this.#chooser.choose(this.#proxies, this.#run, this.#keys);
      member = this.#taking[this.#proxies.indexOf(proxy)] ?? null;
    }
    return member?.hasRoom === true ? member : null;
  }

  #hashOf(view: MessageView): number {
    if (this.strategy === 'hash-key') return this.#host.keyHashOf(view) | 0;
    const { bytes, publisherStart, publisherLength, topicStart, topicLength } = view;
    return this.strategy === 'hash-publisher' && publisherLength > 0
      ? hashBytes(bytes, publisherStart, publisherStart + publisherLength, topicSeed)
      : hashBytes(bytes, topicStart, topicStart + topicLength, topicSeed);
  }

  #know(open: OpenMessage, view: MessageView, hash: number): void {
    open.isKnown = true;
    open.grade = view.grade === 2 ? 2 : 1;
    open.hash = hash;
    open.expiresAtMs = view.expiresAtMs;
    open.timestamp = view.timestamp;
  }

  /** Its time is over, by the publisher or by the limits. */
  #isOver(expiresAtMs: number, timestamp: number): boolean {
    const { drops, limits } = this.#host;
    const now = this.#host.now();
    if (expiresAtMs !== 0 && expiresAtMs <= now) drops.expired += 1;
    else if (now - timestamp > limits.ageMsMax) drops.aged += 1;
    else return false;
    this.dropped(1);
    return true;
  }

  #send(open: OpenMessage, member: Member): void {
    const grade = Math.min(open.grade, member.grade) as 0 | 1 | 2;
    open.givenGrade = grade;
    this.#give(open, member);
    const flags = grade | (grade === 1 && open.isDoubtful ? giveFlag.isDuplicate : 0);
    const refs = [open.partition, open.offset, flags];
    this.#count('given');
    if (open.isDoubtful) this.#count('redelivered');
    this.#host.post(member.slot, { kind: 'give', group: this.key, id: member.id, epoch: member.epoch, refs });
  }

  #give(open: OpenMessage, member: Member): void {
    open.member = member;
    member.held.add(open);
    member.refresh();
    if (open.isKnown) this.#lanes.given(open.hash, member);
  }

  #takeFrom(open: OpenMessage, member: Member): void {
    open.member = null;
    member.held.delete(open);
    member.refresh();
    if (open.isKnown) this.#lanes.takenFrom(open.hash, member);
  }

  #opened(partition: number, offset: number): OpenMessage {
    const open = new OpenMessage(partition, offset);
    open.isDoubtful = offset < (this.#doubtEnds[partition] ?? 0);
    this.#open[partition].set(offset, open);
    this.#openCount += 1;
    return open;
  }

  #forget(open: OpenMessage): void {
    const { partition, offset } = open;
    if (this.#open[partition].delete(offset)) this.#openCount -= 1;
    if (offset >= this.reader.position(partition)) this.#passed[partition].add(offset);
  }

  #waits(open: OpenMessage): void {
    this.#waiting.push(open);
    this.#isSorted = false;
    if (open.isKnown) this.#lanes.waits(open.hash);
    else this.#unknown += 1;
  }

  #waitsNoMore(open: OpenMessage): void {
    this.#waiting = this.#waiting.filter((each) => each !== open);
    if (open.isKnown) this.#lanes.waitsNoMore(open.hash);
    else this.#unknown -= 1;
  }
}

function ascending(offsets: Iterable<number>): number[] {
  return [...offsets].sort((a, b) => a - b);
}
