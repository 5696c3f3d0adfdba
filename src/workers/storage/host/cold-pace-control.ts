/**
 * Finds how many bytes a second cold readers may take, so that the producers' syncs stay nearly as quick as they are without them: compares the slow
 * rounds of group commit beside cold reads with those without, once per second of reading, and goes down by a factor or up by a
 * step. When there are always readers it makes a pause of them now and then, to learn what the disk does without. Thread: the journal worker,
 * which tells it each round; without rounds nothing has to be spared. Time is an argument.
 */
import { type ColdPace, monotonicUs } from '../cold-pace.ts';

export interface ColdPaceLimits {
  /** Readers always get as much, so that they catch up, whatever it does to producers. */
  readonly minBytesPerS: number;
  /** 0: no pace. */
  readonly maxBytesPerS: number;
}

/** Rounds are sorted into times with and without readers in pieces of this length. */
const tickUs = 25_000;
/** Time with readers between two decisions. */
const periodUs = 1_000_000;
/** Without a round for so long nobody appends; or for some of the last one's time, on a slow disk. */
const activeUs = 1_000_000;
const activeRounds = 4;
/** A pause is due when there was too little time without readers since the last one, and lasts so long. */
const pauseEveryUs = 2_000_000;
const pauseUs = 200_000;

/** Slower than this, of the times without readers: too much. Quicker than the other: more is allowed. */
const tooSlow = 1.08;
const quickEnough = 1.03;
const downFactor = 0.6;
/** Until it was too much for the first time. */
const firstUpFactor = 1.15;
const upBytesPerS = 4 * 1024 * 1024;
const startBytesPerS = 48 * 1024 * 1024;
/** Share of what was allowed that readers must have used, or else more would be allowed for no reason. */
const usedShare = 0.6;
/** What is left of older times without readers when newer ones come. */
const keptShare = 0.8;

export class ColdPaceControl {
  readonly #pace: ColdPace;
  readonly #min: number;
  readonly #max: number;
  readonly #current = new RoundTimes();
  readonly #alone = new RoundTimes();
  readonly #beside = new RoundTimes();
  #limit: number;
  #isFirst = true;
  #tickStartUs = 0;
  #tickBytes = 0;
  /** Readers were at work in the tick before: what they asked for may still be on its way. */
  #wasRead = false;
  #besideUs = 0;
  #besideBytes = 0;
  /** Time without readers since the last decision or pause, and the end of the last pause. */
  #aloneUs = 0;
  #aloneAgeUs = 0;
  #pauseEndUs = 0;

  constructor(pace: ColdPace, { minBytesPerS, maxBytesPerS }: ColdPaceLimits) {
    this.#pace = pace;
    this.#max = maxBytesPerS;
    this.#min = Math.min(minBytesPerS, maxBytesPerS);
    this.#limit = this.#clamp(startBytesPerS);
    this.#tickBytes = pace.totals().bytes;
    pace.setLimit(this.#limit);
  }

  /** A round has ended that took so long, writes and syncs. */
  onRound(durationMs: number, nowUs = monotonicUs()): void {
    if (this.#max === 0) return;
    const durationUs = durationMs * 1000;
    this.#current.add(durationUs);
    if (nowUs - this.#tickStartUs < tickUs) return;
    this.#pace.activeUntil(nowUs + Math.max(activeUs, activeRounds * durationUs));
    this.#tick(nowUs);
  }

  #tick(nowUs: number): void {
    // Behind a time without rounds a tick is not longer than a pause: nothing is known of that time.
    const elapsedUs = Math.min(pauseUs, nowUs - this.#tickStartUs);
    const { bytes } = this.#pace.totals();
    const read = bytes - this.#tickBytes;
    this.#tickStartUs = nowUs;
    this.#tickBytes = bytes;
    if (read > 0) {
      this.#beside.take(this.#current);
      this.#besideUs += elapsedUs;
      this.#besideBytes += read;
    } else if (this.#wasRead) this.#current.clear();
    else {
      this.#alone.take(this.#current);
      this.#aloneUs += elapsedUs;
      this.#aloneAgeUs += elapsedUs;
      if (this.#aloneAgeUs >= periodUs) this.#ageAlone();
    }
    this.#wasRead = read > 0;
    if (this.#besideUs >= periodUs) this.#decide(nowUs);
    else if (read > 0) this.#pauseWhenDue(nowUs);
  }

  #pauseWhenDue(nowUs: number): void {
    if (nowUs - this.#pauseEndUs < pauseEveryUs) return;
    this.#pauseEndUs = nowUs;
    if (this.#aloneUs < pauseUs / 2) {
      this.#pauseEndUs += pauseUs;
      this.#pace.holdUntil(this.#pauseEndUs);
    }
    this.#aloneUs = 0;
  }

  #decide(nowUs: number): void {
    const share = shareFor(Math.min(this.#alone.count, this.#beside.count));
    if (share === null) {
      // Both go on being counted: with few appends it takes longer. Some day the older ones are too old.
      this.#pauseWhenDue(nowUs);
      if (this.#besideUs < 10 * periodUs) return;
    } else {
      const ratio = this.#beside.quantile(share) / this.#alone.quantile(share);
      const used = this.#besideBytes / (this.#besideUs / 1e6) / this.#limit;
      if (ratio > tooSlow) {
        this.#isFirst = false;
        this.#limit = this.#clamp(this.#limit * downFactor);
      } else if (ratio < quickEnough && used > usedShare) {
        const more = this.#isFirst ? this.#limit * firstUpFactor : this.#limit + upBytesPerS;
        this.#limit = this.#clamp(more);
      }
      this.#pace.setLimit(this.#limit);
    }
    this.#beside.clear();
    this.#besideUs = 0;
    this.#besideBytes = 0;
    this.#ageAlone();
  }

  #ageAlone(): void {
    this.#alone.scale(keptShare);
    this.#aloneAgeUs = 0;
  }

  #clamp(bytesPerS: number): number {
    return Math.round(Math.min(this.#max, Math.max(this.#min, bytesPerS)));
  }
}

/** How far into the slow rounds so few of them let one look; null: not at all. */
function shareFor(rounds: number): number | null {
  if (rounds >= 400) return 0.99;
  return rounds >= 40 ? 0.9 : null;
}

const bucketStep = 1.02;
const leastUs = 10;
const bucketCount = Math.ceil(Math.log(1e8 / leastUs) / Math.log(bucketStep));

/** Durations, in buckets of 2 %. */
class RoundTimes {
  count = 0;
  readonly #counts = new Float64Array(bucketCount);

  add(us: number): void {
    const bucket = Math.floor(Math.log(Math.max(leastUs, us) / leastUs) / Math.log(bucketStep));
    this.#counts[Math.min(bucketCount - 1, bucket)] += 1;
    this.count += 1;
  }

  /** All of `other`, which has none then. */
  take(other: RoundTimes): void {
    for (let bucket = 0; bucket < bucketCount; bucket += 1) this.#counts[bucket] += other.#counts[bucket];
    this.count += other.count;
    other.clear();
  }

  scale(share: number): void {
    for (let bucket = 0; bucket < bucketCount; bucket += 1) this.#counts[bucket] *= share;
    this.count *= share;
  }

  clear(): void {
    this.#counts.fill(0);
    this.count = 0;
  }

  quantile(share: number): number {
    let left = this.count * (1 - share);
    for (let bucket = bucketCount - 1; bucket > 0; bucket -= 1) {
      left -= this.#counts[bucket];
      if (left <= 0) return leastUs * bucketStep ** bucket;
    }
    return leastUs;
  }
}
