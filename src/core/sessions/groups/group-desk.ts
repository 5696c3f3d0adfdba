/**
 * The members of groups on their slot: tells the owners of the groups who is there, gives clients what owners give them, and says when it
 * is settled. Everything that it knows is in the sessions too, so that an owner that is new can ask for it. Thread: the slot's.
 */
import type { WheelTimer } from '../../../std/timing-wheel.ts';
import { type QueueContext, timerOf } from '../../queues/queue-context.ts';
import { innerFilterError } from '../../tenants/tenant-names.ts';
import type { Flight } from '../flight-table.ts';
import type { DropCounts, OnlineSession, SessionGrouping } from '../online-session.ts';
import { storeReceipt } from '../online-session.ts';
import { dirtyPart, type Membership, type SessionEntry } from '../session-entry.ts';
import { SessionError } from '../session-error.ts';
import { isOfGroupAlone } from '../session-records.ts';
import type { SessionRuntime } from '../session-runtime.ts';
import { filterOfGroup, groupKeyError, shardOfGroup } from './group-key.ts';
import type { GroupFailure, GroupMessage, MemberState, ResidentCount } from './group-messages.ts';
import type { GroupPost } from './group-post.ts';
import { type GivenMessage, GroupTaker, type TakerHost, type TakerTarget } from './group-taker.ts';
import { type TransientDesk, type TransientLink, TransientMember } from './transient-member.ts';

export interface GroupDeskOptions {
  readonly context: QueueContext;
  readonly runtime: SessionRuntime;
  readonly post: GroupPost;
  readonly creditMax: number;
  /** Subscriptions of one session, of groups too. */
  readonly subscriptionsMax: number;
  onGroup(group: string, isKept: boolean): void;
}

interface Joining {
  readonly group: string;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

interface Confirming {
  readonly group: string;
  readonly id: string;
  readonly partition: number;
  readonly offset: number;
  readonly stored: () => void;
  readonly isTransient: boolean;
}

const laterMs = 100;
/** In front of names of members without a stored session: a client's stored session may have the same name. */
const transientPrefix = '\0';

export class GroupDesk implements SessionGrouping, TakerHost, TransientDesk {
  readonly #options: GroupDeskOptions;
  readonly #takers = new Map<string, Map<string, GroupTaker>>();
  readonly #bySession = new Map<string, Set<GroupTaker>>();
  readonly #transients = new Map<TransientMember, GroupTaker>();
  /** Sessions that are members, or have messages of groups. */
  readonly #entries = new Set<SessionEntry>();
  readonly #residents = new Map<string, { strategy: Membership['strategy']; count: number }>();
  /** Groups that are kept, by shard: what owners say. */
  readonly #kept = new Map<string, number>();
  readonly #joining = new Map<number, Joining>();
  readonly #confirming = new Map<number, Confirming>();
  readonly #confirmed = new Map<Flight, number>();
  /** One call about a session at a time. */
  readonly #lanes = new Map<string, Promise<unknown>>();
  readonly #ready: GroupTaker[] = [];
  readonly #later: GroupTaker[] = [];
  readonly #laterTimer: WheelTimer;
  #lastRequest = 0;
  #lastEpoch = 0;
  #failure: SessionError | null = null;

  constructor(options: GroupDeskOptions) {
    this.#options = options;
    this.#laterTimer = timerOf(() => this.#retry());
    for (const entry of options.runtime.table.entries()) {
      const hasFlights = (entry.flights?.grouped().length ?? 0) > 0;
      if (entry.memberships === null && !hasFlights) continue;
      this.#entries.add(entry);
      for (const membership of entry.memberships?.values() ?? []) this.#countResident(membership, 1);
    }
  }

  get feeds() {
    return this.#options.runtime.feeds;
  }

  get drops(): DropCounts {
    return this.#options.runtime.drops;
  }

  now(): number {
    return this.#options.context.clock.now();
  }

