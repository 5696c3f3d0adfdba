/** Plays the scenarios and compares what happens with what is written there. REWRITE=1 writes what happens. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { replay } from './script.ts';

const folder = join(import.meta.dirname, 'scenarios');
const files = readdirSync(folder).filter((name) => name.endsWith('.txt'));
const isRewriting = process.env['REWRITE'] === '1';

describe('Consensus plays its scenarios', () => {
  it('replay() finds the scenarios', () => {
    expect(files.length).toBeGreaterThan(15);
  });

  for (const file of files) {
    it(`replay() of ${file} gives the golden log`, () => {
      const path = join(folder, file);
      const golden = readFileSync(path, 'utf8');
      const now = replay(golden);
      if (isRewriting) writeFileSync(path, now);
      else expect(now).toBe(golden);
    });
  }

  it('replay() does notice a difference', () => {
    const golden = '> group voters=1\n> campaign 1\n> take 1\n  round 9 of 1\n';
    expect(replay(golden)).not.toBe(golden);
    expect(replay(golden)).toContain('round 1 of 1');
  });
});
