import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { AppendAnswer } from '../../../src/core/ports/stream-store.ts';
import { StorageError } from '../../../src/core/streams/storage-error.ts';
import { Journal, type JournalEvent } from '../../../src/journal/journal.ts';
import { openLogFolders } from '../../../src/journal/log-folders.ts';
import type { PartitionLog } from '../../../src/journal/partition-log.ts';
import { batchOf, recordsOf, SimulatedFolders } from './journal-fixture.ts';

const folders: string[] = [];

afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

function closed(journal: Journal): Promise<void> {
  return new Promise((resolve) => journal.close(resolve));
}

function append(journal: Journal, log: PartitionLog, value: string): Promise<AppendAnswer> {
  return new Promise((resolve) => {
    journal.submit(log, batchOf([value]), { leaderEpoch: 1 }, resolve);
    journal.flush();
  });
}

class Directories {
  readonly tasks: (() => void)[] = [];
  readonly events: JournalEvent[] = [];
  readonly disks = [1, 2].map((seed) => new SimulatedFolders(seed * 100, (task) => this.tasks.push(task)));

  open(): Journal {
    return new Journal({
      directories: this.disks.map((disk, number) => ({ path: `disk ${number}`, open: () => disk })),
      now: () => 1000,
      onEvent: (event) => this.events.push(event),
      freeBytesMin: 0,
    });
  }

  append(journal: Journal, log: PartitionLog, ...values: string[]): AppendAnswer[] {
    const results: AppendAnswer[] = [];
    for (const value of values) {
      journal.submit(log, batchOf([value]), { leaderEpoch: 1 }, (result) => results.push(result));
    }
    journal.flush();
    for (let task = this.tasks.shift(); task !== undefined; task = this.tasks.shift()) task();
    return results;
  }
}

describe('Journal', () => {
  it('keeps records on the real disk over a restart', async () => {
    const path = mkdtempSync(join(tmpdir(), 'ringmq-journal-'));
    folders.push(path);
    const events: JournalEvent[] = [];
    const open = (): Journal =>
      new Journal({
        directories: ['one', 'two'].map((name) => ({ path: name, open: () => openLogFolders(join(path, name)) })),
        now: () => Date.now(),
        onEvent: (event) => events.push(event),
        freeBytesMin: 0,
      });
    const journal = open();
    const logs = ['t-0', 't-1', 't-2'].map((name) => journal.create(name));
    expect(journal.directories.map(({ names }) => names.length).sort()).toEqual([1, 2]);
    const appends: Promise<AppendAnswer>[] = [];
    for (let number = 0; number < 300; number += 1) appends.push(append(journal, logs[number % 3], `v${number}`));
    const results = await Promise.all(appends);
    expect(results.map(({ error, baseOffset }) => error ?? baseOffset)).toEqual(
      results.map((_, at) => Math.floor(at / 3)),
    );
    await closed(journal);
    const again = open();
    expect(again.directories.map(({ wasClean }) => wasClean)).toEqual([true, true]);
    const { slices } = again.get('t-1').read({ offset: 0, bytesMax: 1e6 });
    expect(recordsOf(slices).length).toBe(100);
    again.directoryOf('t-1').remove('t-1');
    expect(() => again.get('t-1')).toThrow(StorageError);
    await closed(again);
    const last = open();
    expect(last.directories.flatMap(({ names }) => names).sort()).toEqual(['t-0', 't-2']);
    await closed(last);
    expect(events).toEqual([]);
  });

  it('a disk that fails takes down its own partitions, and they come back', () => {
    const directories = new Directories();
    const journal = directories.open();
    const [first, second] = ['a', 'b'].map((name) => journal.create(name));
    expect(directories.append(journal, first, 'x')[0].error).toBeNull();
    const [bad, good] = directories.disks[0].disks.has('a') ? [first, second] : [second, first];
    directories.disks[0].disks.get(bad.name)?.fail('write', 1);
    expect(directories.append(journal, bad, 'y')[0].error?.code).toBe('STORAGE_PARTITION_FAILED');
    expect(directories.append(journal, good, 'y')[0].error).toBeNull();
    expect(directories.events).toMatchObject([{ type: 'failed', partition: bad.name }]);
    journal.directoryOf(bad.name).reopen(bad.name);
    expect(directories.append(journal, bad, 'z')[0].error).toBeNull();
  });

  it('a directory that cannot be opened is left out', () => {
    const events: JournalEvent[] = [];
    const journal = new Journal({
      directories: [
        {
          path: 'broken',
          open: () => {
            throw new Error('EIO');
          },
        },
        { path: 'sound', open: () => new SimulatedFolders(1, () => undefined) },
      ],
      now: () => 0,
      onEvent: (event) => events.push(event),
      freeBytesMin: 0,
    });
    expect(journal.create('p').name).toBe('p');
    expect([...journal.failedDirectories.keys()]).toEqual(['broken']);
    expect(events).toEqual([{ type: 'directory-failed', directory: 'broken', reason: 'EIO' }]);
  });

  it('refuses appends while there is little room, and takes them again by itself', async () => {
    const directories = new Directories();
    const journal = new Journal({
      directories: [{ path: 'one', open: () => directories.disks[0] }],
      now: () => 0,
      onEvent: () => undefined,
      freeBytesMin: 1000,
    });
    const log = journal.create('p');
    directories.disks[0].root.capacityBytes = 500;
    journal.tick(0);
    const refused = directories.append(journal, log, 'a');
    await Promise.resolve();
    expect(refused[0].error).toMatchObject({ code: 'STORAGE_DISK_FULL', canRetry: true });
    expect(() => journal.create('q')).toThrow(/no directory has room/);
    directories.disks[0].root.capacityBytes = 1e9;
    let tries = 0;
    for (let taken = false; !taken; tries += 1) {
      taken = directories.append(journal, log, 'b')[0]?.error === null;
    }
    expect(tries).toBeLessThanOrEqual(65);
  });
});

