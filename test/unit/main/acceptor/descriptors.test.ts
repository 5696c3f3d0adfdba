import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { descriptorsForConnections } from '../../../../src/main/acceptor/descriptors.ts';

describe('descriptorsForConnections()', () => {
  let folder: string;
  const writeLimit = (soft: string): void => {
    writeFileSync(
      join(folder, 'limits'),
      `Limit  Soft Limit  Hard Limit\nMax open files            ${soft}   4096   files\n`,
    );
  };

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'ringmq-limits-'));
    mkdirSync(join(folder, 'fd'));
    for (const descriptor of [0, 1, 2, 3]) writeFileSync(join(folder, 'fd', String(descriptor)), '');
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('leaves out what is open and a reserve', () => {
    writeLimit('1024');
    expect(descriptorsForConnections(folder)).toBe(1024 - 4 - 64);
  });

  it('is never negative', () => {
    writeLimit('32');
    expect(descriptorsForConnections(folder)).toBe(0);
  });

  it('is infinite without a limit, and where the system does not tell', () => {
    writeLimit('unlimited');
    expect(descriptorsForConnections(folder)).toBe(Number.POSITIVE_INFINITY);
    expect(descriptorsForConnections('/nowhere')).toBe(Number.POSITIVE_INFINITY);
  });
});
