/**
 * Where messages of one key go, in groups that keep them in order: to the member that has some of the key, as long as it is there and
 * has not settled them; and behind those of the key that wait. Bounded by the open messages. Thread: the owner of the group.
 */
import type { Member } from './group-member.ts';

interface Lane {
  member: Member | null;
  given: number;
  waiting: number;
}

export class GroupLanes {
  readonly #lanes = new Map<number, Lane>();

  /** Who is there and has messages of the key: the others come behind them, or wait until it has none. Null: nobody. */
  holder(hash: number): Member | null {
    const lane = this.#lanes.get(hash);
    return lane !== undefined && lane.given > 0 && lane.member?.isOnline === true ? lane.member : null;
  }

  isWaiting(hash: number): boolean {
    return (this.#lanes.get(hash)?.waiting ?? 0) > 0;
  }

  waits(hash: number): void {
    this.#lane(hash).waiting += 1;
  }

  waitsNoMore(hash: number): void {
    const lane = this.#lane(hash);
    lane.waiting -= 1;
    this.#sweep(hash, lane);
  }

  given(hash: number, member: Member): void {
    const lane = this.#lane(hash);
    // Those of a member that is away do not hold up the key: see docs/internals/sessions.md.
    if (lane.member !== member) lane.given = 0;
    lane.member = member;
    lane.given += 1;
  }

  takenFrom(hash: number, member: Member): void {
    const lane = this.#lanes.get(hash);
    if (lane === undefined || lane.member !== member || lane.given === 0) return;
    lane.given -= 1;
    this.#sweep(hash, lane);
  }

  get size(): number {
    return this.#lanes.size;
  }

  #lane(hash: number): Lane {
    const known = this.#lanes.get(hash);
    if (known !== undefined) return known;
    const lane = { member: null, given: 0, waiting: 0 };
    this.#lanes.set(hash, lane);
    return lane;
  }

  #sweep(hash: number, lane: Lane): void {
    if (lane.given <= 0 && lane.waiting <= 0) this.#lanes.delete(hash);
  }
}
