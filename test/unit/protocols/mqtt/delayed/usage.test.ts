import { describe, expect, it } from 'vitest';
import { DelayedUsage, spanEnd, spansOf } from '../../../../../src/protocols/mqtt/delayed/usage.ts';

const nowMs = 1_700_000_000_000;

function add(usage: DelayedUsage, tenant: string, delayMs: number, count = 1, bytes = 100): void {
  usage.add({ tenant, endMs: spanEnd(nowMs + delayMs, nowMs), count, bytes });
}

describe('DelayedUsage', () => {
  it('of() counts by tenant what is not due yet', () => {
    const usage = new DelayedUsage();
    add(usage, 'a', 1_000);
    add(usage, 'a', 60_000, 2, 200);
    add(usage, 'b', 1_000);
    expect(usage.of('a', nowMs)).toMatchObject({ count: 3, bytes: 300 });
    expect(usage.of('b', nowMs)).toMatchObject({ count: 1, bytes: 100 });
    expect(usage.of('c', nowMs)).toMatchObject({ count: 0, bytes: 0 });
  });

  it('of() forgets a span when its time is over, soon after a short delay', () => {
    const usage = new DelayedUsage();
    add(usage, 'a', 1_000);
    add(usage, 'a', 3_600_000);
    add(usage, 'a', 86_400_000);
    expect(usage.of('a', nowMs + 900).count).toBe(3);
    expect(usage.of('a', nowMs + 2_001).count).toBe(2);
    expect(usage.of('a', nowMs + 3_661_000).count).toBe(1);
    expect(usage.of('a', nowMs + 86_400_000 + 3_600_001).count).toBe(0);
  });

  it('spans() can be added elsewhere and says the same', () => {
    const usage = new DelayedUsage();
    add(usage, 'a', 1_000, 5);
    add(usage, 'a', 7_300_000, 7);
    const copy = new DelayedUsage();
    for (const span of spansOf(JSON.parse(JSON.stringify(usage.spans(nowMs)))) ?? []) copy.add(span);
    expect(copy.of('a', nowMs)).toMatchObject({ count: 12, bytes: 200 });
  });
});

describe('spansOf()', () => {
  it.each([null, {}, 'x', [1], [{ tenant: 'a' }], [{ tenant: 'a', endMs: 1, count: -1, bytes: 0 }]])(
    'refuses %j',
    (value) => {
      expect(spansOf(value)).toBeNull();
    },
  );
});
