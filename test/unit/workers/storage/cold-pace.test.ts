/** The shared words of the pace of cold reads, the waiting for turns, and the finding of the limit. */
import { afterEach, describe, expect, it } from 'vitest';
import { ColdGate } from '../../../../src/workers/storage/client/cold-gate.ts';
import { ColdPace, createColdPace, monotonicUs } from '../../../../src/workers/storage/cold-pace.ts';
import { ColdPaceControl } from '../../../../src/workers/storage/host/cold-pace-control.ts';

const mebibyte = 1024 * 1024;

function paceOf(limit: number, lines = 2): { readonly buffer: SharedArrayBuffer; readonly pace: ColdPace } {
  const buffer = createColdPace(lines);
  const pace = new ColdPace(buffer);
  pace.setLimit(limit);
  return { buffer, pace };
}

describe('ColdPace', () => {
  it('reserve() gives turns one after the other, over all threads', () => {
    const { buffer, pace } = paceOf(1_000_000);
    const other = new ColdPace(buffer);
    const first = pace.reserve(50_000, 1_000_000_000);
    expect(first.us).toBe(50_000);
    expect(other.reserve(50_000, 1_000_000_000).startUs).toBe(first.startUs + 50_000);
    expect(pace.reserve(50_000, 1_000_000_000).startUs).toBe(first.startUs + 100_000);
  });

  it('reserve() lets nobody save up turns, but what timers are late', () => {
    const { pace } = paceOf(1_000_000);
    pace.reserve(1, 1_000_000_000);
    expect(pace.reserve(50_000, 9_000_000_000).startUs).toBe(9_000_000_000 - 10_000);
    expect(pace.reserve(50_000, 9_000_000_000).startUs).toBe(9_000_000_000 + 40_000);
  });

  it('giveBack() brings later turns forward', () => {
    const { pace } = paceOf(1_000_000);
    const { startUs, us } = pace.reserve(500_000, 1_000_000_000);
    pace.giveBack(us);
    expect(pace.reserve(1, 1_000_000_000).startUs).toBe(startUs);
  });

  it('begin() lets two read at a time, and clear() forgets those of a thread that died', () => {
    const { pace } = paceOf(1);
    expect([pace.begin(0, 1), pace.begin(1, 1), pace.begin(0, 1)]).toEqual([true, true, false]);
    pace.end(0, 1);
    expect(pace.begin(0, 1)).toBe(true);
    expect(pace.begin(1, 1)).toBe(false);
    pace.clear(1);
    expect(pace.begin(0, 1)).toBe(true);
  });

  it('quietMark() is null while somebody reads, and another one afterwards', () => {
    const { pace } = paceOf(1);
    const before = pace.quietMark();
    pace.begin(0, 10);
    expect(pace.quietMark()).toBeNull();
    pace.end(0, 10);
    expect(pace.quietMark()).not.toBe(before);
    expect(pace.totals()).toEqual({ bytes: 10, reads: 1, waitedUs: 0 });
  });

  it('isInForce() holds while there is a limit and somebody appends', () => {
    const { pace } = paceOf(100);
    expect(pace.isInForce()).toBe(false);
    pace.activeUntil(monotonicUs() + 10_000_000);
    expect(pace.isInForce()).toBe(true);
    pace.setLimit(0);
    expect(pace.isInForce()).toBe(false);
  });
});

describe('ColdGate', () => {
  const gates: ColdGate[] = [];
  afterEach(() => {
    for (const gate of gates.splice(0)) gate.close();
  });

  function gatesOf(buffer: SharedArrayBuffer): ColdGate[] {
    gates.push(new ColdGate(buffer, 0), new ColdGate(buffer, 1));
    return gates;
  }

  const readNothing = async (bytes: number): Promise<Buffer> => Buffer.alloc(bytes);

  it('pass() keeps to the limit and serves readers of all threads alike', async () => {
    const { buffer, pace } = paceOf(1_000_000);
    pace.activeUntil(monotonicUs() + 60_000_000);
    const [one, other] = gatesOf(buffer);
    const order: string[] = [];
    const startUs = monotonicUs();
    const read = async (gate: ColdGate, name: string): Promise<void> => {
      for (let turn = 0; turn < 5; turn += 1) {
        await gate.pass(20_000, () => readNothing(20_000));
        order.push(name);
      }
    };
    await Promise.all([read(one, 'a'), read(other, 'b'), read(other, 'c')]);
    // 300,000 bytes at 1,000,000 a second; the last turn is not waited for, and 10 ms are the readers'.
    expect(monotonicUs() - startUs).toBeGreaterThan(265_000);
    expect(pace.totals()).toMatchObject({ bytes: 300_000, reads: 15 });
    expect(pace.totals().waitedUs).toBeGreaterThan(0);
    for (const name of 'abc') expect(order.slice(0, 9).filter((one) => one === name).length).toBeGreaterThanOrEqual(2);
  });

  it('pass() waits no longer when nobody appends any more', async () => {
    const { buffer, pace } = paceOf(1_000);
    pace.activeUntil(monotonicUs() + 150_000);
    const [gate] = gatesOf(buffer);
    // The second one would have to wait for 100 s.
    await gate.pass(100_000, () => readNothing(1));
    expect(await gate.pass(100_000, () => readNothing(1))).toHaveLength(1);
    // What it did not use is there for others.
    expect(pace.reserve(1).startUs).toBeLessThan(monotonicUs() + 101_000_000);
  });

  it('pass() answers null when the gate is closed while it waits, and gives its turn back', async () => {
    const { buffer, pace } = paceOf(1_000);
    pace.activeUntil(monotonicUs() + 60_000_000);
    const [gate, other] = gatesOf(buffer);
    await other.pass(1_000, () => readNothing(1));
    const waiting = gate.pass(1_000_000, () => readNothing(1));
    gate.close();
    expect(await waiting).toBeNull();
    expect(await gate.pass(1, () => readNothing(1))).toBeNull();
    expect(pace.reserve(1).startUs).toBeLessThan(monotonicUs() + 2_000_000);
  });

  it('pass() begins nothing while the host looks at the disk without readers', async () => {
    const { buffer, pace } = paceOf(1_000_000_000);
    const heldUntilUs = monotonicUs() + 100_000;
    pace.activeUntil(heldUntilUs + 60_000_000);
    pace.holdUntil(heldUntilUs);
    const [gate] = gatesOf(buffer);
    await gate.pass(1, () => {
      expect(monotonicUs()).toBeGreaterThanOrEqual(heldUntilUs);
      return readNothing(1);
    });
    expect(pace.totals().reads).toBe(1);
  });

  it('pass() ends the turn of a read that fails', async () => {
    const { buffer, pace } = paceOf(1_000_000_000);
    pace.activeUntil(monotonicUs() + 60_000_000);
    const [gate] = gatesOf(buffer);
    for (let turn = 0; turn < 3; turn += 1) {
      await expect(gate.pass(1, () => Promise.reject(new Error('the disk is gone')))).rejects.toThrow('disk');
    }
    expect(pace.quietMark()).not.toBeNull();
  });
});

