import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { TaskPool } from '../../../src/workers/task-pool.ts';

describe('TaskPool', () => {
  it('run() works on another thread and gives the result back', async () => {
    const pool = new TaskPool();
    const text = 'many words, again and again\n'.repeat(5_000);
    const results = await Promise.all([pool.run('gzip', text), pool.run('gzip', `${text}!`)]);
    expect(gunzipSync(results[0]).toString()).toBe(text);
    expect(gunzipSync(results[1]).toString()).toBe(`${text}!`);
    await pool.close();
  });

  it('close() ends nothing when nothing was run', async () => {
    await new TaskPool().close();
  });
});
