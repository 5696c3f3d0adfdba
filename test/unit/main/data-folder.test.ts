import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openDataFolder } from '../../../src/main/data-folder.ts';

describe('openDataFolder()', () => {
  let parent: string;
  let path: string;
  let lock: string;

  beforeEach(() => {
    parent = mkdtempSync(join(tmpdir(), 'ringmq-folder-'));
    path = join(parent, 'deep/data');
    lock = join(path, 'ringmq.lock');
  });
  afterEach(() => rmSync(parent, { recursive: true, force: true }));

  it('creates the folder, locks it with the process id, and release() gives it back', () => {
    const folder = openDataFolder(path);
    expect(readFileSync(lock, 'utf8')).toBe(`${process.pid}\n`);
    expect(readdirSync(path)).toEqual(['ringmq.lock']);
    folder.release();
    expect(existsSync(lock)).toBe(false);
  });

  it('refuses a folder that this process has, and one that a living process has', () => {
    const folder = openDataFolder(path);
    expect(() => openDataFolder(path)).toThrow(`the broker with process id ${process.pid} has it`);
    folder.release();
    writeFileSync(lock, `${process.ppid}\n`);
    expect(() => openDataFolder(path)).toThrow(`the broker with process id ${process.ppid} has it`);
  });

  it('takes over from a dead process, from a predecessor with the same process id, and from a broken lock', () => {
    openDataFolder(path).release();
    const { pid } = spawnSync(process.execPath, ['-e', '']);
    for (const content of [`${pid}\n`, `${process.pid}\n`, 'nonsense\n', '']) {
      writeFileSync(lock, content);
      const folder = openDataFolder(path);
      expect(readFileSync(lock, 'utf8')).toBe(`${process.pid}\n`);
      folder.release();
    }
  });

  it('throws DATA_FOLDER_UNUSABLE when something else is in the way', () => {
    writeFileSync(join(parent, 'file'), '');
    expect(() => openDataFolder(join(parent, 'file'))).toThrow(/Cannot use data folder/);
    try {
      openDataFolder(join(parent, 'file', 'below'));
    } catch (error) {
      expect(error).toMatchObject({ code: 'DATA_FOLDER_UNUSABLE' });
    }
  });
});
