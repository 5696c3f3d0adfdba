import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { WheelTimer } from '../../../../src/std/timing-wheel.ts';
import { ServiceTicker, SleepingPauses, SleepingWheel } from '../../../../src/workers/services/host/service-clock.ts';

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

describe('ServiceTicker', () => {
  it('runs when the first of its users asked for it, and has no timer while none does', () => {
    const runs: number[] = [];
    const ticker = new ServiceTicker(() => {
      runs.push(performance.now());
      return runs.length === 1 ? 500 : Number.POSITIVE_INFINITY;
    });
    expect(vi.getTimerCount()).toBe(0);
    const startMs = performance.now();
    ticker.wake(1_000);
    ticker.wake(20);
    ticker.wake(3_000);
    vi.advanceTimersByTime(10_000);
    expect(runs.map((at) => Math.round(at - startMs))).toEqual([20, 520]);
    expect(vi.getTimerCount()).toBe(0);
    ticker.wake(5);
    ticker.stop();
    vi.advanceTimersByTime(100);
    ticker.wake(5);
    expect([runs.length, vi.getTimerCount()]).toEqual([2, 0]);
  });

  it('sleeps no longer than a timer can be set for, whatever was asked', () => {
    let runs = 0;
    const ticker = new ServiceTicker(() => {
      runs += 1;
      return Number.POSITIVE_INFINITY;
    });
    ticker.wake(400 * 86_400_000);
    vi.advanceTimersByTime(60_000);
    expect(runs).toBe(1);
  });
});

describe('SleepingWheel', () => {
  it('counts delays from when a timer is started, however long nobody let time pass', () => {
    const wakes: number[] = [];
    const wheel = new SleepingWheel((delayMs) => wakes.push(delayMs));
    const fired: string[] = [];
    vi.advanceTimersByTime(5_000);
    wheel.start(new WheelTimer(() => fired.push('a')), 100);
    expect(wakes[0]).toBeGreaterThanOrEqual(100);
    expect(wakes[0]).toBeLessThanOrEqual(130);
    expect(wheel.run()).toBeGreaterThan(0);
    expect(fired).toEqual([]);
    vi.advanceTimersByTime(130);
    expect(wheel.run()).toBe(Number.POSITIVE_INFINITY);
    expect(fired).toEqual(['a']);
  });

  it('asks to be called at the first of many timers, and looks again for those far ahead', () => {
    const wheel = new SleepingWheel(() => undefined);
    wheel.start(new WheelTimer(() => undefined), 60_000);
    expect(wheel.run()).toBeLessThanOrEqual(1_000);
    wheel.start(new WheelTimer(() => undefined), 200);
    const nextMs = wheel.run();
    expect(nextMs).toBeGreaterThan(150);
    expect(nextMs).toBeLessThan(250);
  });
});

describe('SleepingPauses', () => {
  it('wakes its owner for each pause', async () => {
    const wakes: number[] = [];
    const pauses = new SleepingPauses((delayMs) => wakes.push(delayMs));
    const ended = pauses.wait(50);
    expect(wakes).toEqual([10]);
    vi.advanceTimersByTime(60);
    pauses.tick(Date.now());
    await ended;
    expect(pauses.count).toBe(0);
  });
});
