/**
 * How a shared group chooses the member that gets a publication. Every strategy prefers members that are online, and
 * takes one that is away only when all are. Called for each publication of a group; nothing here knows a protocol.
 * Thread: one connection worker; each worker chooses for what its own publishers send.
 */
import { hashString } from '../../std/hash.ts';
import type { Target } from './route.ts';
import type { Run } from './run.ts';

export const groupStrategies = [
  'round-robin',
  'random',
  'sticky',
  'local-first',
  'hash-publisher',
  'hash-topic',
  'hash-key',
  'least-inflight',
] as const;

export type GroupStrategy = (typeof groupStrategies)[number];

/** A member on this worker. */
export interface LocalMember extends Target {
  /** False while nobody is connected: others are preferred. */
  readonly isOnline: boolean;
  /** Publications that it was given and has not finished. */
  readonly load: number;
}

/** A member of a group as one worker knows it. */
export class GroupMember {
  readonly worker: number;
  readonly id: number;
  /** The same for a subscriber wherever and whenever it joins, so that hashes find it again. */
  readonly seed: number;
  /** Null for a member on another worker. */
  local: LocalMember | null;
  private remoteIsOnline: boolean;
  /** What its worker said last, and what it was sent since. */
  private remoteLoad = 0;

  constructor(worker: number, id: number, seed: number, local: LocalMember | null, isOnline: boolean) {
    this.worker = worker;
    this.id = id;
    this.seed = seed;
    this.local = local;
    this.remoteIsOnline = isOnline;
  }

  get isOnline(): boolean {
    return this.local === null ? this.remoteIsOnline : this.local.isOnline;
  }

  /** A member elsewhere came or went. */
  setOnline(isOnline: boolean): void {
    this.remoteIsOnline = isOnline;
  }

  get load(): number {
    return this.local === null ? this.remoteLoad : this.local.load;
  }

  /** What the worker of a member elsewhere says of it. */
  setLoad(load: number): void {
    this.remoteLoad = load;
  }

  countSent(): void {
    if (this.local === null) this.remoteLoad++;
  }
}

/** Numbers that a protocol finds in a run of its own; equal for equal clients and keys. */
export interface RunKeys {
  /** Of the client that published it. */
  publisherHash(run: Run): number;
  /** Of the key of the one publication in the run: publications with equal keys are to stay in order. */
  keyHash(run: Run): number;
  /** Whether members of a group that is kept get the run from the message logs; absent: never. */
  comesKept?(run: Run): boolean;
}

/** What the keys of a layout are when its protocol says nothing of them. */
export const topicKeys: RunKeys = {
  publisherHash: (run) => hashString(run.topic),
  keyHash: (run) => hashString(run.topic),
};

export interface Chooser {
  /** Whether all publications of a run go to one member, so that it need not be taken apart. */
  readonly takesRuns: boolean;
  /** One of `members`, which are not empty. */
  choose(members: readonly GroupMember[], run: Run, keys: RunKeys): GroupMember;
  /** Members came or went. */
  changed(): void;
}

/** The chooser of one group on one worker; `random` answers numbers in [0, 1). */
export function createChooser(strategy: GroupStrategy, random: () => number = Math.random): Chooser {
  switch (strategy) {
    case 'round-robin':
      return new InTurn(false);
    case 'local-first':
      return new InTurn(true);
    case 'random':
      return new AtRandom(random);
    case 'sticky':
      return new Sticky(random);
    case 'least-inflight':
      return new LeastLoaded(random);
    case 'hash-publisher':
      return new ByHash(true, (run, keys) => keys.publisherHash(run));
    case 'hash-topic':
      return new ByHash(true, (run) => hashString(run.topic));
    case 'hash-key':
      return new ByHash(false, (run, keys) => keys.keyHash(run));
  }
}

/** The first member from `start` on, in a circle, that passes; -1 when none does. */
function findFrom(members: readonly GroupMember[], start: number, passes: (member: GroupMember) => boolean): number {
  for (let step = 0; step < members.length; step++) {
    const at = (start + step) % members.length;
    if (passes(members[at] as GroupMember)) return at;
  }
  return -1;
}

const isOnline = (member: GroupMember): boolean => member.isOnline;
const isOnlineHere = (member: GroupMember): boolean => member.local?.isOnline === true;

class InTurn implements Chooser {
  readonly takesRuns = false;
  private readonly localFirst: boolean;
  private next = 0;

  constructor(localFirst: boolean) {
    this.localFirst = localFirst;
  }