  isKept(group: string): boolean {
    return this.#kept.has(group);
  }

  /** Members that are there. */
  get memberCount(): number {
    let count = 0;
    for (const takers of this.#takers.values()) count += takers.size;
    return count;
  }

  // ---- joining and leaving

  /** See `DurableGroups.join`. */
  join(session: OnlineSession, membership: Membership): Promise<boolean> {
    const { group } = membership;
    const problem = groupKeyError(group) ?? innerFilterError(filterOfGroup(group)) ?? null;
    if (problem !== null) {
      const name = JSON.stringify(group.slice(0, 200));
      return Promise.reject(new SessionError('SESSION_LIMIT', `Cannot join the group ${name}: ${problem}`));
    }
    return this.#inLane(session.id, () => this.#join(session, membership));
  }

  async #join(session: OnlineSession, membership: Membership): Promise<boolean> {
    const { entry } = session;
    const { group } = membership;
    const isNew = entry.memberships?.has(group) !== true;
    const { subscriptionsMax } = this.#options;
    if (isNew && entry.subscriptions.length + (entry.memberships?.size ?? 0) >= subscriptionsMax) {
      const text = `Cannot subscribe: session "${entry.id}" may have ${subscriptionsMax} subscriptions`;
      throw new SessionError('SESSION_LIMIT', text);
    }
    if (isNew) await this.#ask(membership, session);
    entry.memberships ??= new Map();
    entry.memberships.set(group, membership);
    entry.dirtyGroups ??= new Set();
    entry.dirtyGroups.add(group);
    this.#entries.add(entry);
    await this.#saved(entry);
    if (!session.isClosed && entry.memberships?.get(group) === membership) this.#begin(session, group);
    return isNew;
  }

  /** Resolves when the owner keeps messages for the group. */
  async #ask(membership: Membership, { entry, isClosed }: OnlineSession): Promise<void> {
    const { group } = membership;
    this.#countResident(membership, 1);
    try {
      await new Promise<void>((resolve, reject) => {
        this.#lastRequest += 1;
        this.#joining.set(this.#lastRequest, { group, resolve, reject });
        this.#postJoin(this.#lastRequest, group);
      });
      if (isClosed || entry.isRemoved || entry.isMoving)
        throw new SessionError('SESSION_TAKEN_OVER', 'Cannot join a group: the client is gone');
    } catch (error) {
      this.#countResident(membership, -1);
      this.#postResidents(group);
      throw error;
    }
  }

