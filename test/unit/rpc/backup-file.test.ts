import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { BackupFileError, BackupFileWriter, readBackupFile } from '../../../src/rpc/backup-file.ts';

let folder = '';
let path = '';
const header = { clusterId: 'c1', index: 10, term: 3, revision: 8 };

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ringmq-backup-'));
  path = join(folder, 'state.backup');
});

afterEach(() => rmSync(folder, { recursive: true }));

function write(): void {
  const writer = new BackupFileWriter(path, header);
  writer.chunk(Buffer.from('one'));
  writer.chunk(Buffer.from('second'));
  writer.finish();
}

describe('BackupFileWriter', () => {
  test('BackupFileWriter.finish() leaves a file that reads as it was written', () => {
    write();
    const parts = [...readBackupFile(path)];
    expect(parts[0]).toEqual({ type: 'header', header });
    expect(parts.slice(1, 3).map((part) => part.type === 'chunk' && Buffer.from(part.chunk).toString())).toEqual([
      'one',
      'second',
    ]);
    expect(parts[3]).toMatchObject({ type: 'end', end: { chunkCount: 2, byteCount: 9 } });
    expect(readdirSync(folder)).toEqual(['state.backup']);
    expect(statSync(path).mode & 0o077).toBe(0);
  });

  test('BackupFileWriter.abort() leaves nothing', () => {
    const writer = new BackupFileWriter(path, header);
    writer.chunk(Buffer.from('one'));
    expect(readdirSync(folder)).toEqual(['state.backup.partial']);
    writer.abort();
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe('readBackupFile()', () => {
  test('readBackupFile() throws for a file that was cut anywhere', () => {
    write();
    const whole = readFileSync(path);
    for (let length = 0; length < whole.length; length++) {
      writeFileSync(path, whole.subarray(0, length));
      expect(() => [...readBackupFile(path)], `${length} bytes`).toThrow(BackupFileError);
    }
  });

  test('readBackupFile() finds any damaged byte of the chunks', () => {
    write();
    const whole = readFileSync(path);
    const start = whole.indexOf('one') - 8;
    const end = whole.indexOf('second') + 'second'.length + 4;
    for (let at = start; at < end; at++) {
      const damaged = Buffer.from(whole);
      damaged[at] ^= 0x40;
      writeFileSync(path, damaged);
      expect(() => [...readBackupFile(path)], `byte ${at}`).toThrow(BackupFileError);
    }
  });
});
