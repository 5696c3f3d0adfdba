import { existsSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { describe, expect, test } from 'vitest';
import { freeBytesOf } from '../../../../src/core/files/free-bytes.ts';

describe('freeBytesOf', () => {
  test('freeBytesOf() answers a number of bytes below the size of the disk when the disk has one', () => {
    const { blocks, bsize } = statfsSync(tmpdir());
    expect(freeBytesOf(tmpdir())).toBeGreaterThan(0);
    expect(freeBytesOf(tmpdir())).toBeLessThanOrEqual(blocks * bsize);
  });

  test('freeBytesOf() answers infinity when the file system has no size', () => {
    // The only one that is always there; elsewhere than on Linux there is none to ask.
    if (existsSync('/proc/self/status')) expect(freeBytesOf('/proc')).toBe(Number.POSITIVE_INFINITY);
  });

  test('freeBytesOf() throws when there is no such folder', () => {
    expect(() => freeBytesOf('/nowhere/at/all')).toThrow('ENOENT');
  });
});
