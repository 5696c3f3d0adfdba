/**
 * Groups whose members share the publications of a filter: each publication goes to one member, on whichever worker it
 * lives. Every worker knows all members of all groups (they are told by broadcast, and a new member counts once every
 * worker has answered), so that the worker on which a publication arrives chooses the member itself, by the strategy of
 * the group (`group-strategies.ts`).
 * Thread: one connection worker.
 */
import { assert } from '../../std/assert.ts';
import type { ControlPlane } from '../ports/control-plane.ts';
import { SubscriptionIndex } from '../routing/subscription-index.ts';
import {
  type Chooser,
  createChooser,
  GroupMember,
  type GroupStrategy,
  type LocalMember,
  type RunKeys,
  topicKeys,
} from './group-strategies.ts';
import type { SharedGroupTarget } from './route.ts';
import { copyOf, Run } from './run.ts';

const channel = 'shared-groups';
/** Publications for members elsewhere that wait for room in the ring, bytes. Publishers are held back before that. */
const waitingBytesMax = 16_777_216;

/** What the groups need of their router. */
export interface GroupRouter {
  hasRoom(bytes: number): boolean;
  whenRoom(callback: () => void): void;
  /** False when the ring has no room. */
  sendToMember(worker: number, member: number, run: Run): boolean;
  /** Sees everything that other workers have sent up to now. */
  catchUp(): void;
  /** A publication is lost since too many wait. */
  dropped(run: Run): void;
  /** Routes that this filter touches are stale. */
  changed(filter: string): void;
}

/** How a member joins. */
export interface JoinOptions {
  /** That of the group; what the first member of the node says holds while the group lasts. */
  readonly strategy?: GroupStrategy;
  /** A hash of the subscriber, the same wherever it joins. */
  readonly seed?: number;
}

/** Between two looks at the loads of members here, for workers that choose by load. */
const loadReportMs = 100;

interface JoinMessage {
  readonly kind: 'join' | 'leave' | 'status';
  readonly group: string;
  readonly filter: string;
  readonly id: number;
  readonly isOnline: boolean;
  readonly strategy: GroupStrategy;
  readonly seed: number;
}

/** Loads of members of the worker that sends it. */
interface LoadMessage {
  readonly kind: 'loads';
  readonly loads: readonly (readonly [id: number, load: number])[];
}

/**
 * Calls `visit` once per publication of `run`, with `part` holding that one; registered by the protocol that owns the
 * layout. `part` is valid during the call.
 */
export type RunSplitter = (run: Run, part: Run, visit: () => void) => void;

class Group implements SharedGroupTarget {
  readonly key: string;
  readonly filter: string;
  readonly strategy: GroupStrategy;
  readonly members: GroupMember[] = [];
  readonly chooser: Chooser;
  /** What is acknowledged comes to its members through the message logs. */
  isKept = false;
  private readonly owner: SharedGroups;
  private readonly part = new Run();

  constructor(owner: SharedGroups, key: string, filter: string, strategy: GroupStrategy) {
    this.owner = owner;
    this.key = key;
    this.filter = filter;
    this.strategy = strategy;
    this.chooser = createChooser(strategy);
  }

  hasRoomFor(run: Run): boolean {
    if (!this.members.some((member) => member.local === null)) return true;
    // The worst case: each publication in a record of its own, with its head and padding.
    return this.owner.hasRoom(run.end - run.start + run.count * (run.topicBytes.length + 128));
  }

  share(run: Run): void {
    if (this.isKept && this.owner.keysOf(run.layout).comesKept?.(run) === true) return;
    if (this.chooser.takesRuns) {
      // A member sets the epoch for itself, see `LocalMember`'s implementations; the run goes on to others.
      const { epoch } = run;
      if (!this.give(run)) this.owner.keep(this, run);
      run.epoch = epoch;
      return;
    }
    const { part } = this;
    this.owner.split(run, part, () => {
      if (!this.give(part)) this.owner.keep(this, part);
    });
  }

