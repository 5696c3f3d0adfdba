/**
 * Checks passwords: remembers what was right lately, joins equal questions, and bounds what waits for the slow work. Main
 * thread; the hash itself is computed by whoever `work` is, which is the task pool.
 *
 * Why anything is remembered: after a network fault all clients come back at once, and at 60 ms of a core each 10,000 of them
 * would take minutes. Why that is safe: only right passwords are remembered, as a keyed hash under a key that exists in
 * this process alone, together with the stored verifiers, so that a new password or a removed account is never answered
 * from memory; for a bounded time and number. A wrong password always costs the whole hash.
 */
import { createHmac, randomBytes } from 'node:crypto';
import { PasswordQueueFull, type PasswordWork } from './mechanism.ts';

const rememberedMax = 10_000;

export interface PasswordVerifierOptions {
  /** The slow work. Rejects when it cannot be done now. */
  work(password: Uint8Array, verifiers: readonly string[]): Promise<boolean>;
  /** Checks that may be under way or wait. */
  readonly waitingMax: number;
  /** 0: nothing is remembered. */
  readonly rememberMs: number;
  /** Milliseconds; any steady clock. */
  now(): number;
}

export class PasswordVerifier implements PasswordWork {
  readonly #options: PasswordVerifierOptions;
  readonly #key = randomBytes(32);
  /** Until when, by keyed hash; the oldest first. */
  readonly #right = new Map<string, number>();
  readonly #waiting = new Map<string, Promise<boolean>>();

  constructor(options: PasswordVerifierOptions) {
    this.#options = options;
  }

  async verify(password: Uint8Array, verifiers: readonly string[]): Promise<boolean> {
    const key = this.#keyOf(password, verifiers);
    if (this.#isRemembered(key)) return true;
    const known = this.#waiting.get(key);
    if (known !== undefined) return await known;
    if (this.#waiting.size >= this.#options.waitingMax) throw new PasswordQueueFull('Too many logins wait');
    const answer = this.#options.work(password, verifiers);
    this.#waiting.set(key, answer);
    try {
      const isRight = await answer;
      if (isRight) this.#remember(key);
      return isRight;
    } finally {
      this.#waiting.delete(key);
    }
  }

  #keyOf(password: Uint8Array, verifiers: readonly string[]): string {
    const mac = createHmac('sha256', this.#key).update(JSON.stringify(verifiers)).update('\u0000');
    return mac.update(password).digest('base64');
  }

  #isRemembered(key: string): boolean {
    const until = this.#right.get(key);
    if (until === undefined) return false;
    if (until > this.#options.now()) return true;
    this.#right.delete(key);
    return false;
  }

  #remember(key: string): void {
    const { rememberMs, now } = this.#options;
    if (rememberMs === 0) return;
    this.#right.delete(key);
    if (this.#right.size >= rememberedMax) {
      const [oldest] = this.#right.keys();
      this.#right.delete(oldest);
    }
    this.#right.set(key, now() + rememberMs);
  }
}
