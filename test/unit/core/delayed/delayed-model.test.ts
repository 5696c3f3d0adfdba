// Delayed messages under random operations, faults and crashes; the checks have canaries.
import { describe, expect, it } from 'vitest';
import { batchAttributes, readBatchHeader, sealBatch, writeInt64 } from '../../../../src/core/batch/batch-format.ts';
import { DelayedModel, type ModelOptions } from './delayed-model.ts';

const rounds = Number(process.env['DELAYED_MODEL_ROUNDS'] ?? 5);
const firstSeed = Number(process.env['DELAYED_MODEL_SEED'] ?? 1);
const timeoutMs = 30_000 + 1000 * rounds;

async function runRounds(given: Omit<ModelOptions, 'seed' | 'steps'>): Promise<DelayedModel['counts']> {
  const sum = { accepted: 0, cancelled: 0, crashes: 0, seen: 0 };
  for (let round = 0; round < rounds; round += 1) {
    const model = new DelayedModel({ ...given, seed: firstSeed + round, steps: 120 });
    await model.run();
    sum.accepted += model.counts.accepted;
    sum.cancelled += model.counts.cancelled;
    sum.crashes += model.counts.crashes;
    sum.seen += model.counts.seen;
  }
  return sum;
}

describe('DelayedMessages under chance', () => {
  it(
    'writes what it accepted exactly once and in order when it crashes at any point',
    async () => {
      const counts = await runRounds({ hasFaults: false });
      expect(counts.accepted).toBeGreaterThan(100 * rounds);
      expect(counts.crashes).toBeGreaterThan(rounds);
      expect(counts.cancelled).toBeGreaterThan(rounds);
    },
    timeoutMs,
  );

  it(
    'does so when the store refuses appends or hides their fate',
    async () => {
      const counts = await runRounds({ hasFaults: true });
      expect(counts.seen).toBeGreaterThan(100 * rounds);
    },
    timeoutMs,
  );

  it(
    'is found out when a target stores a batch twice',
    async () => {
      const change = (partition: string, bytes: Buffer): Buffer =>
        partition.startsWith('t') ? anonymous(bytes) : bytes;
      await expect(runRounds({ hasFaults: true, change })).rejects.toThrow('was written twice');
    },
    timeoutMs,
  );
});

/** The same batch without its producer, which a store cannot tell from a new one. */
function anonymous(bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes);
  if ((readBatchHeader(copy).attributes & batchAttributes.control) !== 0) return copy;
  writeInt64(copy, -1, 43);
  copy.writeInt16BE(-1, 51);
  copy.writeInt32BE(-1, 53);
  sealBatch(copy, 0, copy.length);
  return copy;
}
