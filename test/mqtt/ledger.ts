/**
 * What publishers were told and what subscribers got, by publisher and topic: each such line has numbered messages. Thread of the test.
 */

/** How often a message of a line may come. */
export type Grade = 1 | 2;

export interface Line {
  readonly topic: string;
  /** QoS with which it is published. */
  readonly qos: Grade;
  /** Number of the next message. */
  next: number;
  /** Those that the broker has taken charge of: acknowledged with PUBACK or PUBREC. */
  readonly acknowledged: Set<number>;
  /** Those that may come twice, whatever their QoS. */
  readonly repeatable: Set<number>;
}

export function newLine(topic: string, qos: Grade): Line {
  return { topic, qos, next: 0, acknowledged: new Set(), repeatable: new Set() };
}

interface Arrivals {
  highest: number;
  readonly seen: Set<number>;
  repeated: number;
}

/** What one subscriber got. */
export class Inbox {
  readonly name: string;
  readonly problems: string[] = [];
  count = 0;
  repeated = 0;
  readonly #qos: Grade;
  readonly #lines = new Map<string, Arrivals>();

  constructor(name: string, qos: Grade) {
    this.name = name;
    this.#qos = qos;
  }

  /** `number` of the line came; a repetition is a message that came before. */
  arrived(line: Line, number: number): void {
    this.count += 1;
    let arrivals = this.#lines.get(line.topic);
    if (arrivals === undefined) {
      arrivals = { highest: -1, seen: new Set(), repeated: 0 };
      this.#lines.set(line.topic, arrivals);
    }
    const isOnce = Math.min(line.qos, this.#qos) === 2;
    if (arrivals.seen.has(number)) {
      arrivals.repeated += 1;
      this.repeated += 1;
      if (isOnce && !line.repeatable.has(number)) this.#report(`${line.topic} ${number} came twice`);
      return;
    }
    if (number >= line.next) this.#report(`${line.topic} ${number} came and was never sent`);
    if (number < arrivals.highest) this.#report(`${line.topic} ${number} came after ${arrivals.highest}`);
    arrivals.highest = Math.max(arrivals.highest, number);
    arrivals.seen.add(number);
  }

  #report(problem: string): void {
    if (this.problems.length < 10) this.problems.push(`${this.name}: ${problem}`);
  }

  /** Numbers that were acknowledged to their publisher and have not come. */
  missing(line: Line): number[] {
    const seen = this.#lines.get(line.topic)?.seen;
    return [...line.acknowledged].filter((number) => seen?.has(number) !== true);
  }

  hasAll(line: Line): boolean {
    const seen = this.#lines.get(line.topic)?.seen;
    for (const number of line.acknowledged) if (seen?.has(number) !== true) return false;
    return true;
  }
}
