import { expect, test } from 'vitest';
import { SessionModel } from './session-model.ts';

/** More in the environment: `SESSION_MODEL_ROUNDS=1000`. */
const rounds = Number(process.env['SESSION_MODEL_ROUNDS'] ?? 20);
const firstSeed = Number(process.env['SESSION_MODEL_SEED'] ?? 1);

test('sessions keep every promise over crashes at any point', async () => {
  let crashes = 0;
  for (let seed = firstSeed; seed < firstSeed + rounds; seed += 1) {
    const model = new SessionModel(seed);
    try {
      await model.run(150);
    } catch (error) {
      throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
    }
    crashes += model.crashes;
  }
  expect(crashes).toBeGreaterThan(rounds);
}, 600_000);
