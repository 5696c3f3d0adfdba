/**
 * A token bucket per message text, so that one event that repeats cannot flood the log. Used by the loggers of every
 * thread; time is an argument.
 */

/** Texts that are told apart; the texts of messages are constants, so there are never as many in one thread. */
const textsMax = 256;

interface Bucket<T> {
  tokens: number;
  refilledMs: number;
  suppressed: number;
  tag: T;
}

export interface Suppressed<T> {
  readonly text: string;
  /** Tag of the last suppressed message. */
  readonly tag: T;
  readonly count: number;
}

export class RepeatLimiter<T> {
  private readonly perSecond: number;
  private readonly buckets = new Map<string, Bucket<T>>();
  /** Counts of buckets that had to make room, until they are taken. */
  private readonly evicted: Suppressed<T>[] = [];

  /** `perSecond` is the rate and the size of a burst. */
  constructor(perSecond: number) {
    this.perSecond = perSecond;
  }

  /** Whether a message may be written now; otherwise it is counted. */
  admit(text: string, tag: T, nowMs: number): boolean {
    const bucket = this.bucketOf(text, tag, nowMs);
    // A clock that was set back must not take tokens away.
    const elapsedMs = Math.max(0, nowMs - bucket.refilledMs);
    bucket.tokens = Math.min(this.perSecond, bucket.tokens + (elapsedMs * this.perSecond) / 1000);
    bucket.refilledMs = nowMs;
    bucket.tag = tag;
    if (bucket.tokens < 1) {
      bucket.suppressed++;
      return false;
    }
    bucket.tokens--;
    return true;
  }

  /** What was suppressed since the last call, by text. */
  takeSuppressed(): Suppressed<T>[] {
    const taken = this.evicted.splice(0);
    for (const [text, bucket] of this.buckets) {
      if (bucket.suppressed > 0) taken.push({ text, tag: bucket.tag, count: bucket.suppressed });
      bucket.suppressed = 0;
    }
    return taken;
  }

  private bucketOf(text: string, tag: T, nowMs: number): Bucket<T> {
    let bucket = this.buckets.get(text);
    if (bucket === undefined) {
      if (this.buckets.size === textsMax) this.evictOldest();
      bucket = { tokens: this.perSecond, refilledMs: nowMs, suppressed: 0, tag };
      this.buckets.set(text, bucket);
    }
    return bucket;
  }

  private evictOldest(): void {
    for (const [text, { suppressed, tag }] of this.buckets) {
      // Bounded as the buckets are: what does not fit any more is not summarized.
      if (suppressed > 0 && this.evicted.length < textsMax) this.evicted.push({ text, tag, count: suppressed });
      this.buckets.delete(text);
      return;
    }
  }
}