describe('GroupCommit', () => {
  it('syncs each file once a round and answers in the order of submission', () => {
    const directories = new Directories();
    const journal = directories.open();
    const logs = ['a', 'c', 'b', 'd'].map((name) => journal.create(name));
    const [{ commit }] = journal.directories;
    const [one, two] = logs.filter((log) => journal.directoryOf(log.name).commit === commit);
    const order: string[] = [];
    const submit = (log: PartitionLog, value: string): void =>
      commit.submit(log, batchOf([value]), { leaderEpoch: 1 }, () => {
        order.push(value);
        if (value === '1') submit(one, 'later');
      });
    submit(one, '1');
    commit.flush();
    expect(directories.tasks.length).toBe(1);
    for (const value of ['2', '3', '4', '5']) submit(Number(value) % 2 === 0 ? one : two, value);
    directories.tasks.shift()?.();
    expect(order).toEqual(['1']);
    // The second round is on its way with all that was gathered: one sync for each of the two files.
    expect(directories.tasks.length).toBe(2);
    directories.tasks.pop()?.();
    expect(order).toEqual(['1']);
    directories.tasks.pop()?.();
    expect(order).toEqual(['1', '2', '3', '4', '5']);
    directories.tasks.pop()?.();
    expect(order.at(-1)).toBe('later');
    expect(commit.counts).toMatchObject({ rounds: 3, syncs: 4, appends: 6 });
  });

  it('between() waits until nothing is under way, and close() refuses what comes later', async () => {
    const directories = new Directories();
    const journal = directories.open();
    const log = journal.create('a');
    const { commit } = journal.directoryOf('a');
    const done: string[] = [];
    commit.submit(log, batchOf(['x']), { leaderEpoch: 1 }, () => done.push('x'));
    commit.flush();
    commit.between(() => done.push('task'));
    expect(done).toEqual([]);
    directories.tasks.shift()?.();
    expect(done).toEqual(['task', 'x']);
    commit.close();
    commit.submit(log, batchOf(['y']), { leaderEpoch: 1 }, ({ error }) => done.push(error?.code ?? 'none'));
    await Promise.resolve();
    expect(done.at(-1)).toBe('STORAGE_CLOSED');
  });

  it('tick() applies retention to many partitions, some at a time', async () => {
    const directories = new Directories();
    const [disk] = directories.disks;
    const settings = { segmentMs: 10, retentionMs: 10 };
    const journal = new Journal({
      directories: [{ path: 'disk', open: () => disk }],
      now: () => 1000,
      onEvent: (event) => directories.events.push(event),
      freeBytesMin: 0,
    });
    const logs = Array.from({ length: 11 }, (_, number) => journal.create(`p-${number}`, settings));
    for (const log of logs) directories.append(journal, log, 'old');
    journal.tick(5000);
    // The others come when the event loop has turned.
    const emptied = (): number => logs.filter(({ logStartOffset }) => logStartOffset === 1).length;
    expect(emptied()).toBe(4);
    journal.tick(5000);
    expect(emptied()).toBe(4);
    for (let turn = 0; turn < 10 && emptied() < 11; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    expect(emptied()).toBe(11);
    for (const log of logs) expect(directories.append(journal, log, 'new')[0].baseOffset).toBe(1);
    journal.tick(9000);
    journal.close(() => undefined);
    await new Promise((resolve) => setImmediate(resolve));
    expect(directories.events).toEqual([]);
  });
});
