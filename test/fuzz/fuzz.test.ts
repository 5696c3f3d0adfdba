/**
 * The fuzz harness for some seconds, and its canary: with a broker that spoils what it sends it must fail, and with one
 * that dies. `npm run test:fuzz -- --seconds 60` is the long run.
 */
import { describe, expect, it } from 'vitest';
import { spoil } from './canary.ts';
import { stateCombinations } from './cases-packets.ts';
import { casesOf, fuzz, type Replay } from './harness.ts';

/** The same on every run: what a test finds must be found again. Longer runs take other seeds. */
const seed = 20_261_121;

describe('fuzz()', () => {
  it('leaves a broker serving, its memory flat and its other clients undisturbed', async () => {
    const report = await fuzz({ seed, seconds: 3 });
    expect(report.failures).toEqual([]);
    expect(report.counts.size).toBe(casesOf('tcp').length);
    for (const [kind, count] of report.counts) expect(count, kind).toBeGreaterThan(0);
    expect(report.combinationsTried).toBe(stateCombinations.length);
    expect(report.messagesSeen).toBeGreaterThan(100);
  }, 90_000);

  it('does so over WebSocket', async () => {
    // Not all kinds: one of them waits for the end of a hand-shake.
    const report = await fuzz({ seed, seconds: 1, transport: 'ws', kind: 'frames' });
    expect(report.failures).toEqual([]);
    expect(report.counts.size).toBeGreaterThan(3);
    for (const [kind, count] of report.counts) expect(count, kind).toBeGreaterThan(0);
    expect(report.messagesSeen).toBeGreaterThan(20);
  }, 90_000);

  it('finds a bug that was planted, and finds it again in the cases that it names', async () => {
    const nodeFlags = ['--import', new URL('./planted-bug.ts', import.meta.url).href];
    const options = { seed, transport: 'ws', nodeFlags } as const;
    const report = await fuzz({ ...options, seconds: 20, kind: 'other header' });
    expect(report.failures.join('\n')).toMatch(/logged errors while these cases played/);
    expect(report.logged.join('\n')).toContain('the planted bug');
    const replays = report.suspects.map((name): Replay => {
      const [number = '', round = '', ...kind] = name.split(':');
      return { number: Number(number), round: Number(round), kind: kind.join(':') };
    });
    const again = await fuzz({ ...options, seconds: 20, replays });
    expect(again.failures.join('\n')).toMatch(/logged errors while these cases played/);
  }, 90_000);

  it('fails when one byte of what the broker sends to others is spoilt', async () => {
    const report = await fuzz({ seed, seconds: 1, kind: 'golden', intercept: spoil });
    expect(report.failures.join('\n')).toMatch(/was expected and|does not parse|no whole packet|foreign|error/);
  }, 60_000);

  it('fails when the broker dies', async () => {
    const report = await fuzz({
      seed,
      seconds: 2,
      kind: 'golden',
      intercept: async (broker) => {
        const timer = setTimeout(() => broker.signal('SIGKILL'), 1_500);
        return { port: broker.port(), close: () => clearTimeout(timer) };
      },
    });
    expect(report.failures.join('\n')).toMatch(/disconnected/);
    expect(report.failures).toContain('the broker has ended');
  }, 60_000);
});
