/** The commands of docs/operations/queues.md, run as a reader would. */
import { beforeAll, describe, expect, it } from 'vitest';
import { type PageRun, runPage } from '../support/doc-page.ts';

const limitMs = 120_000;
let run: PageRun;

describe('docs/operations/queues.md', () => {
  beforeAll(async () => {
    run = await runPage('docs/operations/queues.md', limitMs - 10_000);
  }, limitMs);

  it('has a command for every verb', () => {
    const verbs = ['create', 'list', 'describe', 'change', 'add-group', 'delete', 'produce', 'receive', 'acknowledge'];
    for (const verb of [...verbs, 'reject', 'dead-letters', 'purge', 'seek'])
      expect(run.commands).toContain(`queue ${verb}`);
    for (const verb of ['list', 'describe', 'reset', 'delete']) expect(run.commands).toContain(`group ${verb}`);
    for (const verb of ['list', 'cancel']) expect(run.commands).toContain(`delayed ${verb}`);
    expect(run.commands).toContain('transaction list');
  });

  it('can be followed as it is written', () => {
    expect(run.output, run.log).toContain('== done');
    expect(run.status).toBe(0);
    expect(run.output).toContain('acknowledged');
    expect(run.output).toContain('moved  1');
  });
});
