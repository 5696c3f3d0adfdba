import { describe, expect, it } from 'vitest';
import { OfflinePartition } from '../../../../src/journal/offline/offline-partition.ts';
import { type JournalProblem, verifyPartition } from '../../../../src/journal/offline/verify.ts';
import { verifyTier } from '../../../../src/journal/offline/verify-tier.ts';
import { MemoryObjects } from '../../../support/memory-objects.ts';
import { kibibyte, TierBench } from './tier-fixture.ts';

async function closed(): Promise<TierBench> {
  const bench = new TierBench();
  await bench.fill(await bench.create(), 0, 100);
  await bench.settle();
  await bench.store.close();
  return bench;
}

async function verified(bench: TierBench, withObjects = true) {
  const problems: JournalProblem[] = [];
  const partition = new OfflinePartition('/nowhere/p', bench.folders.disks.get('p'));
  const local = verifyPartition(partition, (problem) => problems.push(problem));
  const objects = withObjects ? new MemoryObjects(bench.service) : null;
  const tier = await verifyTier(partition, objects, (problem) => problems.push(problem));
  return { local, tier, problems };
}

describe('verifyTier()', () => {
  it('finds a sound tier sound, and joins it to the local log', async () => {
    const bench = await closed();
    const { local, tier, problems } = await verified(bench);
    expect(problems).toEqual([]);
    expect(tier).toMatchObject({ startOffset: 0, endOffset: local.logStartOffset });
    expect((tier?.records ?? 0) + local.records).toBe(100);
    expect((await verified(bench, false)).tier).toMatchObject({ records: 0, segments: tier?.segments });
  });

  it('names damaged, missing and strange objects', async () => {
    const bench = await closed();
    const [first, second, third] = bench.service.segments();
    (bench.service.objects.get(first) as Buffer)[20 * kibibyte] ^= 1;
    bench.service.objects.delete(second);
    const description = bench.service.objects.get(third) as Buffer;
    description[description.length - 40] ^= 1;
    bench.service.objects.set(`${first}0`, Buffer.from('strange'));
    const { problems } = await verified(bench);
    expect(problems.map(({ severity, file }) => `${severity} ${file}`)).toEqual([
      `damage ${first}`,
      `damage ${second}`,
      `damage ${third}`,
      `note ${first}0`,
    ]);
    expect(problems[0]).toMatchObject({ firstOffset: 0 });
    expect(problems[0].position).toBeGreaterThan(12 * kibibyte);
  });

  it('tells a list that is lost, and one that is older than the one in the tier', async () => {
    const bench = await closed();
    const disk = bench.folders.disks.get('p');
    const [manifest] = bench.service.keys().filter((key) => key.endsWith('/manifest'));
    bench.service.objects.delete(manifest);
    expect((await verified(bench)).problems).toMatchObject([{ severity: 'note', file: manifest }]);
    disk?.remove('tier');
    const { tier, problems } = await verified(bench);
    expect(tier).toBeNull();
    expect(problems).toMatchObject([{ severity: 'damage', file: 'tier' }]);
  });
});
