/** A member of a group and the messages that it has, as the owner of the group knows them. Thread: the owner of the group. */
import { GroupMember } from '../../broker/group-strategies.ts';
import type { MemberState } from './group-messages.ts';

/** A message that the group has seen and nobody has settled. */
export class OpenMessage {
  readonly partition: number;
  readonly offset: number;
  /** Who has it; null: it waits. */
  member: Member | null = null;
  /** The fields that follow were read from it. */
  isKnown = false;
  grade: 0 | 1 | 2 = 1;
  hash = 0;
  expiresAtMs = 0;
  timestamp = 0;
  /** With which grade the member has it. */
  givenGrade: 0 | 1 | 2 = 1;
  /** It may have been sent to somebody. */
  isDoubtful = false;

  constructor(partition: number, offset: number) {
    this.partition = partition;
    this.offset = offset;
  }
}

export class Member {
  readonly id: string;
  slot = -1;
  epoch = -1;
  isOnline = false;
  isDurable = false;
  credit = 0;
  grade: 0 | 1 | 2 = 0;
  readonly held = new Set<OpenMessage>();
  /** As the strategies see it. */
  proxy: GroupMember;
  readonly #ownerSlot: number;
  readonly #number: number;
  /** Whether strategies see only members that have room. */
  readonly #asRoom: boolean;

  constructor(id: string, number: number, ownerSlot: number, asRoom: boolean) {
    this.id = id;
    this.#number = number;
    this.#ownerSlot = ownerSlot;
    this.#asRoom = asRoom;
    this.proxy = new GroupMember(0, number, 0, null, false);
  }

  /** It takes messages. */
  get isTaking(): boolean {
    return this.isOnline && this.credit > 0;
  }

  get hasRoom(): boolean {
    return this.isOnline && this.held.size < this.credit;
  }

  /** Takes over what its slot says, but for what it holds. */
  set(slot: number, state: MemberState): void {
    const isElsewhere = slot !== this.slot || state.seed !== this.proxy.seed;
    this.slot = slot;
    this.epoch = state.epoch;
    this.isOnline = state.isOnline;
    this.isDurable = state.isDurable;
    this.credit = state.credit;
    this.grade = state.grade;
    if (isElsewhere) this.proxy = this.#makeProxy(slot, state.seed);
    this.refresh();
  }

  /** What it holds, or whether it is there, changed. */
  refresh(): void {
    this.proxy.setOnline(this.#isSeen);
    this.proxy.setLoad(this.held.size);
  }

  get #isSeen(): boolean {
    return this.#asRoom ? this.hasRoom : this.isTaking;
  }

  /** Those of the owner's own slot are local. */
  #makeProxy(slot: number, seed: number): GroupMember {
    const isSeen = (): boolean => this.#isSeen;
    const loadOf = (): number => this.held.size;
    const local = {
      get isOnline() {
        return isSeen();
      },
      get load() {
        return loadOf();
      },
      deliver: () => undefined,
    };
    return new GroupMember(slot, this.#number, seed, slot === this.#ownerSlot ? local : null, this.#isSeen);
  }
}
