import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Request, RequestOutcome } from '../../../../src/raft/placement/request-rows.ts';
import { RequestWindow } from '../../../../src/raft/placement/request-window.ts';
import { requestId } from '../../../support/placement-machine.ts';

function outcome(index: number): RequestOutcome {
  const refusal = index % 5 === 0 ? 'LEASE_NOT_FOUND' : null;
  return { revision: index * 2 ** 30, commandTag: index % 13, succeeded: index % 2 === 0, epoch: index * 3, refusal };
}

function request(index: number): Request {
  if (index % 2 === 0) return { index, requestId: requestId(index), origin: 1, sequence: index };
  return { index, requestId: null, origin: 2 ** 53 - 1 - (index % 7), sequence: 2 ** 52 + index };
}

describe('RequestWindow', () => {
  it('get() knows exactly what was added and not forgotten, however much that is', () => {
    const step = fc.record({ added: fc.nat(700), kept: fc.nat(900) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 8 }), (steps) => {
        const window = new RequestWindow();
        const ownRows: number[] = [];
        let first = 1;
        let newest = 0;
        for (const { added, kept } of steps) {
          for (let count = 0; count < added; count++) {
            newest++;
            window.add(request(newest), outcome(newest), newest % 3 === 0);
          }
          window.forget(newest - kept, (index) => ownRows.push(index));
          first = Math.max(first, newest - kept + 1);
          for (let index = Math.max(first - 50, 1); index <= newest + 1; index++) {
            expect(window.get(request(index))).toEqual(index >= first && index <= newest ? outcome(index) : null);
          }
        }
        const expected = Array.from({ length: first - 1 }, (_, place) => place + 1).filter((index) => index % 3 === 0);
        expect(ownRows).toEqual(expected);
        expect(window.newestIndex).toBe(first > newest ? 0 : newest);
        window.clear();
        expect(window.get(request(newest))).toBeNull();
      }),
      { numRuns: 40, interruptAfterTimeLimit: 4_000 },
    );
  });

  it('get() tells a request id from the origin and sequence with the same bits', () => {
    const window = new RequestWindow();
    const id = Buffer.alloc(16);
    id.writeUInt32LE(5, 4);
    id.writeUInt32LE(9, 12);
    window.add({ index: 1, requestId: null, origin: 5, sequence: 9 }, outcome(1), false);
    expect(window.get({ requestId: id, origin: 5, sequence: 9 })).toBeNull();
    window.add({ index: 2, requestId: id, origin: 7, sequence: 7 }, outcome(2), false);
    expect(window.get({ requestId: id, origin: 1, sequence: 1 })).toEqual(outcome(2));
    expect(window.get({ requestId: null, origin: 5, sequence: 9 })).toEqual(outcome(1));
  });
});
