import { expect, test } from 'vitest';
import { GroupModel } from './group-model.ts';

/** More in the environment: `GROUP_MODEL_ROUNDS=1000`. */
const rounds = Number(process.env['GROUP_MODEL_ROUNDS'] ?? 6);
const firstSeed = Number(process.env['GROUP_MODEL_SEED'] ?? 1);

test('groups keep every promise over crashes of threads and of the process at any point', async () => {
  let crashes = 0;
  let restarts = 0;
  for (let seed = firstSeed; seed < firstSeed + rounds; seed += 1) {
    const model = new GroupModel(seed);
    try {
      await model.run(150);
    } catch (error) {
      throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
    }
    crashes += model.crashes;
    restarts += model.restarts;
  }
  expect(crashes + restarts).toBeGreaterThan(rounds);
}, 600_000);
