import { describe, expect, it } from 'vitest';
import { createStrategy, type ShardingView } from '../../../../src/main/sharding/strategies.ts';

function view(counts: readonly number[], options: { workers?: number[]; address?: string } = {}): ShardingView {
  return {
    workers: options.workers ?? counts.map((_, index) => index),
    connectionsOf: (worker) => counts[worker],
    remoteAddress: () => options.address ?? '127.0.0.1',
  };
}

describe('createStrategy("least-connections")', () => {
  it('chooses the worker with the fewest connections', () => {
    expect(createStrategy('least-connections')(view([5, 2, 9]))).toBe(1);
  });

  it('takes equals in turn', () => {
    const choose = createStrategy('least-connections');
    expect([0, 0, 0, 0].map(() => choose(view([0, 0, 0])))).toEqual([0, 1, 2, 0]);
  });

  it('asks nobody for the address', () => {
    const choose = createStrategy('least-connections');
    const withoutAddress: ShardingView = {
      ...view([0]),
      remoteAddress: () => {
        throw new Error('asked for the address');
      },
    };
    expect(choose(withoutAddress)).toBe(0);
  });
});

describe('createStrategy("round-robin")', () => {
  it('takes the workers in turn whatever they hold', () => {
    const choose = createStrategy('round-robin');
    expect([0, 0, 0, 0].map(() => choose(view([100, 0, 0])))).toEqual([0, 1, 2, 0]);
  });

  it('goes on behind a worker that died', () => {
    const choose = createStrategy('round-robin');
    choose(view([0, 0, 0]));
    expect(choose(view([0, 0, 0], { workers: [0, 2] }))).toBe(2);
    expect(choose(view([0, 0, 0], { workers: [0, 2] }))).toBe(0);
  });
});

describe('createStrategy("address-hash")', () => {
  const addresses = Array.from({ length: 4_000 }, (_, index) => `10.0.${index >> 8}.${index & 255}`);

  it('gives one address always the same worker, and spreads many', () => {
    const choose = createStrategy('address-hash');
    const counts = [0, 0, 0, 0];
    for (const address of addresses) {
      const worker = choose(view(counts, { address }));
      expect(choose(view(counts, { address }))).toBe(worker);
      counts[worker]++;
    }
    for (const count of counts) expect(count).toBeGreaterThan(700);
  });

  it('moves only the clients of a worker that died', () => {
    const choose = createStrategy('address-hash');
    for (const address of addresses) {
      const before = choose(view([0, 0, 0, 0], { address }));
      const after = choose(view([0, 0, 0, 0], { address, workers: [0, 1, 3] }));
      if (before !== 2) expect(after).toBe(before);
    }
  });
});
