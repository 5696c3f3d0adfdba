import { describe, expect, test } from 'vitest';
import { chooseHttpAdapter, loadHttpAdapter } from '../../../../src/net/http/choose.ts';

/** What the machine's C library allows; both answers are right, each on its machine. */
const uwsLoads = await import('uWebSockets.js').then(
  () => true,
  () => false,
);

describe('chooseHttpAdapter()', () => {
  test('takes node when it is asked for', async () => {
    const { adapter, reason } = await chooseHttpAdapter('node');
    expect(adapter.name).toBe('node');
    expect(reason).toBe('requested by the configuration');
  });

  test('auto takes uWebSockets.js where it loads and says why', async () => {
    const { adapter, reason } = await chooseHttpAdapter('auto');
    expect(adapter.name).toBe(uwsLoads ? 'uws' : 'node');
    expect(reason).toMatch(uwsLoads ? /^uWebSockets.js loads here$/ : /^uWebSockets.js does not load here \(.+\)$/);
  });

  test('uws rejects with a clear error where it does not load', async () => {
    const chosen = chooseHttpAdapter('uws');
    if (uwsLoads) expect((await chosen).adapter.name).toBe('uws');
    else {
      await expect(chosen).rejects.toMatchObject({
        code: 'HTTP_ADAPTER_UNAVAILABLE',
        message: expect.stringMatching(/^Cannot use HTTP adapter "uws": uWebSockets.js does not load here \(.+\)$/),
      });
    }
  });

  test('loadHttpAdapter() gives the one of this name', async () => {
    expect((await loadHttpAdapter('node')).name).toBe('node');
  });
});
