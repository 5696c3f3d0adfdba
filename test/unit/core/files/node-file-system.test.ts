import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { openNodeFileSystem } from '../../../../src/core/files/node-file-system.ts';
import { fileSystemContract } from '../../../contract/file-system.contract.ts';

const folders: string[] = [];

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'ringmq-raft-files-'));
  folders.push(folder);
  return folder;
}

afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});

describe('openNodeFileSystem()', () => {
  fileSystemContract(() => openNodeFileSystem(newFolder()));

  it('makes the folder and those above it', () => {
    const folder = join(newFolder(), 'one', 'two');
    openNodeFileSystem(folder).syncFolder();
    expect(existsSync(folder)).toBe(true);
  });

  it('refuses a name that leaves the folder', () => {
    expect(() => openNodeFileSystem(newFolder()).open('../a', { create: true })).toThrow('lies in its folder');
  });
});
