/** The window of messages in flight against a plain map: identifiers, growth, order, restoring. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Flight, OutgoingWindow } from '../../../../../src/protocols/mqtt/state/outgoing-window.ts';
import type { StoredMessage } from '../../../../../src/protocols/mqtt/state/stored-message.ts';

function message(number: number): StoredMessage {
  const bytes = Buffer.from(`${number}`);
  return {
    layout: 4,
    bytes,
    start: 0,
    end: bytes.length,
    qos: 1,
    retain: 0,
    identifiers: null,
    expiresAtMs: 0,
    share: null,
    epoch: number,
  };
}

interface Entry {
  state: number;
  message: StoredMessage | null;
}

/** What the window means: a map in the order of sending. */
class Model {
  readonly flights = new Map<number, Entry>();
  limit = 0;
}

interface Real {
  window: OutgoingWindow;
  taken: number;
}

const met = { taken: 0, usedMax: 0, restored: 0, refused: 0 };

function check(model: Model, { window }: Real): void {
  expect(window.used).toBe(model.flights.size);
  expect(window.room).toBe(model.limit - model.flights.size);
  const seen: [number, number, StoredMessage | null][] = [];
  window.forEach((id, state, stored) => void seen.push([id, state, stored]));
  expect(seen).toEqual([...model.flights].map(([id, each]) => [id, each.state, each.message]));
  for (const [id, { state, message: stored }] of model.flights) {
    expect(window.stateOf(id)).toBe(state);
    expect(window.messageOf(id)).toBe(stored);
  }
}

class Take implements fc.Command<Model, Real> {
  readonly count: number;
  readonly state: number;
  readonly keeps: boolean;
  constructor(count: number, state: number, keeps: boolean) {
    this.count = count;
    this.state = state;
    this.keeps = keeps;
  }
  check(): boolean {
    return true;
  }
  run(model: Model, real: Real): void {
    for (let count = 0; count < this.count && real.window.room > 0; count++) {
      const stored = this.keeps ? message(real.taken) : null;
      const id = real.window.take(this.state, stored);
      expect(id).toBeGreaterThanOrEqual(1);
      expect(id).toBeLessThanOrEqual(65_535);
      expect(model.flights.has(id)).toBe(false);
      model.flights.set(id, { state: this.state, message: stored });
      real.taken++;
      met.taken++;
    }
    met.usedMax = Math.max(met.usedMax, real.window.used);
    check(model, real);
  }
  toString(): string {
    return `take(${this.count}, ${this.state}, ${this.keeps})`;
  }
}

class Acknowledge implements fc.Command<Model, Real> {
  readonly picks: readonly number[];
  readonly frees: boolean;
  constructor(picks: readonly number[], frees: boolean) {
    this.picks = picks;
    this.frees = frees;
  }
  check(model: Readonly<Model>): boolean {
    return model.flights.size > 0;
  }
  run(model: Model, real: Real): void {
    for (const pick of this.picks) {
      const ids = [...model.flights.keys()];
      const id = ids[pick % Math.max(1, ids.length)];
      if (id === undefined) break;
      if (this.frees) {
        real.window.free(id);
        model.flights.delete(id);
        expect(real.window.stateOf(id)).toBe(Flight.FREE);
        expect(real.window.messageOf(id)).toBeNull();
      } else {
        real.window.received(id);
        model.flights.set(id, { state: Flight.AWAITS_PUBCOMP, message: null });
      }
    }
    check(model, real);
  }
  toString(): string {
    return `${this.frees ? 'free' : 'received'}(${this.picks.join()})`;
  }
}

class Restore implements fc.Command<Model, Real> {
  check(): boolean {
    return true;
  }
  run(model: Model, real: Real): void {
    const next = new OutgoingWindow(model.limit);
    real.window.forEach((id, state, stored) => void next.restore(id, state, stored));
    real.window = next;
    met.restored++;
    check(model, real);
  }
  toString(): string {
    return 'restore()';
  }
}

const states = fc.constantFrom(Flight.AWAITS_PUBACK, Flight.AWAITS_PUBREC);
const commands = [
  fc
    .tuple(fc.integer({ min: 1, max: 90 }), states, fc.boolean())
    .map(([count, state, keeps]) => new Take(count, state, keeps)),
  fc
    .tuple(fc.array(fc.nat(1_000), { minLength: 1, maxLength: 60 }), fc.boolean())
    .map(([picks, frees]) => new Acknowledge(picks, frees)),
  fc.constant(new Restore()),
];

describe('OutgoingWindow', () => {
  it('does what a map does, for any order of calls, from any identifier on', () => {
    fc.assert(
      fc.property(
        fc.commands(commands, { maxCommands: 40 }),
        fc.constantFrom(1, 5, 30, 200),
        fc.constantFrom(0, 65_500, 65_535),
        (run, limit, lastId) => {
          fc.modelRun(() => {
            const window = new OutgoingWindow(limit);
            // One flight of the past moves the circle of identifiers to where the test wants it.
            if (lastId > 0) {
              window.restore(lastId, Flight.AWAITS_PUBACK, null);
              window.free(lastId);
            }
            const model = new Model();
            model.limit = limit;
            return { model, real: { window, taken: 0 } };
          }, run);
        },
      ),
      { numRuns: 200 },
    );
    expect(met.taken).toBeGreaterThan(1_000);
    expect(met.usedMax).toBeGreaterThan(100);
    expect(met.restored).toBeGreaterThan(100);
  });

  it('hands out every identifier there is, and each once', () => {
    const window = new OutgoingWindow(65_535);
    const ids = new Set<number>();
    for (let count = 0; count < 65_535; count++) ids.add(window.take(Flight.AWAITS_PUBACK, null));
    expect(ids.size).toBe(65_535);
    expect(ids.has(0)).toBe(false);
    expect(window.room).toBe(0);
    expect(() => window.take(Flight.AWAITS_PUBACK, null)).toThrow('room');
    window.free(40_000);
    expect(window.take(Flight.AWAITS_PUBREC, null)).toBe(40_000);
  });

  it('begins again at 1 behind 65,535 and leaves out what is in use', () => {
    const window = new OutgoingWindow(10);
    window.restore(1, Flight.AWAITS_PUBCOMP, null);
    window.restore(65_534, Flight.AWAITS_PUBACK, null);
    expect([0, 0, 0].map(() => window.take(Flight.AWAITS_PUBACK, null))).toEqual([65_535, 2, 3]);
  });

  it('holds nothing before its first use', () => {
    const window = new OutgoingWindow(65_535);
    expect(window.stateOf(1)).toBe(Flight.FREE);
    expect(window.messageOf(1)).toBeNull();
    const { states: own } = window as unknown as { states: Uint8Array };
    const { states: other } = new OutgoingWindow(1) as unknown as { states: Uint8Array };
    expect(own).toBe(other);
  });

  it('has no room when the limit shrinks below what is in flight', () => {
    const window = new OutgoingWindow(4);
    for (let count = 0; count < 4; count++) window.take(Flight.AWAITS_PUBACK, null);
    window.limit = 2;
    expect(window.room).toBe(-2);
  });
});
