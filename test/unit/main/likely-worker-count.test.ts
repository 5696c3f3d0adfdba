/** The guess against what the configuration says in the end. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadConfiguration, resolveWorkers } from '../../../src/config/load.ts';
import { likelyWorkerCount } from '../../../src/main/likely-worker-count.ts';
import { protocols } from '../../../src/protocols/registry.ts';

let folder: string;
let file: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ringmq-likely-'));
  file = join(folder, 'ringmq.yaml');
  writeFileSync(file, 'workers: 3\n');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function actual(flags: readonly string[], environment: Record<string, string>): Promise<number> {
  const { node } = await loadConfiguration({ environment, flags, parts: protocols });
  return resolveWorkers(node.workers);
}

describe('likelyWorkerCount()', () => {
  it('finds what flags, variables and the default say', async () => {
    const cases: readonly (readonly [readonly string[], Record<string, string>])[] = [
      [[], {}],
      [['--workers', '5'], {}],
      [['--workers=5'], { RINGMQ_WORKERS: '7' }],
      [['--workers', 'auto'], { RINGMQ_WORKERS: '7' }],
      [['--set', 'workers=6'], {}],
      [['--set=workers=6', '--workers', '2'], {}],
      [['--workers', '2', '--set', 'workers=6'], {}],
      [['--data', folder], { RINGMQ_WORKERS: '7' }],
      [['--config', file, '--workers', '4'], {}],
      [[], { RINGMQ_WORKERS: 'auto' }],
    ];
    for (const [flags, environment] of cases) {
      const expected = await actual(flags, environment);
      expect(likelyWorkerCount(flags, environment, availableParallelism()), `${flags}`).toBe(Math.min(expected, 16));
    }
  });

  it('says one when a file decides', () => {
    expect(likelyWorkerCount(['--config', file], {}, 8)).toBe(1);
    expect(likelyWorkerCount([`--config=${file}`], {}, 8)).toBe(1);
    expect(likelyWorkerCount([], { RINGMQ_CONFIG: file }, 8)).toBe(1);
  });

  it('says one for what is no number, and never more than sixteen', () => {
    for (const text of ['', 'many', '-1', '0', '1.5', 'NaN'])
      expect(likelyWorkerCount(['--workers', text], {}, 8)).toBe(1);
    expect(likelyWorkerCount(['--workers'], {}, 8)).toBe(8); // Refused by its reader.
    expect(likelyWorkerCount(['--workers', '64'], {}, 8)).toBe(16);
    expect(likelyWorkerCount([], {}, 128)).toBe(16);
  });
});