  #postJoin(request: number, group: string): void {
    this.#toOwner(group, { kind: 'join', request, resident: this.#residentOf(group) });
  }

  /** Ends a membership; answers whether there was one. What the client was sent goes on; the rest goes to others. */
  leave(session: OnlineSession, group: string): Promise<boolean> {
    return this.#inLane(session.id, async () => {
      const { entry } = session;
      const membership = entry.memberships?.get(group);
      if (membership === undefined) return false;
      entry.memberships?.delete(group);
      if (entry.memberships?.size === 0) entry.memberships = null;
      entry.dirtyGroups ??= new Set();
      entry.dirtyGroups.add(group);
      const taker = this.#takers.get(group)?.get(entry.id);
      if (taker !== undefined) this.#stopTaking(taker);
      this.#countResident(membership, -1);
      this.#postResidents(group);
      await this.#saved(entry);
      return true;
    });
  }

  #stopTaking(taker: GroupTaker): void {
    taker.credit = 0;
    const refs = taker.takePending();
    this.#tellUpdate(taker);
    if (refs.length > 0) this.#toOwner(taker.group, { kind: 'return', group: taker.group, id: taker.id, refs });
  }

  /** See `DurableGroups.joinTransient`. */
  joinTransient(id: string, membership: Membership, credit: number, link: TransientLink): TransientMember {
    const { group, grade, seed } = membership;
    this.#lastEpoch = Math.max(this.#lastEpoch + 1, this.now());
    const epoch = this.#lastEpoch;
    // One that is retired may still end what it has.
    const name = `${transientPrefix}${id}${transientPrefix}${epoch}`;
    const member = new TransientMember(this, link, group, name);
    const limited = this.#creditOf(credit);
    const taker = new GroupTaker(this, member, {
      group,
      id: name,
      epoch,
      isDurable: false,
      grade,
      seed,
      credit: limited,
    });
    this.#transients.set(member, taker);
    this.#addTaker(taker);
    this.#toOwner(group, { kind: 'member', state: stateOf(taker, []) });
    return member;
  }

  // ---- TransientDesk, TakerHost

  settle({ group, id }: { readonly group: string; readonly id: string }, partition: number, offset: number): void {
    this.#toOwner(group, { kind: 'settle', group, id, request: 0, refs: [partition, offset] });
  }

  confirm({ group, id }: TransientMember, partition: number, offset: number, stored: () => void): void {
    // Without a desk nobody answers; the client has it, and is not to wait for ever.
    if (this.#failure !== null) this.#options.context.defer(stored);
    else this.#confirm({ group, id, partition, offset, stored, isTransient: true });
  }

  room(member: TransientMember | SessionEntry): void {
    if (this.#failure !== null) return;
    if (member instanceof TransientMember) this.#pumpSoon(this.#transients.get(member));
    else for (const taker of this.#bySession.get(member.id) ?? []) this.#pumpSoon(taker);
  }

  /** Not inside of what the client answers: a turn's answers make room together. */
  #pumpSoon(taker: GroupTaker | undefined): void {
    if (taker === undefined || taker.isReady) return;
    taker.isReady = true;
    this.#ready.push(taker);
    if (this.#ready.length > 1) return;
    this.#options.context.defer(() => {
      for (const each of this.#ready.splice(0)) {
        each.isReady = false;
        each.pump();
      }
    });
  }

  retireTransient(member: TransientMember): void {
    const taker = this.#transients.get(member);
    if (taker !== undefined && !taker.isLeaving) this.#stopTaking(taker);
  }

  leaveTransient(member: TransientMember): void {
    const taker = this.#transients.get(member);
    member.isClosed = true;
    if (taker === undefined) return;
    this.#transients.delete(member);
    this.#removeTaker(taker);
    this.#toOwner(member.group, { kind: 'member', state: { ...stateOf(taker, []), isOnline: false } });
  }

  later(taker: GroupTaker): void {
    this.#later.push(taker);
    if (this.#laterTimer.dueTick === -1) this.#options.context.timers.start(this.#laterTimer, laterMs);
  }

  #retry(): void {
    for (const taker of this.#later.splice(0)) taker.pump();
  }

  // ---- SessionGrouping

  begun(session: OnlineSession): void {
    const { entry } = session;
    if (!this.#entries.has(entry)) return;
    const groups = new Set(entry.memberships?.keys());
    for (const flight of entry.flights?.grouped() ?? []) {
      if (flight.group === undefined) continue;
      groups.add(flight.group);
      // Asked for by an owner of the session before.
      const isAsked = flight.state !== 'receiving' || flight.isConfirmed === true || this.#confirmed.has(flight);
      if (!isAsked) this.received(entry, flight);
    }
    for (const group of groups) this.#begin(session, group);
  }

  /** Makes the session a taker, or changes what it is; one without a membership only ends what it has. */
  #begin(session: OnlineSession, group: string): void {
    const { entry } = session;
    const membership = entry.memberships?.get(group);
    const known = this.#takers.get(group)?.get(entry.id);
    const grade = membership?.grade ?? 0;
    const credit = membership === undefined ? 0 : this.#creditOf(session.window);
    if (known !== undefined) {
      known.grade = grade;
      known.credit = credit;
      this.#tellUpdate(known);
      return;
    }
    const target = sessionTarget(session, group);
    const { id, epoch } = entry;
    const seed = membership?.seed ?? 0;
    const taker = new GroupTaker(this, target, { group, id, epoch, isDurable: true, grade, seed, credit });
    this.#addTaker(taker);
    const mine = this.#bySession.get(id);
    if (mine === undefined) this.#bySession.set(id, new Set([taker]));
    else mine.add(taker);
    this.#toOwner(group, { kind: 'member', state: stateOf(taker, taker.held()) });
  }

  settled(entry: SessionEntry, { group, partition, offset }: Flight): void {
    if (group !== undefined) this.settle({ group, id: entry.id }, partition, offset);
  }

  received(entry: SessionEntry, flight: Flight): void {
    const { group, partition, offset } = flight;
    if (group === undefined) return;
    const { store } = this.#options.runtime;
    const request = this.#confirm({
      group,
      id: entry.id,
      partition,
      offset,
      isTransient: false,
      stored: () => {
        this.#confirmed.delete(flight);
        // Moved: its new owner asks again. Or ended.
        if (entry.isRemoved || entry.isMoving) return;
        flight.isConfirmed = true;
        storeReceipt(store, entry, flight);
      },
    });
    this.#confirmed.set(flight, request);
  }

  closing({ entry }: OnlineSession): void {
    const mine = this.#bySession.get(entry.id);
    if (mine === undefined) return;
    this.#bySession.delete(entry.id);
    for (const flight of entry.flights?.grouped() ?? []) {
      // They go to others: the group has them.
      if (isOfGroupAlone(flight)) entry.dropFlight(flight.packetId);
    }
    for (const taker of mine) {
      this.#removeTaker(taker);
      const state = { ...stateOf(taker, heldOf(entry, taker.group)), isOnline: false };
      this.#toOwner(taker.group, { kind: 'member', state });
    }
  }

  adopted(entry: SessionEntry): void {
    const groups = new Set(entry.memberships?.keys());
    for (const { group } of entry.flights?.grouped() ?? []) if (group !== undefined) groups.add(group);
    if (groups.size === 0) return;
    this.#entries.add(entry);
    for (const membership of entry.memberships?.values() ?? []) {
      this.#countResident(membership, 1);
      this.#postResidents(membership.group);
    }
    for (const group of groups) this.#toOwner(group, { kind: 'member', state: awayState(entry, group) });
  }

  dropped(entry: SessionEntry): void {
    if (!this.#entries.delete(entry)) return;
    const groups = new Set<string>();
    for (const flight of entry.flights?.grouped() ?? []) {
      if (flight.group === undefined || entry.isMoving) continue;
      groups.add(flight.group);
      // What was sent with grade 2 is for nobody else; what is not stored yet was not sent, and goes back.
      if (flight.state !== 'storing') this.settled(entry, flight);
      this.#confirming.delete(this.#confirmed.get(flight) ?? 0);
      this.#confirmed.delete(flight);
    }
    for (const group of groups) {
      this.#toOwner(group, { kind: 'member', state: { ...awayState(entry, group), held: [] } });
    }
    for (const membership of entry.memberships?.values() ?? []) {
      this.#countResident(membership, -1);
      this.#postResidents(membership.group);
    }
  }

  // ---- what owners say

  handle(from: number, message: GroupMessage): void {
    if (message.kind === 'give') this.#give(message);
    else if (message.kind === 'answer') this.#answer(message.request, message.error);
    else if (message.kind === 'group') this.#setKept(message.group, message.exists);
    else if (message.kind === 'hello') this.#hello(from, message.shard, message.generation, message.groups);
  }

  #give({ group, id, epoch, refs }: Extract<GroupMessage, { readonly kind: 'give' }>): void {
    const taker = this.#takers.get(group)?.get(id);
    // Of a connection that is gone: the owner has taken it back.
    if (taker === undefined || taker.epoch !== epoch) return;
    if (!taker.isLeaving) taker.give(refs);
    else {
      const back: number[] = [];
      for (let at = 0; at + 2 < refs.length; at += 3) back.push(refs[at], refs[at + 1]);
      this.#toOwner(group, { kind: 'return', group, id, refs: back });
    }
  }

  #answer(request: number, error: GroupFailure | null): void {
    const joining = this.#joining.get(request);
    if (joining !== undefined) {
      this.#joining.delete(request);
      if (error === null) joining.resolve();
      else joining.reject(new SessionError(error.code, error.message));
      return;
    }
    const confirming = this.#confirming.get(request);
    this.#confirming.delete(request);
    confirming?.stored();
  }

  #setKept(group: string, isKept: boolean): void {
    if (this.#kept.has(group) === isKept) return;
    if (isKept) this.#kept.set(group, shardOfGroup(group));
    else this.#kept.delete(group);
    this.#options.onGroup(group, isKept);
  }

  /** An owner is new: it is told everything, and asked again for what it has not answered. */
  #hello(from: number, shard: number, generation: number, groups: readonly string[]): void {
    const isThere = new Set(groups);
    for (const [group, of] of [...this.#kept]) if (of === shard && !isThere.has(group)) this.#setKept(group, false);
    for (const group of groups) this.#setKept(group, true);
    const isMine = (group: string): boolean => shardOfGroup(group) === shard;
    const residents = this.#storedResidents().filter(({ group }) => isMine(group));
    this.#options.post.post(from, { kind: 'sync', shard, generation, residents, members: this.#membersOf(isMine) });
    for (const [request, { group }] of this.#joining) if (isMine(group)) this.#postJoin(request, group);
    for (const [request, confirming] of this.#confirming) if (isMine(confirming.group)) this.#postConfirm(request);
  }

  /** Without those that have asked and have no answer: they ask again. */
  #storedResidents(): ResidentCount[] {
    const asking = new Map<string, number>();
    for (const { group } of this.#joining.values()) asking.set(group, (asking.get(group) ?? 0) + 1);
    const residents = [...this.#residents.keys()].map((group) => this.#residentOf(group));
    return residents
      .map((resident) => ({ ...resident, count: resident.count - (asking.get(resident.group) ?? 0) }))
      .filter(({ count }) => count > 0);
  }

  #membersOf(isMine: (group: string) => boolean): MemberState[] {
    const states: MemberState[] = [];
    for (const [group, takers] of this.#takers) {
      if (isMine(group)) for (const taker of takers.values()) states.push(stateOf(taker, taker.held()));
    }
    // Those that are away, and have something.
    for (const entry of this.#entries) {
      const groups = new Set<string>();
      for (const { group } of entry.flights?.grouped() ?? [])
        if (group !== undefined && isMine(group)) groups.add(group);
      for (const group of groups)
        if (this.#takers.get(group)?.has(entry.id) !== true) states.push(awayState(entry, group));
      if (entry.memberships === null && entry.flights === null) this.#entries.delete(entry);
    }
    return states;
  }

  /** Nobody is told anything any more. */
  close(error: SessionError): void {
    if (this.#failure !== null) return;
    this.#failure = error;
    this.#options.context.timers.cancel(this.#laterTimer);
    for (const { reject } of this.#joining.values()) reject(error);
    this.#joining.clear();
    const confirming = [...this.#confirming.values()];
    this.#confirming.clear();
    for (const { isTransient, stored } of confirming) if (isTransient) stored();
    for (const takers of this.#takers.values()) for (const taker of takers.values()) taker.close();
  }

  // ---- small things

  #creditOf(window: number): number {
    return Math.max(1, Math.min(window, this.#options.creditMax));
  }

  #tellUpdate(taker: GroupTaker): void {
    this.#toOwner(taker.group, { kind: 'member', state: stateOf(taker, null) });
  }

  #addTaker(taker: GroupTaker): void {
    const takers = this.#takers.get(taker.group);
    if (takers === undefined) this.#takers.set(taker.group, new Map([[taker.id, taker]]));
    else takers.set(taker.id, taker);
  }

  #removeTaker(taker: GroupTaker): void {
    taker.close();
    const takers = this.#takers.get(taker.group);
    if (takers?.get(taker.id) !== taker) return;
    takers.delete(taker.id);
    if (takers.size === 0) this.#takers.delete(taker.group);
  }

  #confirm(confirming: Confirming): number {
    this.#lastRequest += 1;
    this.#confirming.set(this.#lastRequest, confirming);
    this.#postConfirm(this.#lastRequest);
    return this.#lastRequest;
  }

  #postConfirm(request: number): void {
    const confirming = this.#confirming.get(request);
    if (confirming === undefined) return;
    const { group, id, partition, offset } = confirming;
    this.#toOwner(group, { kind: 'settle', group, id, request, refs: [partition, offset] });
  }

  #countResident({ group, strategy }: Membership, change: number): void {
    const known = this.#residents.get(group) ?? { strategy, count: 0 };
    known.count += change;
    if (known.count > 0) this.#residents.set(group, known);
    else this.#residents.delete(group);
  }

  #residentOf(group: string): ResidentCount {
    const { strategy = 'round-robin', count = 0 } = this.#residents.get(group) ?? {};
    return { group, strategy, count };
  }

  #postResidents(group: string): void {
    this.#toOwner(group, { kind: 'residents', resident: this.#residentOf(group) });
  }

  #toOwner(group: string, message: GroupMessage): void {
    const { post } = this.#options;
    post.post(post.ownerOf(shardOfGroup(group)), message);
  }

  #saved(entry: SessionEntry): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#options.runtime.store.save(entry, dirtyPart.progress, (error) =>
        error === null ? resolve() : reject(error),
      );
    });
  }

  #inLane<T>(id: string, task: () => Promise<T>): Promise<T> {
    const guarded = (): Promise<T> => (this.#failure === null ? task() : Promise.reject(this.#failure));
    const mine = (this.#lanes.get(id) ?? Promise.resolve()).then(guarded, guarded);
    this.#lanes.set(id, mine);
    const leave = (): void => {
      if (this.#lanes.get(id) === mine) this.#lanes.delete(id);
    };
    mine.then(leave, leave);
    return mine;
  }
}

function stateOf(taker: GroupTaker, held: readonly number[] | null): MemberState {
  const { group, id, epoch, isDurable, credit, grade, seed } = taker;
  return { group, id, epoch, isOnline: true, isDurable, credit, grade, seed, held };
}

/** Of a session without a client. */
function awayState(entry: SessionEntry, group: string): MemberState {
  const { id, epoch } = entry;
  const membership = entry.memberships?.get(group);
  const { grade = 0, seed = 0 } = membership ?? {};
  return { group, id, epoch, isOnline: false, isDurable: true, credit: 0, grade, seed, held: heldOf(entry, group) };
}

/** What a session has of a group that the group has not stored as settled. */
function heldOf(entry: SessionEntry, group: string): number[] {
  const held: number[] = [];
  for (const flight of entry.flights?.grouped() ?? []) {
    if (flight.group !== group || flight.isConfirmed === true) continue;
    held.push(flight.partition, flight.offset, flight.state === 'sent' ? 1 : 2);
  }
  return held;
}

function sessionTarget(session: OnlineSession, group: string): TakerTarget {
  const { entry } = session;
  return {
    take: (message: GivenMessage, batch, view) => {
      const membership = entry.memberships?.get(group);
      return membership === undefined ? 'full' : session.giveGrouped({ ...message, membership }, batch, view);
    },
    held: () => heldOf(entry, group),
  };
}