  /** False when the member lives elsewhere and cannot be sent anything now. */
  give(run: Run): boolean {
    const member = this.choose(run);
    return member === null || this.giveTo(member, run);
  }

  /** Null when there is no member. */
  choose(run: Run): GroupMember | null {
    return this.members.length === 0 ? null : this.chooser.choose(this.members, run, this.owner.keysOf(run.layout));
  }

  giveTo(member: GroupMember, run: Run): boolean {
    if (member.local === null) {
      if (!this.owner.send(member, run)) return false;
      member.countSent();
      return true;
    }
    member.local.deliver(run);
    return true;
  }
}

interface LocalEntry {
  readonly group: Group;
  readonly member: GroupMember;
  /** The load that others were told last, and whether they have sent something since. */
  toldLoad: number;
  wasSent: boolean;
}

export class SharedGroups {
  readonly router: GroupRouter;
  private readonly workerIndex: number;
  private readonly control: ControlPlane;
  private readonly groups = new Map<string, Group>();
  private readonly kept = new Set<string>();
  private readonly index = new SubscriptionIndex<Group>();
  private readonly locals = new Map<number, LocalEntry>();
  /** Groups of members that left, until nothing for them is on its way any more. */
  private readonly former = new Map<number, string>();
  private readonly splitters = new Map<number, RunSplitter>();
  private readonly keys = new Map<number, RunKeys>();
  /** Publications that could not be sent, oldest first; whoever is the next member by then gets them. */
  private waiting: { readonly key: string; readonly run: Run }[] = [];
  private waitingBytes = 0;
  private isFlushing = false;
  private nextId = 1;
  private loadTimer: NodeJS.Timeout | null = null;
  /** Members elsewhere, by `remoteKey`. */
  private readonly remotes = new Map<number, GroupMember>();

  constructor(workerIndex: number, control: ControlPlane, router: GroupRouter) {
    this.workerIndex = workerIndex;
    this.control = control;
    this.router = router;
    control.onBroadcast(channel, (from, payload) => this.onMessage(from, payload as JoinMessage | LoadMessage));
    control.onWorkerGone((worker) => this.dropWorker(worker));
    control.onWorkerReady(() => this.announceAll());
  }

  /** How runs of `layout` are taken apart, and what they are hashed by: their topic where nothing is said. */
  registerSplitter(layout: number, splitter: RunSplitter, keys: RunKeys = topicKeys): void {
    this.splitters.set(layout, splitter);
    this.keys.set(layout, keys);
  }

  keysOf(layout: number): RunKeys {
    return this.keys.get(layout) ?? topicKeys;
  }

  /** Whether a group is kept: its members get from the message logs what `RunKeys.comesKept` says. */
  setKept(name: string, filter: string, isKept: boolean): void {
    const key = `${name}/${filter}`;
    if (isKept) this.kept.add(key);
    else this.kept.delete(key);
    const group = this.groups.get(key);
    if (group !== undefined) group.isKept = isKept;
  }

  /** Nothing is told to other workers any more. */
  stop(): void {
    if (this.loadTimer !== null) clearInterval(this.loadTimer);
    this.loadTimer = null;
  }

  split(run: Run, part: Run, visit: () => void): void {
    (this.splitters.get(run.layout) as RunSplitter)(run, part, visit);
  }

  /** Adds a member on this worker; `done` runs when every worker knows it. Answers its id. */
  join(name: string, filter: string, local: LocalMember, done: () => void, options: JoinOptions = {}): number {
    const { strategy = 'round-robin', seed = 0 } = options;
    const id = this.nextId++;
    const group = this.groupOf(name, filter, strategy);
    const member = new GroupMember(this.workerIndex, id, seed, local, true);
    this.addMember(group, member);
    this.locals.set(id, { group, member, toldLoad: 0, wasSent: false });
    if (group.strategy === 'least-inflight') this.reportLoads();
    this.control.broadcast(channel, this.messageOf('join', group, member), done);
    return id;
  }

