import { describe, expect, it } from 'vitest';
import { RetainedLoading } from '../../../src/main/retained-loading.ts';

describe('whenLoaded()', () => {
  it('resolves when every worker has loaded, a successor in place of one that died', async () => {
    const loading = new RetainedLoading(2);
    loading.workerLoaded(0);
    loading.workerGone(0);
    loading.workerLoaded(1);
    let isLoaded = false;
    const loaded = loading.whenLoaded().then(() => {
      isLoaded = true;
    });
    await new Promise(setImmediate);
    expect(isLoaded).toBe(false);
    loading.workerLoaded(0);
    await loaded;
    await loading.whenLoaded();
  });

  it('resolves after its limit', async () => {
    await new RetainedLoading(1).whenLoaded(1);
  });
});
