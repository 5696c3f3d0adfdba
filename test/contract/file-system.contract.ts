/** The contract of `FileSystem`, run over the real disk and the simulated one. */

import { expect, it } from 'vitest';
import type { FileSystem } from '../../src/core/ports/file-system.ts';

const thrownBy = (call: () => unknown): unknown => {
  try {
    call();
  } catch (error) {
    return (error as { code?: string }).code;
  }
  return null;
};

/** `open` gives an empty folder. */
export function fileSystemContract(open: () => FileSystem): void {
  it('open() makes a file once and finds it again', () => {
    const fileSystem = open();
    expect(thrownBy(() => fileSystem.open('a', { create: false }))).toBe('ENOENT');
    fileSystem.open('a', { create: true }).close();
    expect(thrownBy(() => fileSystem.open('a', { create: true }))).toBe('EEXIST');
    expect(fileSystem.open('a', { create: false }).size()).toBe(0);
  });

  it('list() gives the names sorted, as renames and removals leave them', () => {
    const fileSystem = open();
    for (const name of ['c', 'a', 'b']) fileSystem.open(name, { create: true }).close();
    fileSystem.rename('a', 'd');
    fileSystem.remove('b');
    fileSystem.syncFolder();
    expect(fileSystem.list()).toEqual(['c', 'd']);
    expect(thrownBy(() => fileSystem.rename('a', 'e'))).toBe('ENOENT');
    expect(thrownBy(() => fileSystem.remove('b'))).toBe('ENOENT');
  });

  it('rename() replaces a file that has the name', () => {
    const fileSystem = open();
    const file = fileSystem.open('a', { create: true });
    file.write(Buffer.from('new'), 0);
    fileSystem.open('b', { create: true }).close();
    fileSystem.rename('a', 'b');
    expect(fileSystem.list()).toEqual(['b']);
    expect(fileSystem.open('b', { create: false }).size()).toBe(3);
    file.close();
  });

  it('write() puts bytes anywhere, with zeros before them', () => {
    const file = open().open('a', { create: true });
    file.write(Buffer.from('tail'), 6);
    file.write(Buffer.from('head'), 0);
    const target = Buffer.alloc(10);
    expect(file.read(target, 0)).toBe(10);
    expect(target.toString('latin1')).toBe('head\0\0tail');
    file.close();
  });

  it('read() answers how many bytes there were', () => {
    const file = open().open('a', { create: true });
    file.write(Buffer.from('12345'), 0);
    const target = Buffer.alloc(4, '.');
    expect(file.read(target, 3)).toBe(2);
    expect(target.toString('latin1')).toBe('45..');
    expect(file.read(target, 5)).toBe(0);
    expect(file.read(target, 100)).toBe(0);
    file.close();
  });

  it('truncate() cuts, and grows with zeros', () => {
    const file = open().open('a', { create: true });
    file.write(Buffer.from('12345'), 0);
    file.truncate(2);
    file.truncate(4);
    const target = Buffer.alloc(4, '.');
    expect(file.read(target, 0)).toBe(4);
    expect(target.toString('latin1')).toBe('12\0\0');
    file.close();
  });

  it('sync() answers later, once, also when the file is closed before', async () => {
    const file = open().open('a', { create: true });
    file.write(Buffer.from('12345'), 0);
    let answers = 0;
    const answered = new Promise<Error | null>((resolve) => {
      file.sync((error) => {
        answers += 1;
        resolve(error);
      });
    });
    expect(answers).toBe(0);
    file.close();
    expect(await answered).toBeNull();
    expect(answers).toBe(1);
  });

  it('syncQuickly() is not done while another sync is under way, nor on a disk of unknown speed', async () => {
    const file = open().open('a', { create: true });
    if (file.syncQuickly === undefined) return;
    file.write(Buffer.from('12345'), 0);
    expect(file.syncQuickly()).toBe(false);
    const answered = new Promise<Error | null>((resolve) => {
      file.sync(resolve);
    });
    expect(file.syncQuickly()).toBe(false);
    expect(await answered).toBeNull();
    file.close();
  });

  it('syncNow() returns when it is done, also while another sync is under way', async () => {
    const file = open().open('a', { create: true });
    file.write(Buffer.from('12345'), 0);
    const answered = new Promise<Error | null>((resolve) => {
      file.sync(resolve);
    });
    file.write(Buffer.from('6'), 5);
    file.syncNow();
    expect(await answered).toBeNull();
    file.close();
  });

  it('close() may be called twice, and ends all use', () => {
    const file = open().open('a', { create: true });
    file.close();
    file.close();
    expect(() => file.size()).toThrow();
    expect(() => file.write(Buffer.from('1'), 0)).toThrow();
  });

  it('freeBytes() is a number of bytes', () => {
    expect(open().freeBytes()).toBeGreaterThan(0);
  });
}
