/** The HTTP contract over `ws` on `node:http`, in this process. */
import { describe, expect, test } from 'vitest';
import { httpContract } from './http.contract.ts';

describe('http adapter node', () => {
  test('the contract has checks', () => {
    expect(httpContract.length).toBeGreaterThan(30);
  });

  describe.concurrent('contract', () => {
    for (const { name, run } of httpContract) {
      test(name, () => run({ adapter: 'node', nodeCommand: [process.execPath] }));
    }
  });
});
