import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { checkBatches } from '../../../src/core/batch/check-batches.ts';
import { openNodeFileSystem } from '../../../src/core/files/node-file-system.ts';
import type { FileSystem } from '../../../src/core/ports/file-system.ts';
import type { FilePlan } from '../../../src/core/ports/read-plan.ts';
import type { AppendAnswer } from '../../../src/core/ports/stream-store.ts';
import type { PartitionLog } from '../../../src/journal/partition-log.ts';
import { TailCache } from '../../../src/journal/tail-cache.ts';
import { batchOf, LogFixture, recordsOf } from './journal-fixture.ts';

const folders: string[] = [];

afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

/** The simulated disk with a path for each file, as the real one has. */
class PathedDisk implements FileSystem {
  readonly #inner: FileSystem;

  constructor(inner: FileSystem) {
    this.#inner = inner;
  }

  list = (): readonly string[] => this.#inner.list();
  open = (name: string, options: { readonly create: boolean }) => this.#inner.open(name, options);
  rename = (from: string, to: string): void => this.#inner.rename(from, to);
  remove = (name: string): void => this.#inner.remove(name);
  syncFolder = (): void => this.#inner.syncFolder();
  freeBytes = (): number => this.#inner.freeBytes();
  pathOf = (name: string): string => name;
}

function openLog(fixture: LogFixture, tailBytes = 0, isClean = false): PartitionLog {
  fixture.tail = new TailCache(tailBytes);
  return fixture.open({ segmentBytes: 16 * 1024 }, isClean, new PathedDisk(fixture.disk));
}

/** What a reader makes of a plan. */
function carryOut(
  content: (path: string) => Buffer,
  plan: FilePlan,
  from: number,
): { records: string[]; nextOffset: number } {
  const { path, position, end, offset, limit, batchBytesMax, epochs } = plan;
  const bytes = content(path).subarray(position, end);
  const expected = { offset, from, limit, bytesMax: 1e9, takesOne: true, batchBytesMax, epochs };
  const checked = checkBatches(bytes, expected);
  expect(['short', 'limit']).toContain(checked.stop);
  return { records: recordsOf([bytes.subarray(checked.start, checked.end)]), nextOffset: checked.nextOffset };
}

describe('PartitionLog.locate()', () => {
  it('names the file of what is not in memory, so that all can be read without the log', () => {
    const fixture = new LogFixture();
    const log = openLog(fixture);
    for (let number = 0; number < 900; number += 1)
      fixture.appendAs(log, 1 + (number >> 7), batchOf([`v${number}`, 'w']));
    expect(log.segmentCount).toBeGreaterThan(3);
    for (const start of [0, 1, 777, 1501]) {
      const records: string[] = [];
      for (let offset = start; offset < log.highWatermark; ) {
        const plan = log.locate({ offset, bytesMax: 1000 });
        expect(plan.type).toBe('file');
        if (plan.type !== 'file') return;
        const read = carryOut((path) => fixture.disk.content(path), plan.file, offset);
        records.push(...read.records);
        offset = read.nextOffset;
      }
      expect(records.at(-1)).toBe('1799:w');
      expect(records.length).toBe(1800 - start + (start % 2));
    }
  });

  it('answers from memory what is there, and nothing else with it', () => {
    const fixture = new LogFixture();
    const log = openLog(fixture, 4096);
    for (let number = 0; number < 300; number += 1) fixture.append(log, batchOf([`value ${number}`]));
    const last = log.locate({ offset: 295, bytesMax: 1e6 });
    expect(last.type === 'answer' && recordsOf(last.answer.slices)).toEqual(
      [295, 296, 297, 298, 299].map((offset) => `${offset}:value ${offset}`),
    );
    expect(log.locate({ offset: 5, bytesMax: 1e6 }).type).toBe('file');
    const end = log.locate({ offset: 300, bytesMax: 1e6 });
    expect(end).toMatchObject({ type: 'answer', answer: { slices: [], nextOffset: 300, highWatermark: 300 } });
    expect(() => log.locate({ offset: 301, bytesMax: 1 })).toThrow('the log has 0 to 300');
  });

  it('gives a file another identity when it was replaced', () => {
    const fixture = new LogFixture();
    const log = openLog(fixture);
    for (let number = 0; number < 400; number += 1)
      fixture.append(log, batchOf([`v${number}`], { keys: [`k${number % 5}`] }));
    const identity = (): string => {
      const plan = log.locate({ offset: 0, bytesMax: 1 });
      return plan.type === 'file' ? plan.file.identity : '';
    };
    const before = identity();
    const compaction = log.compact({ nowMs: 2000, tombstoneMs: 0 });
    while (compaction.step());
    expect(identity()).not.toBe(before);
  });

  it('ends before known damage, and in it answers the error of read()', () => {
    const fixture = new LogFixture();
    const log = openLog(fixture);
    for (let number = 0; number < 50; number += 1) fixture.append(log, batchOf([`value ${number}`]));
    log.close();
    const name = fixture.disk.list().find((item) => item.endsWith('.log')) ?? '';
    fixture.disk.flipBit(name, fixture.disk.content(name).indexOf('value 30') * 8);
    const again = openLog(fixture, 0, true);
    const all = again.locate({ offset: 0, bytesMax: 1e6 });
    expect(all.type).toBe('file');
    expect(() => again.read({ offset: 30, bytesMax: 1e6 })).toThrow('offset 30 is damaged');
    expect(() => again.locate({ offset: 30, bytesMax: 1e6 })).toThrow('offset 30 is damaged');
    const before = again.locate({ offset: 0, bytesMax: 1e6 });
    const behind = again.locate({ offset: 31, bytesMax: 1e6 });
    if (before.type !== 'file' || behind.type !== 'file') throw new Error('both are in files');
    const content = (path: string): Buffer => fixture.disk.content(path);
    expect(carryOut(content, before.file, 0).nextOffset).toBe(30);
    expect(carryOut(content, behind.file, 31).nextOffset).toBe(50);
  });

  it('names files of the real disk', async () => {
    const path = mkdtempSync(join(tmpdir(), 'ringmq-read-plan-'));
    folders.push(path);
    const fixture = new LogFixture();
    fixture.tail = new TailCache(0);
    const log = fixture.open({}, false, openNodeFileSystem(path));
    const answer = await new Promise<AppendAnswer>((resolve) => {
      fixture.commit.submit(log, batchOf(['a', 'b']), { leaderEpoch: 1 }, resolve);
      fixture.commit.flush();
    });
    expect(answer.error).toBeNull();
    const plan = log.locate({ offset: 1, bytesMax: 1 });
    if (plan.type !== 'file') throw new Error('it is in a file');
    expect(carryOut((file) => readFileSync(file), plan.file, 1).records).toEqual(['0:a', '1:b']);
    log.close();
  });
});
