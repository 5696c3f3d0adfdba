/**
 * Which topics are to be looked at when: those whose values expire, in slots of some seconds. A topic is in one slot, of the earliest
 * time that any of its values had since it was looked at last; a value that lives on is put into its own slot then. Pure; thread: the
 * owner of the values.
 *
 * There are at most `lookAheadS / slotS` slots: what expires later is looked at in between and put off again.
 */

/** Width of a slot. What has expired is not shown to anybody, so that this is only about the memory that it takes. */
const slotS = 4;
const lookAheadS = 3_600;

export class RetainedExpiry {
  private readonly slots = new Map<number, Set<string>>();
  private readonly slotOf = new Map<string, number>();
  private earliest = Number.POSITIVE_INFINITY;

  /** Topics that wait. */
  get size(): number {
    return this.slotOf.size;
  }

  /** Unix time in seconds at which there is something to do; infinity for never. */
  get dueS(): number {
    return this.earliest * slotS;
  }

  /** The value of `topic` expires at `expiresAtS`. */
  watch(topic: string, expiresAtS: number, nowS: number): void {
    const slot = Math.ceil(Math.min(expiresAtS, nowS + lookAheadS) / slotS);
    const present = this.slotOf.get(topic);
    if (present !== undefined) {
      if (present <= slot) return;
      this.forget(topic);
    }
    let topics = this.slots.get(slot);
    if (topics === undefined) {
      topics = new Set();
      this.slots.set(slot, topics);
      this.earliest = Math.min(this.earliest, slot);
    }
    topics.add(topic);
    this.slotOf.set(topic, slot);
  }

  /** The topic has no value any more. */
  forget(topic: string): void {
    const slot = this.slotOf.get(topic);
    if (slot === undefined) return;
    this.slotOf.delete(topic);
    const topics = this.slots.get(slot);
    topics?.delete(topic);
    if (topics?.size === 0) this.remove(slot);
  }

  /** Takes out up to `countMax` topics that are to be looked at now. */
  take(nowS: number, countMax: number): string[] {
    const taken: string[] = [];
    while (this.dueS <= nowS && taken.length < countMax) {
      const slot = this.earliest;
      for (const topic of this.slots.get(slot) ?? []) {
        if (taken.length === countMax) return taken;
        taken.push(topic);
        this.forget(topic);
      }
    }
    return taken;
  }

  private remove(slot: number): void {
    this.slots.delete(slot);
    if (slot !== this.earliest) return;
    this.earliest = Number.POSITIVE_INFINITY;
    for (const each of this.slots.keys()) this.earliest = Math.min(this.earliest, each);
  }
}
