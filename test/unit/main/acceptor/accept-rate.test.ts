import { describe, expect, it } from 'vitest';
import { AcceptRate } from '../../../../src/main/acceptor/accept-rate.ts';

function takeMany(rate: AcceptRate, count: number, nowMs: number): number {
  let taken = 0;
  for (let attempt = 0; attempt < count; attempt++) if (rate.take(nowMs)) taken++;
  return taken;
}

describe('AcceptRate', () => {
  it('take() lets one second of connections in at once and refuses the next', () => {
    expect(takeMany(new AcceptRate(50, 0, 0), 80, 0)).toBe(50);
  });

  it('take() fills up again with the time, and not beyond one second', () => {
    const rate = new AcceptRate(50, 0, 0);
    takeMany(rate, 80, 0);
    expect(takeMany(rate, 80, 100)).toBe(5);
    expect(takeMany(rate, 80, 100_000)).toBe(50);
  });

  it('take() works for less than one per second', () => {
    const rate = new AcceptRate(0.5, 0, 0);
    expect(takeMany(rate, 3, 0)).toBe(1);
    expect(rate.take(1_000)).toBe(false);
    expect(rate.take(2_000)).toBe(true);
  });

  it('take() lets the configured burst in at once', () => {
    expect(takeMany(new AcceptRate(50, 200, 0), 300, 0)).toBe(200);
  });

  it('take() never refuses without a limit', () => {
    expect(takeMany(new AcceptRate(0, 0, 0), 1_000, 0)).toBe(1_000);
  });

  it('take() gives nothing for a clock that goes back', () => {
    const rate = new AcceptRate(1, 0, 1_000);
    expect(rate.take(1_000)).toBe(true);
    expect(rate.take(0)).toBe(false);
  });
});
