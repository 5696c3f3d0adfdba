/**
 * Tells lost, duplicated and reordered messages apart by the sequence numbers of one publisher seen by one subscriber.
 *
 * The common case, the number that was expected, is answered by the caller with one comparison. Everything else comes
 * here: gaps are kept as ranges, so that a broker which drops thousands costs one entry. Pure; thread of the harness.
 */

/** Ranges remembered per publisher and subscriber; beyond it the oldest counts as lost for good. */
const MAX_GAPS = 4096;

export class SequenceTracker {
  /** Came twice. */
  duplicated = 0;
  /** Came after a later one. */
  reordered = 0;
  private readonly gapsBySlot = new Map<number, { from: number; to: number }[]>();

  /**
   * Takes `sequence` where `expected` should have come; `slot` names the pair of publisher and subscriber.
   * Returns what is expected next.
   */
  takeUnexpected(slot: number, expected: number, sequence: number): number {
    if (sequence > expected) {
      this.addGap(slot, expected, sequence);
      return sequence + 1;
    }
    if (this.fillGap(slot, sequence)) this.reordered++;
    else this.duplicated++;
    return expected;
  }

  private addGap(slot: number, from: number, to: number): void {
    const gaps = this.gapsBySlot.get(slot);
    if (gaps === undefined) this.gapsBySlot.set(slot, [{ from, to }]);
    else {
      gaps.push({ from, to });
      if (gaps.length > MAX_GAPS) gaps.shift();
    }
  }

  /** Takes `sequence` out of the gap that holds it; false when there is none. */
  private fillGap(slot: number, sequence: number): boolean {
    const gaps = this.gapsBySlot.get(slot);
    if (gaps === undefined) return false;
    const index = gaps.findIndex((gap) => gap.from <= sequence && sequence < gap.to);
    if (index < 0) return false;
    const { from, to } = gaps[index];
    const rest = [];
    if (from < sequence) rest.push({ from, to: sequence });
    if (sequence + 1 < to) rest.push({ from: sequence + 1, to });
    gaps.splice(index, 1, ...rest);
    return true;
  }
}
