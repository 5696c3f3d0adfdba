/**
 * How much of each tenant waits for its time, on the whole node. Pure; one per connection worker. A worker adds what it accepts and tells
 * the others now and then, so a limit may be passed by what is accepted meanwhile.
 *
 * Nothing is taken out message by message: what waits is counted in the span of time in which it becomes due, and a span that is over
 * counts no more. So a cancelled message counts until it would have been due. Spans are short for short delays, so that they are over
 * soon behind the last of their messages.
 */

/** Width of a span by the delay: a second up to two minutes, a minute up to two hours, an hour beyond. */
const widths = [
  { delayMsMax: 120_000, widthMs: 1_000 },
  { delayMsMax: 7_200_000, widthMs: 60_000 },
] as const;
const widestMs = 3_600_000;
/** Tenants beyond that are not counted by themselves. */
const tenantsMax = 10_000;

export interface Amount {
  readonly count: number;
  readonly bytes: number;
}

/** What becomes due before `endMs`. Plain data: it crosses threads and is stored. */
export interface UsageSpan extends Amount {
  readonly tenant: string;
  readonly endMs: number;
}

interface TenantUsage {
  count: number;
  bytes: number;
  nextEndMs: number;
  /** By end. */
  readonly spans: Map<number, { count: number; bytes: number }>;
}

const nothing: Amount = { count: 0, bytes: 0 };

export class DelayedUsage {
  private readonly tenants = new Map<string, TenantUsage>();

  add({ tenant, endMs, count, bytes }: UsageSpan): void {
    let usage = this.tenants.get(tenant);
    if (usage === undefined) {
      if (this.tenants.size >= tenantsMax) return;
      usage = { count: 0, bytes: 0, nextEndMs: Number.POSITIVE_INFINITY, spans: new Map() };
      this.tenants.set(tenant, usage);
    }
    let span = usage.spans.get(endMs);
    if (span === undefined) {
      span = { count: 0, bytes: 0 };
      usage.spans.set(endMs, span);
      usage.nextEndMs = Math.min(usage.nextEndMs, endMs);
    }
    span.count += count;
    span.bytes += bytes;
    usage.count += count;
    usage.bytes += bytes;
  }

  of(tenant: string, nowMs: number): Amount {
    const usage = this.tenants.get(tenant);
    if (usage === undefined) return nothing;
    if (nowMs >= usage.nextEndMs) this.forgetPast(tenant, usage, nowMs);
    return usage;
  }

  /** Messages of all tenants. */
  total(nowMs: number): number {
    let count = 0;
    for (const tenant of [...this.tenants.keys()]) count += this.of(tenant, nowMs).count;
    return count;
  }

  spans(nowMs: number): readonly UsageSpan[] {
    const found: UsageSpan[] = [];
    for (const tenant of [...this.tenants.keys()]) {
      this.of(tenant, nowMs);
      for (const [endMs, { count, bytes }] of this.tenants.get(tenant)?.spans ?? [])
        found.push({ tenant, endMs, count, bytes });
    }
    return found;
  }

  private forgetPast(tenant: string, usage: TenantUsage, nowMs: number): void {
    usage.nextEndMs = Number.POSITIVE_INFINITY;
    for (const [endMs, { count, bytes }] of usage.spans) {
      if (endMs > nowMs) {
        usage.nextEndMs = Math.min(usage.nextEndMs, endMs);
        continue;
      }
      usage.spans.delete(endMs);
      usage.count -= count;
      usage.bytes -= bytes;
    }
    if (usage.spans.size === 0) this.tenants.delete(tenant);
  }
}

/** The end of the span that a message counts in. */
export function spanEnd(dueMs: number, nowMs: number): number {
  const delayMs = Math.max(0, dueMs - nowMs);
  const widthMs = widths.find(({ delayMsMax }) => delayMs <= delayMsMax)?.widthMs ?? widestMs;
  return (Math.floor(dueMs / widthMs) + 1) * widthMs;
}

/** Null for what is no such list: it may come from a disk. */
export function spansOf(value: unknown): readonly UsageSpan[] | null {
  if (!Array.isArray(value)) return null;
  const isSpan = (each: unknown): each is UsageSpan => {
    if (typeof each !== 'object' || each === null) return false;
    const { tenant, endMs, count, bytes } = each as Partial<Record<keyof UsageSpan, unknown>>;
    return typeof tenant === 'string' && isAmount(endMs) && isAmount(count) && isAmount(bytes);
  };
  return value.every(isSpan) ? value : null;
}

function isAmount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}
