import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openNodeFileSystem } from '../../../../src/core/files/node-file-system.ts';
import { CorruptionError } from '../../../../src/raft/log/log-errors.ts';
import { openSegmentLog } from '../../../../src/raft/log/segment-log.ts';
import { contentOf, entriesOf, entry, hardStateOf, LogFixture, positionOf, replica, textOf } from './log-fixture.ts';

const text = (entries: readonly { index: number }[] | null): string =>
  entries === null ? 'null' : entries.map(({ index }) => index).join();

/** The error that `call` throws, as `code file offset`. */
const corruptionOf = (call: () => unknown): string => {
  try {
    call();
  } catch (error) {
    if (error instanceof CorruptionError) return `${error.code} ${error.file} ${error.offset}`;
    throw error;
  }
  return 'none';
};

describe('append()', () => {
  it('makes entries readable at once and answers when they are durable', () => {
    const fixture = new LogFixture();
    const log = fixture.open();
    expect([log.isNew, log.firstIndex(), log.lastIndex(), log.term(0)]).toEqual([true, 1, 0, 0]);
    fixture.append(log, entriesOf(1, 3, 2));
    expect(log.lastIndex()).toBe(3);
    expect(log.term(3)).toBe(2);
    expect(text(log.entries(1, 4, 1000))).toBe('1,2,3');
    expect(fixture.answers).toEqual([]);
    fixture.settle();
    expect(fixture.answers).toEqual(['ok']);
  });

  it('gathers what comes while a sync is under way into one write and one sync', () => {
    const fixture = new LogFixture();
    const log = fixture.open();
    fixture.append(log, entriesOf(1, 1), null, 'a ');
    const before = fixture.disk.counts;
    for (let index = 2; index <= 50; index += 1) fixture.append(log, [entry(index)], hardStateOf(1, index - 1), 'b ');
    expect(fixture.disk.counts).toEqual(before);
    // The sync of the first, and the one of the segment that is prepared.
    const [first] = fixture.tasks;
    first();
    expect(fixture.answers).toEqual(['a ok']);
    expect(fixture.disk.counts.syncs - before.syncs).toBe(1);
    expect(fixture.disk.counts.writes - before.writes).toBe(1);
    fixture.settle();
    expect(fixture.answers.length).toBe(50);
    fixture.disk.crash('drop');
    expect(contentOf(fixture.open()).entries).toEqual(entriesOf(1, 50).map(textOf));
  });

  it('waits for a quick disk inside of the call when it may, and only with a small write and nothing under way', () => {
    const fixture = new LogFixture();
    let isQuick = true;
    const log = fixture.open(
      {},
      fixture.quickDisk(() => isQuick),
    );
    fixture.append(log, [entry(1)], hardStateOf(1), 'a ', true);
    expect(fixture.answers).toEqual(['a ok']);
    fixture.append(log, [entry(2)], null, 'not asked to ');
    fixture.append(log, [entry(3)], null, 'behind one ', true);
    expect(fixture.answers).toHaveLength(1);
    fixture.settle();
    fixture.append(log, entriesOf(4, 20), null, 'large ', true);
    expect(fixture.answers).toHaveLength(3);
    fixture.settle();
    isQuick = false;
    fixture.append(log, [entry(21)], null, 'slow ', true);
    expect(fixture.answers).toHaveLength(4);
    fixture.settle();
    isQuick = true;
    fixture.append(log, [entry(22)], null, 'b ', true);
    expect(fixture.answers).toEqual(['a ok', 'not asked to ok', 'behind one ok', 'large ok', 'slow ok', 'b ok']);
    fixture.disk.crash('drop');
    expect(contentOf(fixture.open()).entries).toEqual(entriesOf(1, 22).map(textOf));
  });

  it('is dead when the sync that it waits for fails', () => {
    const fixture = new LogFixture();
    const log = fixture.open(
      {},
      fixture.quickDisk(() => true),
    );
    fixture.disk.fail('sync');
    fixture.append(log, [entry(1)], null, '', true);
    fixture.append(log, [entry(2)], null, '', true);
    expect(fixture.answers).toEqual(['EIO', 'EIO']);
    expect(log.failure).not.toBeNull();
  });

  it('answers in the order of the calls', () => {
    const fixture = new LogFixture();
    const log = fixture.open();
    fixture.append(log, [entry(1)], hardStateOf(1), 'a ');
    log.append({ entries: [], hardState: hardStateOf(1, 1), mustSync: false }, () => fixture.answers.push('b ok'));
    fixture.append(log, [entry(2)], null, 'c ');
    log.append({ entries: [], hardState: hardStateOf(1, 2), mustSync: false }, () => fixture.answers.push('d ok'));
    fixture.append(log, [], null, 'e ');
    fixture.settle();
    expect(fixture.answers).toEqual(['a ok', 'b ok', 'c ok', 'd ok', 'e ok']);
  });

  it('writes nothing when only the commit index moves, and keeps it for the next write', () => {
    const fixture = new LogFixture();
    const log = fixture.open();
    fixture.append(log, [entry(1)], hardStateOf(1));
    fixture.settle();
    const before = fixture.disk.counts;
    log.append({ entries: [], hardState: hardStateOf(1, 1), mustSync: false }, () => fixture.answers.push('commit'));
    expect(fixture.answers).toEqual(['ok', 'commit']);
    expect(fixture.disk.counts).toEqual(before);
    fixture.append(log, [entry(2)]);
    fixture.settle();
    fixture.disk.crash('drop');
    expect(fixture.open().initialState().hardState).toEqual(hardStateOf(1, 1));
  });

  it('answers at once for the hard state that a reset has just written, and in order', () => {
    const fixture = new LogFixture();
    const log = fixture.open();
    fixture.append(log, [entry(1)], null, 'a ');
    const hardState = hardStateOf(4, 9);
    log.reset(positionOf(9, 3), hardState);
    fixture.append(log, [], hardState, 'b ');
    fixture.settle();
    fixture.append(log, [], hardState, 'c ');
    expect(fixture.answers).toEqual(['a ok', 'b ok', 'c ok']);
    fixture.append(log, [entry(10, 4)], hardState, 'd ');
    fixture.settle();
    fixture.disk.crash('drop');
    expect(contentOf(fixture.open())).toMatchObject({ hardState, lastIndex: 10 });
  });

  it('syncs a new term or vote whatever it is told', () => {
    const fixture = new LogFixture();
    const log = fixture.open();
    log.append({ entries: [], hardState: hardStateOf(3), mustSync: false }, () => fixture.answers.push('vote'));
    expect(fixture.answers).toEqual([]);
    fixture.settle();
    expect(fixture.answers).toEqual(['vote']);
  });

  it('discards what is stored from the first index on', () => {
    const fixture = new LogFixture();
    const log = fixture.open({ cacheBytes: 0 });
    fixture.append(log, entriesOf(1, 300, 1));
    fixture.settle();
    fixture.append(log, entriesOf(100, 110, 2));
    fixture.append(log, entriesOf(105, 105, 3));
    fixture.append(log, entriesOf(50, 60, 4));
    const expected = [...entriesOf(1, 49, 1), ...entriesOf(50, 60, 4)].map(textOf);
    expect(contentOf(log).entries).toEqual(expected);
    fixture.settle();
    expect(contentOf(log).entries).toEqual(expected);
    expect(log.term(49)).toBe(1);
    expect(log.term(50)).toBe(4);
    fixture.disk.crash('drop');
    expect(contentOf(fixture.open()).entries).toEqual(expected);
  });

  it('takes a group that is larger than a segment', () => {
    const fixture = new LogFixture();
    const log = fixture.open();
    fixture.fill(log, 1, 10);
    fixture.append(log, [...entriesOf(11, 100, 2, 1000), entry(101, 2, 50_000)], hardStateOf(2, 3));
    fixture.append(log, [entry(102, 2)]);
    fixture.settle();
    const content = contentOf(log);
    fixture.disk.crash('drop');
    expect(contentOf(fixture.open())).toEqual(content);
    expect(content.lastIndex).toBe(102);
  });

  it('refuses a gap', () => {
    const fixture = new LogFixture();
    const log = fixture.open();
    expect(() => fixture.append(log, [entry(2)])).toThrow('continues the log');
  });
});

