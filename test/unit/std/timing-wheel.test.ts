/** The wheel against a list of deadlines, and what a callback may do to it. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TimingWheel, WheelTimer } from '../../../src/std/timing-wheel.ts';

describe('TimingWheel', () => {
  it('runs each timer once, never early, at most one tick late, in the order of the ticks', () => {
    const step = fc.record({
      timer: fc.nat(9),
      does: fc.constantFrom('start', 'start', 'cancel'),
      delayMs: fc.nat(3_000),
      ticks: fc.nat(20),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const wheel = new TimingWheel(10, 16);
        const ran: number[] = [];
        const timers = Array.from({ length: 10 }, (_, index) => new WheelTimer(() => ran.push(index)));
        const due = new Map<number, number>();
        for (const { timer, does, delayMs, ticks } of steps) {
          if (does === 'start') {
            wheel.start(timers[timer], delayMs);
            due.set(timer, wheel.tick + Math.ceil(delayMs / 10) + 1);
          } else {
            wheel.cancel(timers[timer]);
            due.delete(timer);
          }
          for (let count = 0; count < ticks; count++) {
            wheel.advance(wheel.tick + 1);
            const expected = [...due].filter(([, tick]) => tick === wheel.tick).map(([index]) => index);
            expect([...ran].sort()).toEqual(expected.sort());
            for (const index of expected) due.delete(index);
            ran.length = 0;
          }
          for (const [index, each] of timers.entries()) expect(each.dueTick !== -1).toBe(due.has(index));
        }
        wheel.advance(wheel.tick + 1_000);
        expect([...ran].sort()).toEqual([...due.keys()].sort());
      }),
    );
  });

  it('runs in the order of the ticks when it is late', () => {
    const wheel = new TimingWheel(10, 4);
    const ran: number[] = [];
    for (const delay of [90, 10, 50, 130, 20]) wheel.start(new WheelTimer(() => ran.push(delay)), delay);
    wheel.advance(100);
    expect(ran).toEqual([10, 20, 50, 90, 130]);
    expect(wheel.tick).toBe(100);
  });

  it('counts what a late callback starts from now, not from the tick that is being caught up', () => {
    const wheel = new TimingWheel(10, 4);
    const ran: string[] = [];
    const second = new WheelTimer(() => ran.push(`second@${wheel.tick}`));
    wheel.start(new WheelTimer(() => wheel.start(second, 50)), 10);
    wheel.advance(100);
    wheel.advance(105);
    expect(ran).toEqual([]);
    wheel.advance(106);
    expect(ran).toEqual(['second@106']);
  });

  it('lets a callback start, move and cancel timers, its own and those of the same tick', () => {
    const wheel = new TimingWheel(10, 4);
    const ran: string[] = [];
    const later = new WheelTimer(() => ran.push('later'));
    const cancelled = new WheelTimer(() => ran.push('cancelled'));
    const again: WheelTimer = new WheelTimer(() => {
      ran.push(`again@${wheel.tick}`);
      wheel.cancel(cancelled);
      wheel.start(later, 0);
      if (ran.length < 5) wheel.start(again, 0);
    });
    wheel.start(cancelled, 0);
    wheel.start(again, 0);
    wheel.advance(1);
    expect(ran).toEqual(['again@1']);
    wheel.advance(2);
    expect([...ran].sort()).toEqual(['again@1', 'again@2']);
    wheel.cancel(again);
    wheel.advance(10);
    expect(ran.at(-1)).toBe('later');
    expect(ran.length).toBe(3);
  });

  it('runs a negative delay as none, and cancelling twice is nothing', () => {
    const wheel = new TimingWheel(100);
    let runs = 0;
    const timer = new WheelTimer(() => runs++);
    wheel.start(timer, -5);
    wheel.advance(1);
    expect(runs).toBe(1);
    wheel.cancel(timer);
    wheel.cancel(timer);
    wheel.advance(5_000);
    expect(runs).toBe(1);
  });

  it('takes a number of slots that is a power of two', () => {
    expect(() => new TimingWheel(100, 1_000)).toThrow('power of two');
  });
});
