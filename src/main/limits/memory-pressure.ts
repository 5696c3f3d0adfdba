/**
 * Whether the process has so much memory that it should take no more connections. Main thread, owned by the broker, asked by
 * the acceptor. Looks at the resident memory at most once in a while, and only when somebody asks.
 */
import { totalmem } from 'node:os';

/** What changes slower than this is seen in time; asking the kernel takes some 20 us. */
const lookEveryMs = 250;
/** Of what the process may have, when the configuration names no bound. */
const shareMax = 0.9;

export class MemoryPressure {
  private readonly bytesMax: number;
  private readonly residentBytes: () => number;
  private readonly now: () => number;
  private lookedAtMs = Number.NEGATIVE_INFINITY;
  private isHigh = false;

  /** `bytesMax` 0: a share of what the machine, or the control group around the process, has. */
  constructor(
    bytesMax: number,
    residentBytes = (): number => process.memoryUsage.rss(),
    now = (): number => performance.now(),
  ) {
    this.bytesMax = bytesMax > 0 ? bytesMax : availableBytes() * shareMax;
    this.residentBytes = residentBytes;
    this.now = now;
  }

  get isTooHigh(): boolean {
    const nowMs = this.now();
    if (nowMs - this.lookedAtMs >= lookEveryMs) {
      this.lookedAtMs = nowMs;
      this.isHigh = this.residentBytes() > this.bytesMax;
    }
    return this.isHigh;
  }
}

/** Without a control group, or in one without a limit, the kernel names none or an absurd one. */
function availableBytes(): number {
  const constrained = process.constrainedMemory();
  return constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
}
