/**
 * Sequential reads of what is in the page cache, each batch checked: through the journal, and by a plan, as other threads do it.
 * Thread: the one of the benchmark.
 */

import { closeSync, openSync, readSync } from 'node:fs';
import { checkBatches } from '../../core/batch/check-batches.ts';
import type { PartitionLog } from '../partition-log.ts';
import { round } from './append-run.ts';
import type { BenchJournal } from './bench-journal.ts';
import { median } from './latency-counts.ts';

export interface ReadFigures {
  readonly recordsPerBatch: number;
  /** Gigabytes a second, medians over the passes: `PartitionLog.read`, and file and check by a plan of `PartitionLog.locate`. */
  readonly journalGbPerS: number;
  readonly planGbPerS: number;
}

const stepBytes = 1024 * 1024;

/** Fills a partition with copies of `batch` and reads it `passes` times. */
export async function runReads(
  journal: BenchJournal,
  batch: Buffer,
  recordsPerBatch: number,
  bytes: number,
  passes: number,
): Promise<ReadFigures> {
  const log = journal.create(`reads-${recordsPerBatch}`);
  await journal.fill(log, batch, bytes);
  const direct: number[] = [];
  const planned: number[] = [];
  for (let pass = 0; pass <= passes; pass += 1) {
    const figures = [timed(() => readJournal(log)), timed(() => readByPlan(log, Math.max(stepBytes, batch.length)))];
    // The first pass runs code that was never run.
    if (pass === 0) continue;
    direct.push(figures[0]);
    planned.push(figures[1]);
    // Memory of the pass goes back outside of the measured time.
    await new Promise((resolve) => setImmediate(resolve));
  }
  return { recordsPerBatch, journalGbPerS: round(median(direct), 2), planGbPerS: round(median(planned), 2) };
}

/** Gigabytes a second. */
function timed(read: () => number): number {
  const startMs = performance.now();
  const bytes = read();
  return bytes / (performance.now() - startMs) / 1e6;
}

function readJournal(log: PartitionLog): number {
  let bytes = 0;
  for (let offset = 0; offset < log.highWatermark; ) {
    const answer = log.read({ offset, bytesMax: stepBytes });
    bytes += answer.bytes;
    offset = answer.nextOffset;
  }
  return bytes;
}

/** What is in the tail is left out: it is in no file that would have to be read. */
function readByPlan(log: PartitionLog, pieceBytes: number): number {
  const buffer = Buffer.allocUnsafeSlow(pieceBytes);
  let bytes = 0;
  for (let from = 0; from < log.highWatermark; ) {
    const plan = log.locate({ offset: from, bytesMax: stepBytes });
    if (plan.type === 'answer') break;
    const { path, end, limit, batchBytesMax, epochs } = plan.file;
    let { position, offset } = plan.file;
    const descriptor = openSync(path, 'r');
    try {
      while (position < end) {
        const read = readSync(descriptor, buffer, 0, Math.min(pieceBytes, end - position), position);
        const expected = { offset, from, limit, bytesMax: pieceBytes, takesOne: true, batchBytesMax, epochs };
        const checked = checkBatches(buffer.subarray(0, read), expected);
        if (checked.end === 0) throw new Error(`Cannot read "${path}" at byte ${position}: ${checked.stop}`);
        position += checked.end;
        offset = checked.nextOffset;
        bytes += checked.end;
      }
    } finally {
      closeSync(descriptor);
    }
    from = offset;
  }
  return bytes;
}