describe('entries()', () => {
  it('gives as many as fit, at least one, from the files and from memory', () => {
    const fixture = new LogFixture();
    const log = fixture.open({ cacheBytes: 1000 });
    fixture.fill(log, 1, 40);
    expect(text(log.entries(1, 41, 0))).toBe('1');
    expect(text(log.entries(1, 41, 100))).toBe('1');
    expect(text(log.entries(1, 41, 399))).toBe('1,2,3');
    expect(text(log.entries(1, 3, 10_000))).toBe('1,2');
    expect(log.entries(1, 41, 10_000)?.length).toBe(40);
    expect(text(log.entries(38, 41, 0))).toBe('38');
    expect(text(log.entries(34, 41, 450))).toBe('34,35,36,37');
    expect(text(log.entries(5, 5, 100))).toBe('');
  });

  it('refuses a stored record that was damaged, and the log is dead', () => {
    const fixture = new LogFixture();
    const log = fixture.open({ cacheBytes: 0 });
    fixture.fill(log, 1, 20);
    const at = fixture.disk.content('0000000000000001.log').indexOf(Buffer.alloc(100, 7));
    fixture.disk.flipBit('0000000000000001.log', 8 * (at + 50));
    expect(text(log.entries(1, 7, 0))).toBe('1');
    expect(corruptionOf(() => log.entries(7, 8, 1000))).toMatch(/^RAFT_LOG_CORRUPTED 0000000000000001.log \d+$/);
    fixture.append(log, [entry(21)]);
    expect(fixture.answers.at(-1)).toBe('RAFT_LOG_CORRUPTED');
  });

  it('says null for what was compacted', () => {
    const fixture = new LogFixture();
    const log = fixture.open();
    fixture.fill(log, 1, 10);
    log.compact(positionOf(5));
    expect(log.firstIndex()).toBe(6);
    expect(log.entries(5, 8, 100)).toBeNull();
    expect([log.term(4), log.term(5), log.term(6)]).toEqual([null, 1, 1]);
    expect(log.snapshotPosition()).toEqual(positionOf(5));
  });
});

