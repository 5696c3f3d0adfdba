/** The commands of docs/protocols/mqtt-bridge.md, run as a reader would. */
import { expect, it } from 'vitest';
import { runPage } from '../support/doc-page.ts';

const limitMs = 120_000;

it(
  'docs/protocols/mqtt-bridge.md can be followed as it is written',
  async () => {
    const { output, status, log } = await runPage('docs/protocols/mqtt-bridge.md', limitMs - 10_000);
    expect(output, log).toContain('== done');
    expect(status).toBe(0);
    expect(output).toContain('plant-7/sensors/a 21.5\ncommands/valve open\n');
    expect(output).toMatch(/^headquarters +connected /m);
  },
  limitMs,
);