  /**
   * Puts another target in the place of a member on this worker, which keeps its id and its turn. `done` runs when every
   * worker knows the member, also when its `join` is still on its way.
   */
  replace(id: number, local: LocalMember, done: () => void): void {
    const entry = this.locals.get(id);
    assert(entry !== undefined, 'only a member can be replaced');
    entry.member.local = local;
    this.control.broadcast(channel, this.messageOf('status', entry.group, entry.member), done);
  }

  leave(id: number): void {
    const entry = this.locals.get(id);
    if (entry === undefined) return;
    this.locals.delete(id);
    this.former.set(id, entry.group.key);
    this.removeMember(entry.group, (member) => member === entry.member);
    this.control.broadcast(channel, this.messageOf('leave', entry.group, entry.member), () => {
      // Nobody sends to it any more, and what was sent before lies in the rings.
      this.router.catchUp();
      this.former.delete(id);
    });
  }

  /**
   * The member's `isOnline` changed; `done` runs when every worker knows and what they had sent before was received.
   */
  statusChanged(id: number, done: () => void): void {
    const entry = this.locals.get(id);
    if (entry === undefined) return;
    this.control.broadcast(channel, this.messageOf('status', entry.group, entry.member), () => {
      this.router.catchUp();
      done();
    });
  }

  /** Whether `redeliver` would find somebody. */
  hasTaker(name: string, filter: string, exceptId: number, mayWait: boolean): boolean {
    const members = this.groups.get(`${name}/${filter}`)?.members ?? [];
    return members.some((one) => (one.local === null || one.id !== exceptId) && (mayWait || one.isOnline));
  }

  /**
   * Gives what a member of this worker could not finish to another one. False when the group has nobody for it: no
   * other member, or none that is online unless `mayWait` says that it may wait for one.
   */
  redeliver(name: string, filter: string, run: Run, exceptId: number, mayWait: boolean): boolean {
    const group = this.groups.get(`${name}/${filter}`);
    const member = group?.choose(run) ?? null;
    if (group === undefined || member === null) return false;
    if (member.local !== null && member.id === exceptId) return false;
    if (!member.isOnline && !mayWait) return false;
    if (!group.giveTo(member, run)) this.keep(group, run);
    return true;
  }

  /** Groups whose filter matches the topic, or null when there are none. */
  match(topic: string): readonly Group[] | null {
    if (this.groups.size === 0) return null;
    const found: Group[] = [];
    this.index.match(topic, found);
    return found.length === 0 ? null : found;
  }

  deliverToMember(id: number, run: Run): void {
    const entry = this.locals.get(id);
    if (entry !== undefined) {
      entry.wasSent = true;
      entry.member.local?.deliver(run);
      return;
    }
    // It left while the publication was on its way: the next one of the group takes it.
    this.groups.get(this.former.get(id) ?? '')?.share(run);
  }

  // ---- members elsewhere

  hasRoom(bytes: number): boolean {
    return this.waiting.length === 0 && this.router.hasRoom(bytes);
  }

  send(member: GroupMember, part: Run): boolean {
    // What waits goes first, so that the order is kept.
    if (this.waiting.length > 0 && !this.isFlushing) return false;
    return this.router.sendToMember(member.worker, member.id, part);
  }

  /** The ring turned out to be full within a run, or a member that left passed something on. */
  keep(group: Group, part: Run): void {
    const bytes = part.end - part.start;
    if (this.waitingBytes + bytes > waitingBytesMax) {
      this.router.dropped(part);
      return;
    }
    this.waiting.push({ key: group.key, run: copyOf(part) });
    this.waitingBytes += bytes;
    if (this.waiting.length === 1) this.router.whenRoom(() => this.flush());
  }

  private flush(): void {
    this.isFlushing = true;
    let sent = 0;
    for (const { key, run } of this.waiting) {
      const group = this.groups.get(key);
      if (group !== undefined && !group.give(run)) break;
      this.waitingBytes -= run.end - run.start;
      sent++;
    }
    this.waiting.splice(0, sent);
    this.isFlushing = false;
    if (this.waiting.length > 0) this.router.whenRoom(() => this.flush());
  }