describe('compact()', () => {
  it('drops whole segments after the position is durable, and the next segment reuses one', () => {
    const fixture = new LogFixture();
    const log = fixture.open();
    fixture.fill(log, 1, 400);
    const before = fixture.disk.list();
    const size = log.sizeBytes();
    expect(before.length).toBeGreaterThan(4);
    log.compact(positionOf(390));
    expect(fixture.disk.list()).toEqual(before);
    fixture.settle();
    expect(fixture.disk.list().length).toBeLessThan(4);
    expect(log.sizeBytes()).toBeLessThan(size);
    fixture.fill(log, 401, 800);
    log.compact(positionOf(795, 1, [1, 2, 3]));
    fixture.settle();
    fixture.disk.crash('drop');
    const again = fixture.open();
    expect(again.initialState().snapshot).toEqual(positionOf(795, 1, [1, 2, 3]));
    expect(contentOf(again).entries).toEqual(entriesOf(796, 800, 1, 100).map(textOf));
  });

  it('keeps the hard state and the position when the segments that had them are gone', () => {
    const fixture = new LogFixture();
    const log = fixture.open();
    fixture.append(log, [entry(1, 1)], hardStateOf(9, 1));
    fixture.fill(log, 2, 400);
    log.compact(positionOf(300));
    fixture.settle();
    fixture.fill(log, 401, 600);
    fixture.disk.crash('drop');
    const state = fixture.open().initialState();
    expect(state).toEqual({ hardState: hardStateOf(9, 1), snapshot: positionOf(300) });
  });

  it('does nothing for a position that was passed', () => {
    const fixture = new LogFixture();
    const log = fixture.open();
    fixture.fill(log, 1, 10);
    log.compact(positionOf(5));
    log.compact(positionOf(4));
    expect(log.firstIndex()).toBe(6);
  });
});

