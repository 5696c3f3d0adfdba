/**
 * Groups whose members share the publications of a filter: each publication goes to one member, on whichever worker it
 * lives. Every worker knows all members of all groups (they are told by broadcast, and a new member counts once every
 * worker has answered), so that the worker on which a publication arrives chooses the member itself, round robin.
 * Thread: one connection worker.
 */
import { assert } from '../../std/assert.ts';
import type { ControlPlane } from '../ports/control-plane.ts';
import { SubscriptionIndex } from '../routing/subscription-index.ts';
import type { SharedGroupTarget, Target } from './route.ts';
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

/** A member on this worker. */
export interface LocalMember extends Target {
  /** False while nobody is connected: others are preferred. */
  readonly isOnline: boolean;
}

interface Member {
  readonly worker: number;
  readonly id: number;
  local: LocalMember | null;
  isOnline: boolean;
}

interface JoinMessage {
  readonly kind: 'join' | 'leave' | 'status';
  readonly group: string;
  readonly filter: string;
  readonly id: number;
  readonly isOnline: boolean;
}

/**
 * Calls `visit` once per publication of `run`, with `part` holding that one; registered by the protocol that owns the
 * layout. `part` is valid during the call.
 */
export type RunSplitter = (run: Run, part: Run, visit: () => void) => void;

class Group implements SharedGroupTarget {
  readonly key: string;
  readonly filter: string;
  readonly members: Member[] = [];
  private next = 0;
  private readonly owner: SharedGroups;
  private readonly part = new Run();

  constructor(owner: SharedGroups, key: string, filter: string) {
    this.owner = owner;
    this.key = key;
    this.filter = filter;
  }

  hasRoomFor(run: Run): boolean {
    if (!this.members.some((member) => member.local === null)) return true;
    // The worst case: each publication in a record of its own, with its head and padding.
    return this.owner.hasRoom(run.end - run.start + run.count * (run.topicBytes.length + 128));
  }

  share(run: Run): void {
    const { part } = this;
    this.owner.split(run, part, () => {
      if (!this.give(part)) this.owner.keep(this, part);
    });
  }

  /** False when the member lives elsewhere and cannot be sent anything now. */
  give(part: Run): boolean {
    const member = this.choose();
    if (member === null) return true;
    if (member.local === null) return this.owner.send(member, part);
    member.local.deliver(part);
    return true;
  }

  /** Round robin over the members that are online; over all of them when none is. */
  private choose(): Member | null {
    const { members } = this;
    for (let step = 0; step < members.length; step++) {
      const member = members[this.next++ % members.length] as Member;
      if (member.local === null ? member.isOnline : member.local.isOnline) return member;
    }
    return members.length === 0 ? null : (members[this.next++ % members.length] as Member);
  }
}

export class SharedGroups {
  readonly router: GroupRouter;
  private readonly workerIndex: number;
  private readonly control: ControlPlane;
  private readonly groups = new Map<string, Group>();
  private readonly index = new SubscriptionIndex<Group>();
  private readonly locals = new Map<number, { group: Group; member: Member }>();
  /** Groups of members that left, until nothing for them is on its way any more. */
  private readonly former = new Map<number, string>();
  private readonly splitters = new Map<number, RunSplitter>();
  /** Publications that could not be sent, oldest first; whoever is the next member by then gets them. */
  private waiting: { readonly key: string; readonly run: Run }[] = [];
  private waitingBytes = 0;
  private isFlushing = false;
  private nextId = 1;

  constructor(workerIndex: number, control: ControlPlane, router: GroupRouter) {
    this.workerIndex = workerIndex;
    this.control = control;
    this.router = router;
    control.onBroadcast(channel, (from, payload) => this.onMessage(from, payload as JoinMessage));
    control.onWorkerGone((worker) => this.dropWorker(worker));
    control.onWorkerReady(() => this.announceAll());
  }

  registerSplitter(layout: number, splitter: RunSplitter): void {
    this.splitters.set(layout, splitter);
  }

  split(run: Run, part: Run, visit: () => void): void {
    (this.splitters.get(run.layout) as RunSplitter)(run, part, visit);
  }

  /** Adds a member on this worker; `done` runs when every worker knows it. Answers its id. */
  join(name: string, filter: string, local: LocalMember, done: () => void): number {
    const id = this.nextId++;
    const group = this.groupOf(name, filter);
    const member: Member = { worker: this.workerIndex, id, local, isOnline: true };
    this.addMember(group, member);
    this.locals.set(id, { group, member });
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

  /** The member's `isOnline` changed. */
  statusChanged(id: number): void {
    const entry = this.locals.get(id);
    if (entry === undefined) return;
    this.control.broadcast(channel, this.messageOf('status', entry.group, entry.member), () => undefined);
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

  send(member: Member, part: Run): boolean {
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

  private messageOf(kind: JoinMessage['kind'], group: Group, member: Member): JoinMessage {
    return { kind, group: group.key, filter: group.filter, id: member.id, isOnline: member.local?.isOnline ?? false };
  }

  private groupOf(name: string, filter: string): Group {
    const key = `${name}/${filter}`;
    const known = this.groups.get(key);
    if (known !== undefined) return known;
    const group = new Group(this, key, filter);
    this.groups.set(key, group);
    this.index.add(filter, group);
    return group;
  }

  private addMember(group: Group, member: Member): void {
    group.members.push(member);
    this.router.changed(group.filter);
  }

  private removeMember(group: Group, matches: (member: Member) => boolean): void {
    for (let at = group.members.length - 1; at >= 0; at--) {
      if (matches(group.members[at] as Member)) group.members.splice(at, 1);
    }
    if (group.members.length === 0 && this.groups.delete(group.key)) this.index.remove(group.filter, group);
    this.router.changed(group.filter);
  }

  private onMessage(from: number, message: JoinMessage): void {
    const isIt = (member: Member): boolean => member.worker === from && member.id === message.id;
    const name = message.group.slice(0, message.group.length - message.filter.length - 1);
    if (message.kind === 'leave') {
      const group = this.groups.get(message.group);
      if (group !== undefined) this.removeMember(group, isIt);
      return;
    }
    const group = this.groupOf(name, message.filter);
    const known = group.members.find(isIt);
    if (known !== undefined) known.isOnline = message.isOnline;
    else this.addMember(group, { worker: from, id: message.id, local: null, isOnline: message.isOnline });
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
