import { describe, expect, it } from 'vitest';
import {
  decodeManifest,
  encodeManifest,
  findEntry,
  openManifest,
  sealManifest,
  type TierManifest,
} from '../../../../src/journal/tier/tier-manifest.ts';

const manifest: TierManifest = {
  id: '0d5e2f2a-4c1b-4f2e-9a3d-7b8c9d0e1f2a',
  name: 'a.partition',
  sequence: 2 ** 40 + 7,
  startOffset: 12,
  entries: [0, 1, 2].map((at) => ({
    baseOffset: at * 100,
    nextOffset: at * 100 + 100,
    maxTimestamp: at === 1 ? -1 : 1_700_000_000_000 + at,
    end: 12_288 + at,
    objectBytes: 20_000 + at,
    upload: `00112233445566${at}${at}`,
    crc: 0xffff_fff0 + at,
  })),
};

describe('encodeManifest() and decodeManifest()', () => {
  it('give back what they got', () => {
    expect(decodeManifest(encodeManifest(manifest))).toEqual(manifest);
    expect(openManifest(sealManifest(manifest))).toEqual(manifest);
    expect(openManifest(sealManifest({ ...manifest, entries: [] }))).toEqual({ ...manifest, entries: [] });
  });

  it('find every changed byte, and every length', () => {
    const sealed = sealManifest(manifest);
    for (let at = 0; at < sealed.length; at += 1) {
      const changed = Buffer.from(sealed);
      changed[at] ^= 0x10;
      expect(openManifest(changed)).toBeNull();
      expect(openManifest(sealed.subarray(0, at))).toBeNull();
    }
  });

  it('refuse entries with a gap or without a range', () => {
    const [first, second] = manifest.entries;
    for (const entries of [
      [first, { ...second, baseOffset: 101 }],
      [{ ...first, nextOffset: 0 }],
      [{ ...first, objectBytes: first.end }],
    ]) {
      expect(decodeManifest(encodeManifest({ ...manifest, entries }))).toBeNull();
    }
  });
});

describe('findEntry()', () => {
  it('finds the first entry that ends above an offset', () => {
    const { entries } = manifest;
    expect([0, 99, 100, 250, 299, 300].map((offset) => findEntry(entries, offset))).toEqual([0, 0, 1, 2, 2, 3]);
  });
});
