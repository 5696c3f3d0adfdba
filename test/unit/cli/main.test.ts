import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { cliVerbs } from '../../../src/cli/main.ts';
import { runCli } from './support.ts';

describe('main()', () => {
  test('main() prints the help of each verb and ends with 0', async () => {
    for (const verb of cliVerbs) {
      const run = await runCli([verb, '--help']);
      expect(run.exitCode).toBe(0);
      expect(run.out).toMatch(new RegExp(`^Usage: ringmq ${verb} `));
    }
  });

  test('main() ends with 1 and a hint when the verb is unknown', async () => {
    const run = await runCli(['bnech']);
    expect(run).toEqual({
      exitCode: 1,
      out: '',
      err: 'ringmq: Cannot run "bnech": unknown command; did you mean bench?\n',
    });
  });

  test('main() ends with 1 for wrong flags of each verb', async () => {
    for (const argv of [
      ['pub'],
      ['pub', '-t', 'a', '-m', 'x', '-q', '3'],
      ['sub'],
      ['sub', '--topc', 'a'],
      ['bench', 'fan-int'],
    ]) {
      const run = await runCli(argv);
      expect(run.exitCode).toBe(1);
      expect(run.err).toMatch(/^ringmq: Cannot /);
    }
  });

  test('main() sets the exit status of the real process', () => {
    const script = join(import.meta.dirname, '..', '..', '..', 'bin', 'ringmq.js');
    const run = spawnSync(process.execPath, [script, 'pub', '-p', '1', '-t', 'a', '-m', 'b'], { encoding: 'utf8' });
    expect(run.status).toBe(2);
    expect(run.stderr).toMatch(/^ringmq: Cannot connect to "localhost:1": .*ECONNREFUSED/);
  });
});
