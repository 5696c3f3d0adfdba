/**
 * What clients asked and were told, as the checker of linearizability wants it: per key, with the order of all calls and
 * answers. One object per round; thread of the test.
 */
import { checkRegister, type RegisterAction, type RegisterOperation } from '../simulation/linearizability.ts';

/** Steps of the search per key before it gives up; such a key is reported, not taken for good. */
const STEPS_MAX = 2_000_000;

interface Recorded {
  readonly id: number;
  readonly key: string;
  readonly start: number;
  readonly client: string;
  end: number;
  action: RegisterAction;
}

/** One call under way; exactly one of the three ends it. */
export interface Call {
  /** Answered. `action` has what the answer said. */
  answered(action: RegisterAction): void;
  /** It may have taken effect, or may yet. */
  unknown(): void;
  /** It surely did nothing, now and later. */
  nothing(): void;
}

export class History {
  private readonly recorded = new Map<number, Recorded>();
  private clock = 0;
  private nextId = 0;

  /** Notes a call at the moment when it is made; `client` is for people who read a failure. */
  call(client: string, key: string, action: RegisterAction): Call {
    const one: Recorded = {
      id: this.nextId++,
      key,
      client,
      start: ++this.clock,
      end: Number.POSITIVE_INFINITY,
      action,
    };
    this.recorded.set(one.id, one);
    return {
      answered: (answer) => {
        one.action = answer;
        one.end = ++this.clock;
      },
      unknown: () => undefined,
      nothing: () => void this.recorded.delete(one.id),
    };
  }

  get size(): number {
    return this.recorded.size;
  }

  /** What cannot have happened, as text; nothing when all is well. */
  check(): string[] {
    const byKey = new Map<string, Recorded[]>();
    for (const one of this.recorded.values()) {
      const list = byKey.get(one.key);
      if (list === undefined) byKey.set(one.key, [one]);
      else list.push(one);
    }
    return [...byKey].flatMap(([key, operations]) => this.checkKey(key, operations));
  }

  private checkKey(key: string, operations: readonly Recorded[]): string[] {
    const verdict = checkRegister(operations, { initial: null, stepsMax: STEPS_MAX });
    if (verdict.isLinearizable === true) return [];
    if (verdict.isLinearizable === null) return [`key ${key}: ${operations.length} operations were too many to check`];
    const lines = [`key ${key} is not linearizable (${operations.length} operations); the last that fit:`];
    for (const one of verdict.longest.slice(-8)) lines.push(`  ${this.describe(one)}`);
    lines.push('and none of these can come next:');
    for (const one of verdict.stuck.slice(0, 16)) lines.push(`  ${this.describe(one)}`);
    return [lines.join('\n')];
  }

  private describe({ id, start, end, action }: RegisterOperation): string {
    return `[${start}, ${end}] ${this.recorded.get(id)?.client ?? ''} ${JSON.stringify(action)}`;
  }
}