  get groupCount(): number {
    return this.groups.size;
  }

  /** Of all groups of the node. */
  *filters(): Iterable<string> {
    for (const { filter } of this.groups.values()) yield filter;
  }

  private messageOf(kind: JoinMessage['kind'], group: Group, member: GroupMember): JoinMessage {
    const { key, filter, strategy } = group;
    const { id, seed, isOnline } = member;
    return { kind, group: key, filter, id, isOnline, strategy, seed };
  }

  /** Tells the others how busy the members here are, as long as there are some in groups that choose by that. */
  private reportLoads(): void {
    if (this.loadTimer !== null) return;
    this.loadTimer = setInterval(() => {
      const loads: [number, number][] = [];
      let isNeeded = false;
      for (const [id, entry] of this.locals) {
        if (entry.group.strategy !== 'least-inflight') continue;
        isNeeded = true;
        const { load } = entry.member;
        // Others count what they send on top of what they were told, so that this has to be corrected too.
        if (load === entry.toldLoad && !entry.wasSent) continue;
        entry.toldLoad = load;
        entry.wasSent = false;
        loads.push([id, load]);
      }
      if (!isNeeded) this.stop();
      else if (loads.length > 0) this.control.broadcast(channel, { kind: 'loads', loads }, () => undefined);
    }, loadReportMs);
    this.loadTimer.unref();
  }

  private groupOf(name: string, filter: string, strategy: GroupStrategy): Group {
    const key = `${name}/${filter}`;
    const known = this.groups.get(key);
    if (known !== undefined) return known;
    const group = new Group(this, key, filter, strategy);
    group.isKept = this.kept.has(key);
    this.groups.set(key, group);
    this.index.add(filter, group);
    return group;
  }

  private addMember(group: Group, member: GroupMember): void {
    group.members.push(member);
    group.chooser.changed();
    if (member.local === null) this.remotes.set(remoteKey(member.worker, member.id), member);
    this.router.changed(group.filter);
  }

  private removeMember(group: Group, matches: (member: GroupMember) => boolean): void {
    for (let at = group.members.length - 1; at >= 0; at--) {
      const member = group.members[at] as GroupMember;
      if (!matches(member)) continue;
      group.members.splice(at, 1);
      if (member.local === null) this.remotes.delete(remoteKey(member.worker, member.id));
    }
    group.chooser.changed();
    if (group.members.length === 0 && this.groups.delete(group.key)) this.index.remove(group.filter, group);
    this.router.changed(group.filter);
  }

  private onMessage(from: number, message: JoinMessage | LoadMessage): void {
    if (message.kind === 'loads') {
      this.takeLoads(from, message);
      return;
    }
    const isIt = (member: GroupMember): boolean => member.worker === from && member.id === message.id;
    const name = message.group.slice(0, message.group.length - message.filter.length - 1);
    if (message.kind === 'leave') {
      const group = this.groups.get(message.group);
      if (group !== undefined) this.removeMember(group, isIt);
      return;
    }
    const group = this.groupOf(name, message.filter, message.strategy);
    const known = group.members.find(isIt);
    if (known !== undefined) known.setOnline(message.isOnline);
    else this.addMember(group, new GroupMember(from, message.id, message.seed, null, message.isOnline));
  }

  private takeLoads(from: number, { loads }: LoadMessage): void {
    for (const [id, load] of loads) this.remotes.get(remoteKey(from, id))?.setLoad(load);
  }

  private dropWorker(worker: number): void {
    for (const group of [...this.groups.values()]) this.removeMember(group, (member) => member.worker === worker);
  }

  /** A worker came that knows nothing yet; the others ignore what they know. */
  private announceAll(): void {
    for (const { group, member } of this.locals.values()) {
      this.control.broadcast(channel, this.messageOf('join', group, member), () => undefined);
    }
  }
}

/** One number for worker (at most 64) and id (counts up from 1). */
function remoteKey(worker: number, id: number): number {
  return id * 64 + worker;
}
