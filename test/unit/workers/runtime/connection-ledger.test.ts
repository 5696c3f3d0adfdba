import { describe, expect, it } from 'vitest';
import { createLedger, Ledger, LedgerWriter } from '../../../../src/workers/runtime/connection-ledger.ts';

function setUp(workerCount = 2, listenerCount = 20) {
  const buffer = createLedger(workerCount, listenerCount);
  const writers = Array.from({ length: workerCount }, (_, index) => new LedgerWriter(buffer, index, listenerCount));
  return { ledger: new Ledger(buffer, workerCount, listenerCount), writers };
}

describe('Ledger', () => {
  it('counts what was handed over and has not ended, by worker, by listener and in total', () => {
    const { ledger, writers } = setUp();
    ledger.handOver(0, 0);
    ledger.handOver(0, 19);
    ledger.handOver(1, 19);
    expect([ledger.ofWorker(0), ledger.ofWorker(1), ledger.ofListener(0), ledger.ofListener(19), ledger.total]).toEqual(
      [2, 1, 1, 2, 3],
    );
    writers[0].ended(19);
    expect([ledger.ofWorker(0), ledger.ofWorker(1), ledger.ofListener(19), ledger.total]).toEqual([1, 1, 1, 2]);
  });

  it('reset() forgets the connections of a dead worker only', () => {
    const { ledger, writers } = setUp();
    for (const worker of [0, 0, 0, 1]) ledger.handOver(worker, 3);
    writers[0].ended(3);
    ledger.reset(0);
    expect([ledger.ofWorker(0), ledger.ofWorker(1)]).toEqual([0, 1]);
    ledger.handOver(0, 3);
    expect(ledger.ofWorker(0)).toBe(1);
  });

  it('stays right when the counts wrap around 32 bits', () => {
    const buffer = createLedger(1, 1);
    const ledger = new Ledger(buffer, 1, 1);
    const writer = new LedgerWriter(buffer, 0, 1);
    new Int32Array(buffer)[0] = 0x7fffffff;
    // The main thread's own count stands at the same value after as many hand-overs.
    for (let count = 0; count < 3; count++) ledger.handOver(0, 0);
    writer.ended(0);
    const before = ledger.total;
    writer.ended(0);
    expect((before - ledger.total) | 0).toBe(1);
  });
});
