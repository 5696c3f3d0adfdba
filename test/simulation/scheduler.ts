/** The simulated time: events in one order that the seed alone decides, and the trace whose digest proves it. */

/** Microseconds since the start of the run. */
export type SimTime = number;

interface Event {
  readonly at: SimTime;
  readonly sequence: number;
  readonly run: () => void;
}

/** The last events of a run, in words, and a digest of all of them. */
export class Trace {
  readonly #kept: number;
  readonly #lines: (readonly [SimTime, string, readonly (string | number)[]])[] = [];
  #position = 0;
  #digest = 0x811c9dc5;
  #count = 0;
  #print: ((line: string) => void) | null;

  constructor(options: { readonly kept: number; readonly print: ((line: string) => void) | null }) {
    this.#kept = options.kept;
    this.#print = options.print;
  }

  add(at: SimTime, kind: string, ...values: readonly (string | number)[]): void {
    this.#count++;
    this.#mixNumber(at);
    this.#mixText(kind);
    for (const value of values) {
      if (typeof value === 'number') this.#mixNumber(value);
      else this.#mixText(value);
    }
    this.#lines[this.#position] = [at, kind, values];
    this.#position = (this.#position + 1) % this.#kept;
    this.#print?.(formatLine(at, kind, values));
  }

  #mixNumber(value: number): void {
    this.#digest = Math.imul(this.#digest ^ (value | 0), 0x01000193);
    if (value > 0x7fff_ffff) this.#digest = Math.imul(this.#digest ^ ((value / 0x1_0000_0000) | 0), 0x01000193);
  }

  #mixText(text: string): void {
    for (let i = 0; i < text.length; i++) this.#digest = Math.imul(this.#digest ^ text.charCodeAt(i), 0x01000193);
  }

  get count(): number {
    return this.#count;
  }

  digest(): string {
    return (this.#digest >>> 0).toString(16).padStart(8, '0');
  }

  /** The last lines, oldest first. */
  last(): string[] {
    const ordered = [...this.#lines.slice(this.#position), ...this.#lines.slice(0, this.#position)];
    return ordered.map(([at, kind, values]) => formatLine(at, kind, values));
  }
}

function formatLine(at: SimTime, kind: string, values: readonly (string | number)[]): string {
  return `${(at / 1000).toFixed(3).padStart(11)} ms  ${kind} ${values.join(' ')}`;
}

/** A heap of events by time, and by order of scheduling at equal time. */
export class Scheduler {
  readonly trace: Trace;
  readonly #heap: Event[] = [];
  #now: SimTime = 0;
  #sequence = 0;
  #steps = 0;

  constructor(trace: Trace) {
    this.trace = trace;
  }

  get now(): SimTime {
    return this.#now;
  }

  /** Events that were run. */
  get steps(): number {
    return this.#steps;
  }

  after(delay: SimTime, run: () => void): void {
    this.#push({ at: this.#now + Math.max(0, Math.round(delay)), sequence: this.#sequence++, run });
  }

  /** Runs the next event; false when there is none. */
  step(): boolean {
    const event = this.#pop();
    if (event === undefined) return false;
    this.#now = event.at;
    this.#steps++;
    event.run();
    return true;
  }

  #isBefore(left: Event, right: Event): boolean {
    return left.at < right.at || (left.at === right.at && left.sequence < right.sequence);
  }

  #push(event: Event): void {
    const heap = this.#heap;
    let i = heap.length;
    heap.push(event);
    while (i > 0) {
      const parent = (i - 1) >> 1;
      const above = heap[parent] as Event;
      if (!this.#isBefore(event, above)) break;
      heap[i] = above;
      i = parent;
    }
    heap[i] = event;
  }

  #pop(): Event | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && this.#isBefore(heap[child + 1] as Event, heap[child] as Event)) child++;
      if (!this.#isBefore(heap[child] as Event, last)) break;
      heap[i] = heap[child] as Event;
      i = child;
    }
    heap[i] = last;
    return first;
  }
}
