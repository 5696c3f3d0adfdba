/** The commands of docs/operations/streams.md, run as a reader would. */
import { beforeAll, describe, expect, it } from 'vitest';
import { type PageRun, runPage } from '../support/doc-page.ts';

const limitMs = 120_000;
let run: PageRun;

describe('docs/operations/streams.md', () => {
  beforeAll(async () => {
    run = await runPage('docs/operations/streams.md', limitMs - 10_000);
  }, limitMs);

  it('has a command for every verb of streams and records', () => {
    for (const verb of ['create', 'list', 'describe', 'change', 'purge', 'delete'])
      expect(run.commands).toContain(`stream ${verb}`);
    for (const verb of ['produce', 'read', 'find', 'export', 'import'])
      expect(run.commands).toContain(`record ${verb}`);
  });

  it('can be followed as it is written', () => {
    expect(run.output, run.log).toContain('== done');
    expect(run.status).toBe(0);
  });

  it('copies a stream byte for byte', () => {
    expect(run.output).toContain('the copy is the same');
    expect(run.output).toContain('4 records, no bad line');
  });
});
