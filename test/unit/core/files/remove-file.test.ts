import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { removeFile } from '../../../../src/core/files/remove-file.ts';

it('removeFile() takes the name at once, and who has the file open can go on reading it', () => {
  const folder = mkdtempSync(join(tmpdir(), 'ringmq-remove-'));
  try {
    const path = join(folder, 'file');
    writeFileSync(path, 'content');
    const reader = openSync(path, 'r');
    removeFile(path);
    expect(existsSync(path)).toBe(false);
    writeFileSync(path, 'another');
    expect(readFileSync(reader, 'utf8')).toBe('content');
    closeSync(reader);
    for (let count = 0; count < 300; count += 1) {
      writeFileSync(join(folder, `${count}`), 'x');
      removeFile(join(folder, `${count}`));
    }
    expect(existsSync(join(folder, '299'))).toBe(false);
    expect(() => removeFile(join(folder, '299'))).toThrow('ENOENT');
  } finally {
    rmSync(folder, { recursive: true });
  }
});
