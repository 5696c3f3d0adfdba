/** Reads that a client does itself, from the journal's files: what is read, what is not trusted, and what the host is asked for. */
import { spawnSync } from 'node:child_process';
import {
  appendFileSync,
  closeSync,
  existsSync,
  fsyncSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { assignPlace } from '../../../../src/core/batch/batch-format.ts';
import type { FilePlan } from '../../../../src/core/ports/read-plan.ts';
import { ColdGate } from '../../../../src/workers/storage/client/cold-gate.ts';
import { PlanReader } from '../../../../src/workers/storage/client/plan-reader.ts';
import { ColdPace, createColdPace, monotonicUs } from '../../../../src/workers/storage/cold-pace.ts';
import { append, batchOf, readValues, StorageRig, smallJournalSettings } from '../../../support/storage/storage-rig.ts';

let folder = '';
let reader = new PlanReader();

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ringmq-plan-'));
  reader = new PlanReader();
});

afterEach(() => {
  reader.close();
  rmSync(folder, { recursive: true, force: true });
});

interface Written {
  readonly plan: FilePlan;
  readonly batches: readonly Buffer[];
}

/** A file of batches behind 100 bytes of something else; the plan begins with the first one. */
function write(batches: readonly Buffer[], change: Partial<FilePlan> = {}): Written {
  const path = join(folder, 'segment');
  const descriptor = openSync(path, 'w');
  let offset = 1_000;
  let position = 100;
  for (const batch of batches) {
    assignPlace(batch, 0, offset, 3);
    writeSync(descriptor, batch, 0, batch.length, position);
    position += batch.length;
    offset += batch.readInt32BE(23) + 1;
  }
  closeSync(descriptor);
  const plan: FilePlan = {
    path,
    identity: '1',
    position: 100,
    offset: 1_000,
    end: position,
    limit: offset,
    batchBytesMax: 16 * 1024 * 1024,
    epochs: [{ epoch: 3, startOffset: 900 }],
    logStartOffset: 7,
    highWatermark: offset,
    lastStableOffset: offset - 1,
    aborted: [
      { producerId: 1, firstOffset: 1_000, lastOffset: 1_001, lastStableOffset: 1_000 },
      { producerId: 2, firstOffset: 99_999, lastOffset: 99_999, lastStableOffset: 1_000 },
    ],
    ...change,
  };
  return { plan, batches };
}

function numbered(count: number, bytes = 100): Buffer[] {
  return Array.from({ length: count }, (_, number) => batchOf(`${number}`.padStart(bytes)));
}

