/** How much the tenants keep, and whether there is room for one more value. Thread: the owner of the values. */
import type { RetainedLimits, RetainedRefusal } from './retained-value.ts';

interface Usage {
  count: number;
  bytes: number;
}

const nothing: Usage = { count: 0, bytes: 0 };

/** The value that would be replaced. */
export interface Present {
  readonly tenant: string;
  readonly bytes: number;
}

export class RetainedUsage {
  count = 0;
  bytes = 0;
  private readonly limits: RetainedLimits;
  /** Tenants that keep something. */
  private readonly tenants = new Map<string, Usage>();

  constructor(limits: RetainedLimits) {
    this.limits = limits;
  }

  /** A value of `tenant` came (`count` 1), went (-1), or changed in size (0). */
  add(tenant: string, count: number, bytes: number): void {
    this.count += count;
    this.bytes += bytes;
    const usage = this.tenants.get(tenant);
    if (usage === undefined) {
      this.tenants.set(tenant, { count, bytes });
      return;
    }
    usage.count += count;
    usage.bytes += bytes;
    if (usage.count === 0) this.tenants.delete(tenant);
  }

  of(tenant: string): Readonly<Usage> {
    return this.tenants.get(tenant) ?? nothing;
  }

  /** Which limit refuses a value of `bytes` in place of `present`; null when none does. Nothing refuses what becomes smaller. */
  refusalOf(tenant: string, bytes: number, present: Present | null): RetainedRefusal | null {
    const { countMax, bytesMax, tenantCountMax, tenantBytesMax } = this.limits;
    const more = bytes - (present?.bytes ?? 0);
    if (present === null && this.count >= countMax) return 'count';
    if (more > 0 && this.bytes + more > bytesMax) return 'bytes';
    const isOwn = present?.tenant === tenant;
    const own = this.of(tenant);
    if (!isOwn && tenantCountMax !== undefined && own.count >= tenantCountMax) return 'tenant-count';
    const ownMore = isOwn ? more : bytes;
    if (ownMore > 0 && tenantBytesMax !== undefined && own.bytes + ownMore > tenantBytesMax) return 'tenant-bytes';
    return null;
  }
}
