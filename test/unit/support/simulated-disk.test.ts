import { describe, expect, it } from 'vitest';
import { fileSystemContract } from '../../contract/file-system.contract.ts';
import { SimulatedDisk, type SimulatedDiskOptions } from '../../support/simulated-disk.ts';

function newDisk(options: Partial<SimulatedDiskOptions> = {}): { disk: SimulatedDisk; tasks: (() => void)[] } {
  const tasks: (() => void)[] = [];
  return { disk: new SimulatedDisk({ seed: 1, schedule: (task) => tasks.push(task), ...options }), tasks };
}

/** A durable file of 4 KiB of `a`, overwritten with `b`, not synced. */
function halfWritten(seed: number): SimulatedDisk {
  const { disk } = newDisk({ seed });
  const file = disk.open('x', { create: true });
  file.write(Buffer.alloc(4096, 'a'), 0);
  file.syncNow();
  disk.syncFolder();
  file.write(Buffer.alloc(4096, 'b'), 0);
  return disk;
}

describe('SimulatedDisk', () => {
  fileSystemContract(() => new SimulatedDisk({ seed: 1, schedule: (task) => setImmediate(task) }));

  it('crash() keeps what was synced and drops the rest when told so', () => {
    const disk = halfWritten(1);
    disk.open('y', { create: true });
    disk.crash('drop');
    expect(disk.list()).toEqual(['x']);
    expect(disk.content('x').equals(Buffer.alloc(4096, 'a'))).toBe(true);
  });

  it('crash() tears at any byte and by sectors, differently by seed and the same for the same seed', () => {
    const seen = new Set<string>();
    for (let seed = 0; seed < 200; seed += 1) {
      const [first, again] = [halfWritten(seed), halfWritten(seed)];
      first.crash();
      again.crash();
      const content = first.content('x');
      expect(content.equals(again.content('x'))).toBe(true);
      const text = content.toString('latin1');
      if (/^a+$/.test(text)) seen.add('dropped');
      else if (/^b+$/.test(text)) seen.add('kept');
      else if (/^b+a+$/.test(text) && text.indexOf('a') % 512 !== 0) seen.add('torn at a byte');
      else if (/a+b+a+b+/.test(text)) seen.add('torn by sectors');
    }
    expect([...seen].sort()).toEqual(['dropped', 'kept', 'torn at a byte', 'torn by sectors']);
  });

  it('crash() loses renames and removals that were not synced, in any combination', () => {
    const seen = new Set<string>();
    for (let seed = 0; seed < 100; seed += 1) {
      const { disk } = newDisk({ seed });
      for (const name of ['a', 'b']) disk.open(name, { create: true });
      disk.syncFolder();
      disk.rename('a', 'c');
      disk.remove('b');
      disk.crash();
      seen.add(disk.list().join());
    }
    expect([...seen].sort()).toEqual(['a', 'a,b', 'b,c', 'c']);
  });

  it('crash() kills open files and syncs under way', () => {
    const { disk, tasks } = newDisk();
    const file = disk.open('a', { create: true });
    let isAnswered = false;
    file.sync(() => {
      isAnswered = true;
    });
    disk.crash('keep');
    for (const task of tasks) task();
    expect(isAnswered).toBe(false);
    expect(() => file.size()).toThrow('EBADF');
  });

  it('kill() leaves what the process wrote, and it is still not durable', () => {
    const disk = halfWritten(1);
    disk.kill();
    expect(disk.content('x').equals(Buffer.alloc(4096, 'b'))).toBe(true);
    disk.crash('drop');
    expect(disk.content('x').equals(Buffer.alloc(4096, 'a'))).toBe(true);
  });

  it('sync() covers what was written before the call and takes effect when its task runs', () => {
    const { disk, tasks } = newDisk();
    const file = disk.open('a', { create: true });
    disk.syncFolder();
    file.write(Buffer.from('1'), 0);
    file.sync(() => {});
    file.write(Buffer.from('2'), 1);
    expect(disk.content('a', 'durable').toString()).toBe('');
    for (const task of tasks) task();
    expect(disk.content('a', 'durable').toString()).toBe('1');
  });

  it('fail() loses what a failed sync covered, though it can be read and a later sync succeeds', () => {
    const { disk } = newDisk();
    const file = disk.open('a', { create: true });
    disk.syncFolder();
    file.write(Buffer.from('1'), 0);
    disk.fail('sync');
    expect(() => file.syncNow()).toThrow('EIO');
    file.syncNow();
    expect(disk.content('a').toString()).toBe('1');
    disk.crash('keep');
    expect(disk.content('a').toString()).toBe('');
  });

  it('write() takes what fits on a full disk and says ENOSPC', () => {
    const { disk } = newDisk({ capacityBytes: 10 });
    const file = disk.open('a', { create: true });
    file.write(Buffer.alloc(6, '1'), 0);
    expect(() => file.write(Buffer.alloc(6, '2'), 6)).toThrow('ENOSPC');
    expect(disk.content('a').toString()).toBe('1111112222');
    expect(disk.freeBytes()).toBe(0);
    file.write(Buffer.alloc(6, '3'), 0);
  });

  it('clone() is a disk of its own', () => {
    const disk = halfWritten(1);
    const copy = disk.clone({ seed: 2, schedule: () => {} });
    copy.crash('drop');
    expect(disk.content('x').toString('latin1', 0, 1)).toBe('b');
    expect(copy.content('x').toString('latin1', 0, 1)).toBe('a');
  });

  it('flipBit() and overwrite() damage both planes', () => {
    const disk = halfWritten(1);
    disk.crash('keep');
    disk.flipBit('x', 8);
    disk.overwrite('x', Buffer.from('zz'), 100);
    disk.crash();
    expect(disk.content('x')[1]).toBe('b'.charCodeAt(0) ^ 1);
    expect(disk.content('x').toString('latin1', 99, 103)).toBe('bzzb');
  });
});
