/**
 * Whether anybody on the node subscribes to a topic that begins with `$`: what the broker says of itself is not even put together while
 * nobody does. Thread: one connection worker; owned by its router.
 *
 * A worker with such a filter shows it to the others by one more filter in the interest table, which stands for all of them.
 * The answer is kept until the epoch of the table or a shared group changes, so that asking costs an atomic load.
 */
import type { InterestTable } from '../routing/interest-table.ts';
import { isHiddenTopic } from '../routing/topic.ts';
import { plainName } from '../tenants/tenant-names.ts';

/** Nothing is ever published to it. */
const marker = '$hidden';

export class HiddenInterest {
  private readonly interest: InterestTable;
  private readonly groupFilters: () => Iterable<string>;
  private filterCount = 0;
  private epoch = 0;
  private isKnown = false;
  private answer = false;

  /** `groupFilters`: those of shared groups, of which every worker knows all. */
  constructor(interest: InterestTable, groupFilters: () => Iterable<string>) {
    this.interest = interest;
    this.groupFilters = groupFilters;
  }

  added(filter: string): void {
    if (!isHidden(filter)) return;
    this.isKnown = false;
    this.filterCount++;
    if (this.filterCount === 1) this.interest.add(marker);
  }

  removed(filter: string): void {
    if (!isHidden(filter)) return;
    this.isKnown = false;
    this.filterCount--;
    if (this.filterCount === 0) this.interest.remove(marker);
  }

  groupChanged(filter: string): void {
    if (isHidden(filter)) this.isKnown = false;
  }

  /** Never false when somebody does; true for nobody only by collision in the table. */
  get isThere(): boolean {
    // Before the mask is computed, as for routes.
    const epoch = this.interest.epoch();
    if (!this.isKnown || epoch !== this.epoch) {
      this.epoch = epoch;
      this.isKnown = true;
      this.answer = this.filterCount > 0 || this.isElsewhere() || this.isInGroup();
    }
    return this.answer;
  }

  private isElsewhere(): boolean {
    this.interest.workersFor(marker);
    return (this.interest.maskLow | this.interest.maskHigh) !== 0;
  }

  private isInGroup(): boolean {
    for (const filter of this.groupFilters()) if (isHidden(filter)) return true;
    return false;
  }
}

/** As clients know it: what is below a tenant begins with `$` inside. */
function isHidden(filter: string): boolean {
  return isHiddenTopic(plainName(filter));
}
