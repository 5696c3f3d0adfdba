/**
 * Sessions that other nodes are taking from this one: each stands still until it is known who owns it. Main thread; used by
 * `node-sessions.ts`.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { SessionResponse } from '../../rpc/generated/ringmq/node/v1/session.ts';
import type { SessionDirectoryHub } from './session-directory-hub.ts';

type Answer = SessionResponse['answer'];

interface Departure {
  readonly number: number;
  readonly to: string;
  readonly scope: string;
  readonly name: string;
  /** Looks up who owns it, when nothing was heard for a while. */
  timer: NodeJS.Timeout;
  settling: Promise<void> | null;
}

/** When a client waits. */
const hurry = 5;
const retryMs = 500;
const none: Answer = { $case: 'none', value: {} };
const busy: Answer = { $case: 'busy', value: {} };
const done: Answer = { $case: 'done', value: {} };

export class Departures {
  readonly #hub: SessionDirectoryHub;
  /** Looks up whether another node owns the session. Nobody can take it with an older record afterwards when it answers no. */
  readonly #isElsewhere: (scope: string, name: string) => Promise<boolean>;
  /** A node that takes a session asks for the next part sooner than this. */
  readonly #silenceMs: number;
  readonly #byNumber = new Map<number, Departure>();
  readonly #byName = new Map<string, Departure>();
  #isClosed = false;

  constructor(
    hub: SessionDirectoryHub,
    silenceMs: number,
    isElsewhere: (scope: string, name: string) => Promise<boolean>,
  ) {
    this.#hub = hub;
    this.#silenceMs = silenceMs;
    this.#isElsewhere = isElsewhere;
  }

  isUnderWay(scope: string, name: string): boolean {
    return this.#byName.has(keyOf(scope, name));
  }

  /** The node `to` wants the session. */
  async begin(to: string, scope: string, name: string): Promise<Answer> {
    const under = this.#byName.get(keyOf(scope, name));
    if (under !== undefined) {
      // The same node begins again: what it had before is void.
      if (under.to !== to) return busy;
      await this.settle(scope, name);
    }
    return new Promise((resolve) => {
      this.#hub.claimForNode(scope, name, false, {
        none: () => resolve(none),
        failed: () => {
          this.#forget(this.#byName.get(keyOf(scope, name)));
          resolve(busy);
        },
        departing: (number) => {
          const timer = this.#timer(scope, name, this.#silenceMs);
          const departure: Departure = { number, to, scope, name, timer, settling: null };
          this.#byNumber.set(number, departure);
          this.#byName.set(keyOf(scope, name), departure);
          resolve({ $case: 'departing', value: { departure: number } });
        },
      });
    });
  }

  async pull(number: number): Promise<Answer> {
    const departure = this.#byNumber.get(number);
    if (departure === undefined || departure.settling !== null) return none;
    departure.timer.refresh();
    const part = await this.#hub.departurePart(number);
    departure.timer.refresh();
    return { $case: 'chunk', value: { bytes: part ?? new Uint8Array(0) } };
  }

  /** A client of this node waits for the session: the other node is not waited for as long. */
  hurry(scope: string, name: string): void {
    const departure = this.#byName.get(keyOf(scope, name));
    if (departure === undefined || departure.settling !== null) return;
    clearTimeout(departure.timer);
    departure.timer = this.#timer(scope, name, this.#silenceMs / hurry);
  }

  #timer(scope: string, name: string, ms: number): NodeJS.Timeout {
    return setTimeout(() => void this.settle(scope, name), ms).unref();
  }

  /** Looks up who owns the session: it ends here, or goes on. Resolves when that is done; nothing happens to one that does not depart. */
  async settle(scope: string, name: string): Promise<void> {
    const departure = this.#byName.get(keyOf(scope, name));
    if (departure === undefined) return;
    departure.settling ??= this.#settle(departure);
    await departure.settling;
  }

  /** The session ends here. */
  discard(scope: string, name: string): Promise<Answer> {
    return new Promise((resolve) => {
      const told = (): void => resolve(done);
      this.#hub.claimForNode(scope, name, true, { none: told, failed: told, departing: told });
    });
  }

  close(): void {
    this.#isClosed = true;
    for (const departure of [...this.#byNumber.values()]) this.#forget(departure);
  }

  async #settle(departure: Departure): Promise<void> {
    const { number, scope, name } = departure;
    while (!this.#isClosed && this.#byNumber.has(number)) {
      try {
        const isElsewhere = await this.#isElsewhere(scope, name);
        this.#forget(departure);
        this.#hub.endDeparture(number, !isElsewhere);
        return;
      } catch (error) {
        if (!(error instanceof Error)) throw error;
        // Nobody can say it now: it stands still as long, since another node may have it.
        await sleep(retryMs, undefined, { ref: false });
      }
    }
  }

  #forget(departure: Departure | undefined): void {
    if (departure === undefined) return;
    clearTimeout(departure.timer);
    this.#byNumber.delete(departure.number);
    const key = keyOf(departure.scope, departure.name);
    if (this.#byName.get(key) === departure) this.#byName.delete(key);
  }
}

function keyOf(scope: string, name: string): string {
  return `${scope}/${name}`;
}