describe('reset()', () => {
  it('empties the log durably, also while a sync is under way', () => {
    const fixture = new LogFixture();
    const log = fixture.open();
    fixture.fill(log, 1, 300);
    fixture.append(log, entriesOf(301, 302), null, 'a ');
    fixture.append(log, entriesOf(303, 304), null, 'b ');
    log.reset(positionOf(1000, 5), hardStateOf(5, 1000));
    expect([log.firstIndex(), log.lastIndex(), log.term(1000)]).toEqual([1001, 1000, 5]);
    const left = fixture.disk.clone({ seed: 1, schedule: () => {} });
    left.crash('drop');
    const again = new LogFixture().open({}, left);
    expect(contentOf(again)).toEqual({ ...contentOf(log), entries: [] });
    fixture.append(log, [entry(1001, 5)], null, 'c ');
    fixture.settle();
    expect(fixture.answers.slice(-3)).toEqual(['a ok', 'b ok', 'c ok']);
    fixture.disk.crash('drop');
    expect(contentOf(fixture.open()).entries).toEqual([textOf(entry(1001, 5))]);
  });

  it('begins a new log with a membership', () => {
    const fixture = new LogFixture();
    const log = fixture.open();
    log.reset(positionOf(1, 1, [replica]), hardStateOf(1, 1, 0));
    fixture.disk.crash('drop');
    const again = fixture.open();
    expect(again.isNew).toBe(false);
    expect(again.initialState()).toEqual({ hardState: hardStateOf(1, 1, 0), snapshot: positionOf(1, 1, [replica]) });
  });
});

describe('a disk that fails', () => {
  for (const kind of ['sync', 'write'] as const) {
    it(`kills the log when a ${kind} fails: every later call fails`, () => {
      const fixture = new LogFixture();
      const log = fixture.open();
      fixture.fill(log, 1, 3);
      fixture.append(log, [entry(4)], null, 'a ');
      fixture.append(log, [entry(5)], null, 'b ');
      fixture.disk.fail(kind);
      fixture.settle();
      fixture.append(log, [entry(6)], null, 'c ');
      const [a, b, c] = fixture.answers.slice(-3);
      expect([a, b, c]).toEqual(kind === 'sync' ? ['a EIO', 'b EIO', 'c EIO'] : ['a ok', 'b EIO', 'c EIO']);
      expect(log.failure).not.toBeNull();
      expect(() => log.compact(positionOf(2))).toThrow('EIO');
      expect(() => log.reset(positionOf(9), hardStateOf(1))).toThrow('EIO');
      log.close();
    });
  }

  it('does not take for durable what a failed sync left in the page cache', () => {
    const fixture = new LogFixture();
    const log = fixture.open();
    fixture.fill(log, 1, 3);
    fixture.append(log, [entry(4)]);
    fixture.disk.fail('sync');
    fixture.settle();
    fixture.disk.kill();
    // The new process reads entry 4, goes on behind it, and the power goes.
    const again = fixture.open();
    expect(again.lastIndex()).toBe(4);
    fixture.append(again, [entry(5)]);
    fixture.settle();
    fixture.disk.crash('drop');
    expect(fixture.open().lastIndex()).toBe(5);
  });

  it('writes nothing ahead any more when it is cut as fast as it grows', () => {
    const fixture = new LogFixture();
    const log = fixture.open();
    const grow = (first: number): number => {
      const before = fixture.disk.counts.bytesWritten;
      for (let index = first; index < first + 400; index += 1) {
        fixture.fill(log, index, index);
        if (index % 50 === 0) log.compact(positionOf(index - 20));
      }
      return fixture.disk.counts.bytesWritten - before;
    };
    const first = grow(1);
    grow(401);
    const third = grow(801);
    expect(third).toBeLessThan(first - 16 * 1024);
    fixture.settle();
    expect(fixture.disk.list().length).toBeLessThanOrEqual(4);
    fixture.disk.crash('drop');
    expect(fixture.open().lastIndex()).toBe(1200);
  });

  it('goes on without a prepared segment when the disk is full, and dies only when a write has no room', () => {
    // Room for a segment and a half.
    const fixture = new LogFixture(1, 24 * 1024);
    const log = fixture.open();
    let index = 1;
    while (log.failure === null && index < 1000) {
      fixture.append(log, [entry(index, 1, 100)]);
      fixture.settle();
      index += 1;
    }
    expect((log.failure as { code?: string } | null)?.code).toBe('ENOSPC');
    const acknowledged = fixture.answers.filter((answer) => answer === 'ok').length;
    expect(acknowledged).toBeGreaterThan(60);
    log.close();
    fixture.disk.crash();
    fixture.disk.capacityBytes = 100_000;
    const again = fixture.open();
    expect(again.lastIndex()).toBeGreaterThanOrEqual(acknowledged);
    fixture.fill(again, again.lastIndex() + 1, 200);
    expect(again.failure).toBeNull();
  });

  it('isNearlyFull() says so below the threshold, and notices when there is room again', () => {
    const fixture = new LogFixture(1, 1_000_000);
    const log = fixture.open({ freeBytesMin: 500_000 });
    expect(log.isNearlyFull()).toBe(false);
    fixture.disk.capacityBytes = 400_000;
    const asked = Array.from({ length: 200 }, () => log.isNearlyFull());
    expect(asked.at(-1)).toBe(true);
    fixture.append(log, [entry(1)]);
    fixture.settle();
    expect(fixture.answers).toEqual(['ok']);
    fixture.disk.capacityBytes = 1_000_000;
    expect(Array.from({ length: 200 }, () => log.isNearlyFull()).at(-1)).toBe(false);
  });
});

