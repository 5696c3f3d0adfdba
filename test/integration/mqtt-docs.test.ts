/** The commands of docs/protocols/mqtt-delayed.md and mqtt-streams.md, run as a reader would. */
import { describe, expect, it } from 'vitest';
import { runPage } from '../support/doc-page.ts';

const limitMs = 120_000;

describe('docs/protocols/mqtt-delayed.md', () => {
  it(
    'can be followed as it is written',
    async () => {
      const run = await runPage('docs/protocols/mqtt-delayed.md', 30_000);
      expect(run.output, run.log).toContain('== 0\nhome/light off\n');
      expect(run.output).toContain('_due-mqtt-0');
      expect(run.output).toMatch(/cancelled {2}\d+-\d+\n== done/);
      expect(run.status).toBe(0);
    },
    limitMs,
  );
});

describe('docs/protocols/mqtt-streams.md', () => {
  it(
    'can be followed as it is written',
    async () => {
      const run = await runPage('docs/protocols/mqtt-streams.md', 30_000);
      expect(run.output, run.log).toContain(
        'sensors/7/up {"id":"s7","t":20}\nsensors/7/up {"id":"s7","t":21}\n== done',
      );
      expect(run.status).toBe(0);
    },
    limitMs,
  );
});