describe('PlanReader', () => {
  it('read() answers whole batches from the offset on, up to the bytes', async () => {
    const { plan, batches } = write(numbered(1_000));
    const size = batches[0].length;
    const answer = await reader.read(plan, { offset: 1_500, bytesMax: 10 * size + 1 });
    expect(Buffer.concat(answer?.slices ?? [])).toEqual(Buffer.concat(batches.slice(500, 510)));
    expect(answer).toMatchObject({ bytes: 10 * size, nextOffset: 1_510, logStartOffset: 7, highWatermark: 2_000 });
    expect(answer?.aborted.map(({ producerId }) => producerId)).toEqual([1]);
    expect((await reader.read(plan, { offset: 1_999, bytesMax: 1 }))?.nextOffset).toBe(2_000);
  });

  it('read() answers at least one batch, however large, and one that begins before the offset', async () => {
    const large = batchOf('a', 'b'.repeat(5_000_000), 'c');
    const { plan } = write([...numbered(10), large, ...numbered(1)]);
    const answer = await reader.read(plan, { offset: 1_011, bytesMax: 1 });
    expect(answer).toMatchObject({ bytes: large.length, nextOffset: 1_013 });
    expect(answer?.slices[0].equals(large)).toBe(true);
  });

  it('read() hands out nothing that ends behind the limit', async () => {
    const { plan } = write(numbered(10), { limit: 1_004 });
    expect(await reader.read(plan, { offset: 1_002, bytesMax: 1_000_000 })).toMatchObject({ nextOffset: 1_004 });
  });

  it('read() ends before what is damaged, and answers null for it', async () => {
    const { plan, batches } = write(numbered(100));
    const size = batches[0].length;
    for (const flipped of [0, 7, 9, 13, 16, 20, 24, 61, size - 1]) {
      const descriptor = openSync(plan.path, 'r+');
      const at = plan.position + 50 * size + flipped;
      const byte = Buffer.alloc(1);
      readSync(descriptor, byte, 0, 1, at);
      byte[0] ^= 4;
      writeSync(descriptor, byte, 0, 1, at);
      expect(await reader.read(plan, { offset: 1_040, bytesMax: 1_000_000 })).toMatchObject({ nextOffset: 1_050 });
      expect(await reader.read(plan, { offset: 1_050, bytesMax: 1_000_000 })).toBe(null);
      byte[0] ^= 4;
      writeSync(descriptor, byte, 0, 1, at);
      closeSync(descriptor);
      expect(await reader.read(plan, { offset: 1_050, bytesMax: size })).toMatchObject({ nextOffset: 1_051 });
    }
  });

  it('read() answers null when the file is gone, short, or another one', async () => {
    const { plan } = write(numbered(100));
    expect(await reader.read({ ...plan, path: `${plan.path}x` }, { offset: 1_000, bytesMax: 100 })).toBe(null);
    expect(await reader.read({ ...plan, end: plan.end + 1_000 }, { offset: 1_099, bytesMax: 100 })).not.toBe(null);
    const short = { ...plan, end: plan.end + 1_000, limit: 1_200 };
    expect(await reader.read(short, { offset: 1_150, bytesMax: 100 })).toBe(null);
    expect(await reader.read({ ...plan, offset: 5_000 }, { offset: 5_000, bytesMax: 100 })).toBe(null);
    expect(await reader.read({ ...plan, end: plan.position + 30 }, { offset: 1_000, bytesMax: 100 })).toBe(null);
    expect(await reader.read({ ...plan, epochs: [{ epoch: 4, startOffset: 0 }] }, { offset: 1_000, bytesMax: 9 })).toBe(
      null,
    );
  });
});