describe('ColdPaceControl', () => {
  const limits = { minBytesPerS: 16 * mebibyte, maxBytesPerS: 512 * mebibyte };

  /** A disk that syncs in 0.2 ms, once in `1 / slowShare` rounds in 1 ms, and beside readers beyond `harmless` bytes a second in 5 ms. */
  function simulate(
    control: ColdPaceControl,
    pace: ColdPace,
    seconds: number,
    harmless: number,
    wants = 1e12,
  ): number[] {
    const limitsSeen: number[] = [];
    let nowUs = 1_000_000;
    const endUs = nowUs + seconds * 1e6;
    for (let number = 1; nowUs < endUs; number += 1) {
      const isHeld = pace.heldUntilUs > nowUs;
      const rate = isHeld ? 0 : Math.min(wants, pace.limitBytesPerS);
      const isDisturbed = rate > harmless && number % 10 === 0;
      const durationUs = isDisturbed ? 5_000 : number % 50 === 0 ? 1_000 : 200;
      nowUs += durationUs;
      const bytes = Math.round((rate * durationUs) / 1e6);
      if (bytes > 0) {
        pace.begin(0, bytes);
        pace.end(0, bytes);
      }
      control.onRound(durationUs / 1000, nowUs);
      if (number % 1_000 === 0) limitsSeen.push(pace.limitBytesPerS);
    }
    return limitsSeen;
  }

  it('goes up to what does no harm and stays about there', () => {
    const { pace } = paceOf(0);
    const control = new ColdPaceControl(pace, limits);
    const seen = simulate(control, pace, 60, 200 * mebibyte).slice(-100);
    expect(Math.max(...seen)).toBeLessThan(320 * mebibyte);
    expect(Math.min(...seen)).toBeGreaterThan(100 * mebibyte);
  });

  it('goes down to the least when all reading harms, and no further', () => {
    const { pace } = paceOf(0);
    simulate(new ColdPaceControl(pace, limits), pace, 30, 0);
    expect(pace.limitBytesPerS).toBe(limits.minBytesPerS);
  });

  it('goes up to the most when none does, and no further', () => {
    const { pace } = paceOf(0);
    simulate(new ColdPaceControl(pace, limits), pace, 60, 1e12);
    expect(pace.limitBytesPerS).toBe(limits.maxBytesPerS);
  });

  it('allows no more than readers want, and makes no pauses without readers', () => {
    const { pace } = paceOf(0);
    const control = new ColdPaceControl(pace, limits);
    simulate(control, pace, 30, 1e12, 10 * mebibyte);
    expect(pace.limitBytesPerS).toBe(48 * mebibyte);
    const idle = paceOf(0).pace;
    simulate(new ColdPaceControl(idle, limits), idle, 10, 1e12, 0);
    expect(idle.heldUntilUs).toBe(0);
  });

  it('sets no pace when the settings want none', () => {
    const { pace } = paceOf(7);
    const control = new ColdPaceControl(pace, { minBytesPerS: mebibyte, maxBytesPerS: 0 });
    control.onRound(1);
    expect(pace.limitBytesPerS).toBe(0);
    expect(pace.isInForce()).toBe(false);
  });

  it('stays in force as long as a slow disk takes for some rounds', () => {
    const { pace } = paceOf(0);
    new ColdPaceControl(pace, limits).onRound(2_000, 10_000_000);
    expect(pace.isInForce(17_000_000)).toBe(true);
    expect(pace.isInForce(19_000_000)).toBe(false);
  });
});
