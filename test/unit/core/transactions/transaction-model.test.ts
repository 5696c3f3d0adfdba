// Transactions under random operations, faults and crashes; the checks have canaries.
import { describe, expect, it } from 'vitest';
import { batchAttributes, readBatchHeader } from '../../../../src/core/batch/batch-format.ts';
import { buildControlBatch, readControlType } from '../../../../src/core/batch/control-batch.ts';
import { TransactionModel, type TransactionModelOptions } from './transaction-model.ts';

const rounds = Number(process.env['TRANSACTION_MODEL_ROUNDS'] ?? 6);
const firstSeed = Number(process.env['TRANSACTION_MODEL_SEED'] ?? 1);
const timeoutMs = 30_000 + 1000 * rounds;

async function runRounds(given: Omit<TransactionModelOptions, 'seed' | 'steps'>): Promise<TransactionModel['counts']> {
  const sum = { committed: 0, aborted: 0, maybe: 0, crashes: 0 };
  for (let round = 0; round < rounds; round += 1) {
    const model = new TransactionModel({ ...given, seed: firstSeed + round, steps: 250 });
    await model.run();
    for (const key of Object.keys(sum) as (keyof typeof sum)[]) sum[key] += model.counts[key];
  }
  return sum;
}

describe('transactions under chance', () => {
  it(
    'are there as a whole or not at all when everything crashes at any point',
    async () => {
      const counts = await runRounds({ hasFaults: false });
      expect(counts.committed).toBeGreaterThan(10 * rounds);
      expect(counts.aborted).toBeGreaterThan(5 * rounds);
      expect(counts.crashes).toBeGreaterThan(3 * rounds);
    },
    timeoutMs,
  );

  it(
    'are so when the store refuses appends or hides their fate',
    async () => {
      expect((await runRounds({ hasFaults: true })).committed).toBeGreaterThan(5 * rounds);
    },
    timeoutMs,
  );

  it(
    'are found out when a partition gets the wrong marker',
    async () => {
      const change = (partition: string, bytes: Buffer): Buffer => (partition === 'p1' ? aborting(bytes) : bytes);
      await expect(runRounds({ hasFaults: false, change })).rejects.toThrow('records');
    },
    timeoutMs,
  );
});

/** An abort instead of a commit. */
function aborting(bytes: Buffer): Buffer {
  const { attributes, producerId, producerEpoch } = readBatchHeader(bytes);
  if ((attributes & batchAttributes.control) === 0 || readControlType(bytes) !== 'commit') return bytes;
  return buildControlBatch({ type: 'abort', producerId, producerEpoch, coordinatorEpoch: 0, timestampMs: 1 });
}