describe('close()', () => {
  it('makes everything durable, the commit index too, and still answers', () => {
    const fixture = new LogFixture();
    const log = fixture.open();
    fixture.append(log, [entry(1)], hardStateOf(1), 'a ');
    fixture.append(log, [entry(2)], null, 'b ');
    log.append({ entries: [], hardState: hardStateOf(1, 2), mustSync: false }, () => {});
    log.close();
    log.close();
    const content = contentOf(log);
    fixture.settle();
    expect(fixture.answers).toEqual(['a ok', 'b ok']);
    fixture.disk.crash('drop');
    const again = fixture.open();
    expect(contentOf(again)).toEqual(content);
    expect(again.tornTail).toBeNull();
    fixture.append(log, [entry(3)]);
    expect(fixture.answers.at(-1)).toBe('RAFT_LOG_CLOSED');
  });
});

describe('openSegmentLog()', () => {
  it('makes the name of the newest segment durable when a process died before it had', () => {
    const fixture = new LogFixture();
    const log = fixture.open();
    fixture.fill(log, 1, 1);
    // As if the folder had never been synced.
    const disk = new LogFixture().disk;
    for (const name of fixture.disk.list()) {
      const file = disk.open(name, { create: true });
      file.write(fixture.disk.content(name), 0);
      file.syncNow();
    }
    disk.kill();
    const again = fixture.open({}, disk);
    disk.crash('drop');
    expect(again.lastIndex()).toBe(1);
    expect(fixture.open({}, disk).lastIndex()).toBe(1);
  });

  it('cuts a batch that is not complete, says so, and nothing of it comes back', () => {
    const fixture = new LogFixture();
    const log = fixture.open();
    fixture.fill(log, 1, 5);
    const name = '0000000000000001.log';
    const before = fixture.disk.content(name);
    fixture.append(log, entriesOf(6, 30, 2, 100));
    // Its first sector did not reach the disk, the rest did.
    const start = fixture.disk.content(name).findIndex((byte, at) => byte !== before[at]);
    const from = start - (start % 512);
    fixture.disk.overwrite(name, before.subarray(from, from + 512), from);
    fixture.disk.crash('keep');
    fixture.disk.overwrite(name, before.subarray(from, from + 512), from);
    const again = fixture.open();
    expect(again.lastIndex()).toBe(5);
    expect(again.tornTail?.file).toBe(name);
    expect(again.tornTail?.bytes).toBeGreaterThan(2000);
    fixture.fill(again, 6, 7);
    fixture.disk.crash('drop');
    const third = fixture.open();
    expect(contentOf(third).entries).toEqual(
      entriesOf(1, 7, 1, 100).map((item, at) => textOf(at < 5 ? item : entry(at + 1, 1, 100))),
    );
    expect(third.tornTail).toBeNull();
  });

  it('refuses zeros where a durable batch was, though they look like the end', () => {
    const fixture = new LogFixture();
    const log = fixture.open();
    fixture.fill(log, 1, 30);
    fixture.disk.crash('drop');
    fixture.disk.overwrite('0000000000000001.log', Buffer.alloc(512), 4096 + 1024);
    expect(corruptionOf(() => fixture.open())).toMatch(/^RAFT_LOG_CORRUPTED 0000000000000001.log (4|5)\d\d\d$/);
  });

  it('refuses damage to the very last batch when the log had come to rest', () => {
    const fixture = new LogFixture();
    const log = fixture.open();
    fixture.fill(log, 1, 5);
    log.close();
    fixture.disk.crash('drop');
    const at = fixture.disk.content('0000000000000001.log').indexOf(Buffer.alloc(100, 5));
    fixture.disk.flipBit('0000000000000001.log', at * 8);
    expect(corruptionOf(() => fixture.open())).toMatch(/^RAFT_LOG_CORRUPTED 0000000000000001.log \d+$/);
  });

  it('refuses a log with a segment missing', () => {
    for (const lost of [1, 2, 3]) {
      const fixture = new LogFixture();
      const log = fixture.open();
      fixture.fill(log, 1, 400);
      log.close();
      fixture.disk.remove(`000000000000000${lost}.log`);
      expect(corruptionOf(() => fixture.open())).toMatch(/^RAFT_LOG_CORRUPTED/);
    }
  });

  it('takes segments whose removal was not durable for what they are', () => {
    const fixture = new LogFixture();
    const log = fixture.open();
    fixture.fill(log, 1, 400);
    log.close();
    const old = fixture.disk.content('0000000000000001.log');
    const again = fixture.open();
    again.compact(positionOf(395));
    fixture.settle();
    const content = contentOf(again);
    again.close();
    const file = fixture.disk.open('0000000000000001.log', { create: true });
    file.write(old, 0);
    const third = fixture.open();
    expect(contentOf(third)).toEqual(content);
    expect(fixture.disk.list()).not.toContain('0000000000000001.log');
  });

  it('refuses the log of another replica', () => {
    const fixture = new LogFixture();
    fixture.open().close();
    expect(() => fixture.open({ replica: 12 })).toThrow(`it belongs to replica ${replica}`);
  });

  it('leaves files alone that are not its own', () => {
    const fixture = new LogFixture();
    fixture.disk.open('replica.json', { create: true }).close();
    fixture.open().close();
    fixture.open().close();
    expect(fixture.disk.list()).toContain('replica.json');
  });

  it('works on the real disk, over several segments and a restart', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'ringmq-raft-log-'));
    const options = { replica, random: () => 1, segmentBytes: 64 * 1024, freeBytesMin: 0, cacheBytes: 0 };
    try {
      const log = openSegmentLog(openNodeFileSystem(folder), options);
      for (let first = 1; first <= 2000; first += 100) {
        const error = await new Promise<Error | null>((resolve) => {
          log.append({ entries: entriesOf(first, first + 99, 1, 300), hardState: null, mustSync: true }, resolve);
        });
        expect(error).toBeNull();
        if (first % 500 === 1) log.compact(positionOf(first));
      }
      const content = contentOf(log);
      log.close();
      const again = openSegmentLog(openNodeFileSystem(folder), options);
      expect(contentOf(again)).toEqual(content);
      again.close();
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
