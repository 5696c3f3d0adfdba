/**
 * Where the cold reads of one thread wait for their turns. A turn is a place in the line of the whole node, so readers with as much to
 * read get as much, whichever thread they are on. Waiting is a timer: the event loop goes on. Owned by the plan reader of the thread.
 */
import { ColdPace, monotonicUs } from '../cold-pace.ts';

/** How long a waiting reader does not look whether the pace is still in force, ms. */
const napMsMax = 50;

export class ColdGate {
  readonly #pace: ColdPace;
  readonly #line: number;
  readonly #naps = new Set<() => void>();
  #isClosed = false;

  /** `line`: the one of this thread. */
  constructor(buffer: SharedArrayBuffer, line: number) {
    this.#pace = new ColdPace(buffer);
    this.#line = line;
    this.#pace.clear(line);
  }

  /** Whether somebody appends, so that cold reads take turns. */
  get isInForce(): boolean {
    return this.#pace.isInForce();
  }

  /** See `ColdPace.quietMark`. */
  quietMark(): number | null {
    return this.#pace.quietMark();
  }

  /** Waits for the turn, reads, and ends the turn. Null when the gate was closed before it came. */
  async pass<T extends { readonly length: number }>(bytes: number, read: () => Promise<T>): Promise<T | null> {
    if (!(await this.#enter(bytes))) return null;
    let length = 0;
    try {
      const result = await read();
      length = result.length;
      return result;
    } finally {
      this.#pace.end(this.#line, length);
    }
  }

  /** Ends all waiting. */
  close(): void {
    this.#isClosed = true;
    for (const wake of [...this.#naps]) wake();
  }

  async #enter(bytes: number): Promise<boolean> {
    const pace = this.#pace;
    const beganUs = monotonicUs();
    let turn = pace.reserve(bytes, beganUs);
    for (let nowUs = beganUs; ; nowUs = monotonicUs()) {
      if (this.#isClosed) {
        pace.giveBack(turn.us);
        return false;
      }
      const isPaced = pace.isInForce(nowUs);
      const { heldUntilUs } = pace;
      if (isPaced && heldUntilUs > nowUs) {
        // A turn that passes meanwhile would make a burst of all of them afterwards: they queue again.
        await this.#nap(heldUntilUs - nowUs);
        if (turn.startUs < heldUntilUs) {
          pace.giveBack(turn.us);
          turn = pace.reserve(bytes);
        }
      } else if (isPaced && turn.startUs > nowUs) await this.#nap(turn.startUs - nowUs);
      else if (pace.begin(this.#line, bytes)) {
        if (!isPaced) pace.giveBack(turn.us);
        pace.waited(nowUs - beganUs);
        return true;
      } else await this.#nap(1_000);
    }
  }

  #nap(us: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        clearTimeout(timer);
        this.#naps.delete(wake);
        resolve();
      };
      // Down, not up: who is a little early waits once more, and a timer is late anyway.
      const timer = setTimeout(wake, Math.min(napMsMax, Math.max(1, Math.floor(us / 1000))));
      this.#naps.add(wake);
    });
  }
}
