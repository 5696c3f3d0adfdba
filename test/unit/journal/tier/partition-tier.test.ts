import { describe, expect, it } from 'vitest';
import { PartitionTier } from '../../../../src/journal/tier/partition-tier.ts';
import type { TierEntry } from '../../../../src/journal/tier/tier-manifest.ts';
import { batchOf, LogFixture } from '../journal-fixture.ts';

const id = '0d5e2f2a-4c1b-4f2e-9a3d-7b8c9d0e1f2a';

function entry(baseOffset: number, nextOffset: number): TierEntry {
  const places = { baseOffset, nextOffset, end: 20_000, objectBytes: 21_000, maxTimestamp: 1000 };
  return { ...places, upload: '0011223344556677', crc: 1 };
}

function made(fixture = new LogFixture()): PartitionTier {
  const tier = PartitionTier.create(fixture.disk, id, 'p');
  for (const at of [0, 100, 200]) tier.append(entry(at, at + 100), 5);
  return tier;
}

describe('PartitionTier', () => {
  it('startOf() is that of the tier as long as it reaches the local log', () => {
    const tier = made();
    expect(tier.startOf(300)).toBe(5);
    expect(tier.startOf(200)).toBe(5);
    expect(tier.startOf(0)).toBe(0);
    expect(tier.startOf(301)).toBe(301);
    expect(tier.find(4)).toBeNull();
    expect(tier.find(100)).toMatchObject({ baseOffset: 100 });
    expect(tier.find(300)).toBeNull();
    expect(tier.bytesBelow(200)).toBe(40_000);
  });

  it('safeEnd is what the object names, and what the file still names', () => {
    const tier = made();
    expect(tier.safeEnd).toBe(-1);
    const { manifest } = tier;
    tier.append(entry(300, 400), 0);
    tier.onRemote(manifest);
    expect([tier.safeEnd, tier.isRemoteCurrent]).toEqual([300, false]);
    tier.onRemote(tier.manifest);
    expect([tier.safeEnd, tier.isRemoteCurrent]).toEqual([400, true]);
    tier.truncate(250);
    expect(tier.safeEnd).toBe(200);
    expect(tier.takeDropped().map(({ baseOffset }) => baseOffset)).toEqual([200, 300]);
  });

  it('open() finds what was durable, and tells what is lost', () => {
    const fixture = new LogFixture();
    const tier = made(fixture);
    tier.deleteBefore(150);
    fixture.disk.crash('drop');
    expect(PartitionTier.open(fixture.disk, id, 'p')?.manifest).toEqual(tier.manifest);
    expect(PartitionTier.open(fixture.disk, null, 'p')?.id).toBe(id);
    // Of another life of the partition.
    expect(PartitionTier.open(fixture.disk, `1${id.slice(1)}`, 'p')?.lost).toBe('damaged');
    fixture.disk.remove('tier');
    expect(PartitionTier.open(fixture.disk, null, 'p')).toBeNull();
    expect(PartitionTier.open(fixture.disk, id, 'p')?.lost).toBe('missing');
  });

  it('a write that fails leaves it uncertain, until it is settled with a later sequence', () => {
    const fixture = new LogFixture();
    const tier = made(fixture);
    const { manifest } = tier;
    fixture.disk.fail('folder');
    expect(() => tier.append(entry(300, 400), 0)).toThrow('EIO');
    expect([tier.isCertain, tier.endOffset]).toEqual([false, 300]);
    tier.settle();
    expect(tier.isCertain).toBe(true);
    expect(tier.manifest.sequence).toBeGreaterThan(manifest.sequence + 1);
    expect(PartitionTier.open(fixture.disk, id, 'p')?.manifest).toEqual(tier.manifest);
  });

  it('adopt() takes over what the tier says, without what was deleted meanwhile or is behind a gap', () => {
    const { manifest } = made();
    const fixture = new LogFixture();
    const lost = PartitionTier.open(fixture.disk, id, 'p');
    lost?.deleteBefore(120);
    lost?.adopt(manifest, 250);
    expect([lost?.lost, lost?.startOf(250)]).toEqual([null, 120]);
    expect(lost?.takeDropped().map(({ baseOffset }) => baseOffset)).toEqual([0]);
    const behind = PartitionTier.open(new LogFixture().disk, id, 'p');
    behind?.adopt(manifest, 400);
    expect([behind?.isEmpty, behind?.startOf(400)]).toEqual([true, 400]);
    expect(behind?.takeDropped()).toHaveLength(3);
  });
});

describe('PartitionLog with a tier', () => {
  it('truncateTo() forgets what the tier has behind the new end, before anything is cut', () => {
    const fixture = new LogFixture();
    const tier = PartitionTier.create(fixture.disk, id, 'p');
    const log = fixture.open({ segmentBytes: 20 * 1024, tier });
    for (let number = 0; number < 12; number += 1) fixture.append(log, batchOf(['x'.repeat(2000)]));
    const first = log.nextToTier();
    if (first === null) throw new Error('There is no full segment');
    tier.append(entry(0, first.nextOffset), 0);
    const second = log.nextToTier();
    expect(second?.segment.baseOffset).toBe(first.nextOffset);
    log.truncateTo(first.nextOffset);
    expect(tier.endOffset).toBe(first.nextOffset);
    expect(log.nextToTier()).toBeNull();
    log.truncateTo(1);
    expect([tier.isEmpty, log.logEndOffset]).toEqual([true, 1]);
    // It grows again, and goes to the tier anew.
    for (let number = 0; number < 12; number += 1) fixture.append(log, batchOf(['y'.repeat(2000)]));
    expect(log.nextToTier()?.segment.baseOffset).toBe(0);
  });

  it('nextToTier() stops at a transaction that is not decided', () => {
    const fixture = new LogFixture();
    const tier = PartitionTier.create(fixture.disk, id, 'p');
    const log = fixture.open({ segmentBytes: 16 * 1024, tier, isReplicated: true });
    for (let number = 0; number < 12; number += 1) fixture.append(log, batchOf(['x'.repeat(2000)]));
    // Not committed yet.
    expect(log.nextToTier()).toBeNull();
    log.setHighWatermark(12);
    expect(log.nextToTier()).not.toBeNull();
  });
});