  choose(members: readonly GroupMember[]): GroupMember {
    let at = this.localFirst ? findFrom(members, this.next, isOnlineHere) : -1;
    if (at < 0) at = findFrom(members, this.next, isOnline);
    if (at < 0) at = this.next % members.length;
    this.next = at + 1;
    return members[at] as GroupMember;
  }

  changed(): void {
    // The turn goes on from where it was; a number beyond the end begins again.
  }
}

function anyOnline(members: readonly GroupMember[], random: () => number): GroupMember {
  const start = Math.floor(random() * members.length);
  return members[Math.max(0, findFrom(members, start, isOnline))] as GroupMember;
}

class AtRandom implements Chooser {
  readonly takesRuns = false;
  private readonly random: () => number;

  constructor(random: () => number) {
    this.random = random;
  }

  choose(members: readonly GroupMember[]): GroupMember {
    return anyOnline(members, this.random);
  }

  changed(): void {
    // Nothing is remembered.
  }
}

/** One member gets everything until it leaves or goes offline. */
class Sticky implements Chooser {
  readonly takesRuns = true;
  private readonly random: () => number;
  private chosen: GroupMember | null = null;
  /** The chosen one may have left. */
  private mustLook = false;

  constructor(random: () => number) {
    this.random = random;
  }

  choose(members: readonly GroupMember[]): GroupMember {
    if (this.mustLook) {
      this.mustLook = false;
      if (this.chosen !== null && !members.includes(this.chosen)) this.chosen = null;
    }
    if (this.chosen === null || !this.chosen.isOnline) this.chosen = anyOnline(members, this.random);
    return this.chosen;
  }

  changed(): void {
    this.mustLook = true;
  }
}

/** Members compared for one publication: all of a small group, as many at random of a large one. */
const comparedMax = 16;

class LeastLoaded implements Chooser {
  readonly takesRuns = false;
  private readonly random: () => number;
  private next = 0;

  constructor(random: () => number) {
    this.random = random;
  }

  choose(members: readonly GroupMember[]): GroupMember {
    const isSmall = members.length <= comparedMax;
    let best: GroupMember | null = null;
    for (let step = 0; step < Math.min(members.length, comparedMax); step++) {
      const at = isSmall ? (this.next + step) % members.length : Math.floor(this.random() * members.length);
      const member = members[at] as GroupMember;
      if (member.isOnline && (best === null || member.load < best.load)) best = member;
    }
    this.next = (this.next + 1) % members.length; // Equals take turns.
    return best ?? anyOnline(members, this.random);
  }

  changed(): void {
    // Nothing is remembered.
  }
}

/** Places of one member on the circle of hashes, fewer in large groups: 4,096 in all, or one for each member. */
const placesMax = 32;
const placesOfGroupMax = 4_096;

/**
 * Consistent hashing: members have places on a circle of hashes, and a hash belongs to the next place. When a member
 * comes or goes, only the hashes between its places and those before them change hands.
 */
class ByHash implements Chooser {
  readonly takesRuns: boolean;
  private readonly hashOf: (run: Run, keys: RunKeys) => number;
  private places: Uint32Array<ArrayBuffer> | null = null;
  private owners: GroupMember[] = [];

  constructor(takesRuns: boolean, hashOf: (run: Run, keys: RunKeys) => number) {
    this.takesRuns = takesRuns;
    this.hashOf = hashOf;
  }

  choose(members: readonly GroupMember[], run: Run, keys: RunKeys): GroupMember {
    const places = this.places ?? this.build(members);
    const hash = mix(this.hashOf(run, keys));
    let low = 0;
    let high = places.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((places[middle] as number) < hash) low = middle + 1;
      else high = middle;
    }
    const { owners } = this;
    return owners[Math.max(0, findFrom(owners, low, isOnline))] as GroupMember;
  }

  changed(): void {
    this.places = null;
  }

  private build(members: readonly GroupMember[]): Uint32Array<ArrayBuffer> {
    const count = Math.max(1, Math.min(placesMax, Math.floor(placesOfGroupMax / members.length)));
    const all = members.flatMap((member) =>
      Array.from({ length: count }, (_, place) => ({ at: mix(member.seed + Math.imul(place, 0x9e3779b9)), member })),
    );
    // The same order on every worker, also for two members at one place.
    all.sort(
      (one, other) => one.at - other.at || one.member.worker - other.member.worker || one.member.id - other.member.id,
    );
    this.owners = all.map(({ member }) => member);
    this.places = Uint32Array.from(all, ({ at }) => at);
    return this.places;
  }
}

/** Spreads an int32 over all 32 bits (the finaliser of MurmurHash3), as an unsigned number. */
function mix(value: number): number {
  let hash = value ^ (value >>> 16);
  hash = Math.imul(hash, 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
