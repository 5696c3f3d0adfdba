/**
 * Time for the services: one timer for all of them, which runs when the first of them has something to do, and not at all while none
 * has. Thread: the journal worker; owned by the hosted services.
 */
import { Pauses } from '../../../core/transactions/backoff.ts';
import { TimingWheel, type WheelTimer } from '../../../std/timing-wheel.ts';

/** How exact delays and time-outs of queues are. */
const wheelTickMs = 10;
/** How far ahead the wheel is looked at; timers beyond it are looked for again then. */
const lookTicks = 100;
/** How long a timer may be set for. */
const sleepMsMax = 60_000;

export class ServiceTicker {
  /** What is due now; answers milliseconds until it is to be called again, infinity when nobody asks for it. */
  readonly #work: () => number;
  #timer: NodeJS.Timeout | null = null;
  /** Monotonic time at which the timer runs. */
  #dueMs = Number.POSITIVE_INFINITY;
  #isRunning = false;
  #isStopped = false;

  constructor(work: () => number) {
    this.#work = work;
  }

  /** Something is to be done in so many milliseconds, perhaps sooner than was known. */
  wake(delayMs: number): void {
    const dueMs = performance.now() + Math.max(0, delayMs);
    // Within the work its answer says when.
    if (this.#isStopped || this.#isRunning || dueMs >= this.#dueMs) return;
    this.#set(dueMs);
  }

  stop(): void {
    this.#isStopped = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #set(dueMs: number): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#dueMs = dueMs;
    const delayMs = Math.min(sleepMsMax, Math.max(1, Math.ceil(dueMs - performance.now())));
    this.#timer = setTimeout(() => this.#run(), delayMs).unref();
  }

  #run(): void {
    this.#timer = null;
    this.#dueMs = Number.POSITIVE_INFINITY;
    this.#isRunning = true;
    let nextMs: number;
    try {
      nextMs = this.#work();
    } finally {
      this.#isRunning = false;
    }
    if (nextMs !== Number.POSITIVE_INFINITY) this.wake(nextMs);
  }
}

/** A wheel whose owner lets time pass only when a timer is due. */
export class SleepingWheel extends TimingWheel {
  readonly #beganMs = performance.now();
  readonly #wake: (delayMs: number) => void;

  constructor(wake: (delayMs: number) => void) {
    super(wheelTickMs);
    this.#wake = wake;
  }

  override start(timer: WheelTimer, delayMs: number): void {
    // The wheel may have stood still for a while: the delay counts from now.
    const behindMs = Math.max(0, this.#passedMs - this.tick * this.tickMs);
    super.start(timer, delayMs + behindMs);
    this.#wake(this.#msUntil(timer.dueTick));
  }

  /** Runs what is due; answers milliseconds until it should be called again. */
  run(): number {
    this.advance(Math.floor(this.#passedMs / this.tickMs));
    if (this.running === 0) return Number.POSITIVE_INFINITY;
    const tick = this.nextDueTick(lookTicks);
    return this.#msUntil(tick < 0 ? this.tick + lookTicks : tick);
  }

  get #passedMs(): number {
    return performance.now() - this.#beganMs;
  }

  #msUntil(tick: number): number {
    return tick * this.tickMs - this.#passedMs;
  }
}

/** Pauses whose owner lets time pass only while somebody waits. */
export class SleepingPauses extends Pauses {
  readonly #wake: (delayMs: number) => void;

  constructor(wake: (delayMs: number) => void) {
    super(Date.now());
    this.#wake = wake;
  }

  override wait(ms: number): Promise<void> {
    this.tick(Date.now());
    this.#wake(Math.min(ms, wheelTickMs));
    return super.wait(ms);
  }
}
