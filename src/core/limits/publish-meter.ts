/**
 * How fast one client may publish: its own rates and those of its tenant, looked at once for a run of messages. A client
 * without such a limit has no meter and pays nothing. Lives on the connection's worker.
 */
import type { LimitKind } from '../../observability/limit-metrics.ts';
import type { Rate } from './rate.ts';

export interface MeteredRate {
  readonly limit: LimitKind;
  readonly unit: 'messages' | 'bytes';
  readonly rate: Rate;
}

/** A client that has to wait is asked again at least so often, ms: it is alive meanwhile, whatever it promised to send. */
const waitMsMax = 1_000;

export class PublishMeter {
  private readonly rates: readonly MeteredRate[];

  constructor(rates: readonly MeteredRate[]) {
    this.rates = rates;
  }

  /** How many messages may be published now; 0: none, see `waitMs`. */
  countMax(nowMs: number): number {
    let count = Number.MAX_SAFE_INTEGER;
    for (const { rate, unit } of this.rates) {
      const available = rate.available(nowMs);
      // Bytes are counted when they have come: what was too much is waited for afterwards.
      if (unit === 'messages') count = Math.min(count, Math.floor(available));
      else if (available <= 0) count = 0;
    }
    return Math.max(0, count);
  }

  spend(messages: number, bytes: number, nowMs: number): void {
    for (const { rate, unit } of this.rates) rate.spend(unit === 'messages' ? messages : bytes, nowMs);
  }

  /** For how long the client has to wait, whole ms from 1 on, and which limit wants it. */
  wait(nowMs: number): { readonly ms: number; readonly limit: LimitKind } {
    let longest = this.rates[0];
    let ms = 0;
    for (const each of this.rates) {
      const own = each.rate.waitMs(1, nowMs);
      if (own <= ms) continue;
      ms = own;
      longest = each;
    }
    return { ms: Math.min(waitMsMax, Math.max(1, Math.ceil(ms))), limit: longest.limit };
  }
}