describe('PlanReader beside producers', () => {
  /** The reader has a pace that is quick, and in force. */
  function paced(): { readonly pace: ColdPace } {
    const buffer = createColdPace(1);
    const pace = new ColdPace(buffer);
    pace.setLimit(1_000_000_000);
    pace.activeUntil(monotonicUs() + 60_000_000);
    reader.close();
    reader = new PlanReader(new ColdGate(buffer, 0));
    return { pace };
  }

  /** Out of the page cache; false where the system cannot. */
  function forget(path: string): boolean {
    const descriptor = openSync(path, 'r');
    fsyncSync(descriptor);
    closeSync(descriptor);
    return spawnSync('dd', [`if=${path}`, 'iflag=nocache', 'count=0', 'status=none']).status === 0;
  }

  async function readAll(plan: FilePlan, bytesMax: number): Promise<Buffer> {
    const slices: Buffer[] = [];
    for (let offset = plan.offset; offset < plan.limit; ) {
      const answer = await reader.read({ ...plan }, { offset, bytesMax });
      if (answer === null) throw new Error(`no batch of offset ${offset}`);
      slices.push(...answer.slices);
      offset = answer.nextOffset;
    }
    return Buffer.concat(slices);
  }

  it('read() answers the same from the disk as from the page cache, in small pieces', async () => {
    const { plan, batches } = write([...numbered(30, 33_333), batchOf('b'.repeat(1_500_000)), ...numbered(30, 7_777)]);
    const { pace } = paced();
    const isForgotten = forget(plan.path);
    expect((await readAll(plan, 200_000)).equals(Buffer.concat(batches))).toBe(true);
    // Some systems tell nothing about the page cache, some have no direct reads: what was read counts all the same.
    if (isForgotten) expect(pace.totals().bytes).toBeGreaterThan(1_000_000);
  });

  it('read() names damage past the page cache as well', async () => {
    const { plan, batches } = write(numbered(100, 20_000));
    const descriptor = openSync(plan.path, 'r+');
    writeSync(descriptor, Buffer.from('damage'), 0, 6, plan.position + 50 * batches[0].length + 1_000);
    closeSync(descriptor);
    paced();
    forget(plan.path);
    const { nextOffset } = (await reader.read(plan, { offset: 1_045, bytesMax: 1_000_000 })) ?? {};
    expect(nextOffset).toBe(1_050);
    expect(await reader.read(plan, { offset: 1_050, bytesMax: 1_000_000 })).toBe(null);
  });

  it('read() reads a file that is still written to, whatever lies behind the end', async () => {
    const { plan, batches } = write(numbered(50, 20_000));
    appendFileSync(plan.path, Buffer.alloc(100_000));
    paced();
    forget(plan.path);
    expect((await readAll(plan, 100_000)).equals(Buffer.concat(batches))).toBe(true);
  });

  it('read() does not count what is in the page cache, where the system tells it', async () => {
    const { plan, batches } = write(numbered(200, 20_000));
    const { pace } = paced();
    expect((await readAll(plan, 1_000_000)).equals(Buffer.concat(batches))).toBe(true);
    if (existsSync('/proc/self/io')) expect(pace.totals().bytes).toBeLessThan(2_000_000);
  });

  it('read() answers null when the reader is closed while it waits, and leaves no descriptor open', async () => {
    const { plan } = write(numbered(100, 20_000));
    const { pace } = paced();
    pace.holdUntil(monotonicUs() + 30_000_000);
    const isForgotten = forget(plan.path);
    const waiting = reader.read(plan, { offset: 1_000, bytesMax: 100 });
    reader.close();
    // In the page cache it was there at once.
    if (isForgotten) expect(await waiting).toBeNull();
    else await waiting;
    if (existsSync('/proc/self/fd')) await expect.poll(() => openPaths().includes(plan.path)).toBe(false);
  });
});

/** What the descriptors of this process are open on. */
function openPaths(): string[] {
  return readdirSync('/proc/self/fd').flatMap((name) => {
    try {
      return [readlinkSync(`/proc/self/fd/${name}`)];
    } catch {
      // The one of the listing itself.
      return [];
    }
  });
}

describe('reads of a client', () => {
  it('come from the files without the host when they are not in memory, and name damage', async () => {
    const settings = { ...smallJournalSettings, tailBytes: 1_048_576, coldReadBytesPerSMax: 0 };
    const rig = new StorageRig({ adapter: 'journal', settings, folder });
    try {
      const partition = await rig.clients[0].create('a-0', { segmentBytes: 2_000_000 });
      const records = Array.from({ length: 600 }, (_, number) => `${number} `.padEnd(10_000, 'x'));
      await Promise.all(records.map((record) => append(partition, batchOf(record))));
      const other = await rig.clients[1].open('a-0');
      const values = await readValues(other, 0, 100_000);
      expect([...values.values()]).toEqual(records);
      const planned = rig.metric('ringmq_storage_reads_planned_total');
      expect(planned).toBeGreaterThan(30);
      // Most of what was read went past the host.
      expect(rig.metric('ringmq_storage_read_bytes_total')).toBeLessThan(2_000_000);

      const [log] = readdirSync(join(folder, 'journal')).filter((name) => name.startsWith('a-0'));
      const segments = readdirSync(join(folder, 'journal', log)).filter((name) => name.endsWith('.log'));
      const descriptor = openSync(join(folder, 'journal', log, segments.sort()[0]), 'r+');
      writeSync(descriptor, Buffer.from('damage'), 0, 6, 500_000);
      closeSync(descriptor);
      await expect(readValues(other, 0, 100_000)).rejects.toMatchObject({
        code: 'STORAGE_CORRUPTED',
        file: segments[0],
        position: expect.any(Number),
      });
      expect((await readValues(other, 300)).size).toBe(300);
    } finally {
      await rig.stop();
    }
  });
});
