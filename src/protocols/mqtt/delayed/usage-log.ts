/**
 * What waits of each tenant, kept over a restart: one record, the newest, in a stream of its own. Worker 0 alone writes it, some time after a
 * change; what was accepted since then is not counted after a crash.
 */
import { BatchBuilder } from '../../../core/batch/batch-builder.ts';
import { batchSizeAt } from '../../../core/batch/batch-format.ts';
import { RecordCursor } from '../../../core/batch/record-cursor.ts';
import type { StreamPartition, StreamStore } from '../../../core/ports/stream-store.ts';
import { openOrCreate } from './open-or-create.ts';
import { spansOf, type UsageSpan } from './usage.ts';

export const usagePartition = '_due-mqtt-usage';
const readBytes = 16 * 1024 * 1024;

export class UsageLog {
  private readonly store: StreamStore;
  private partition: StreamPartition | null = null;

  constructor(store: StreamStore) {
    this.store = store;
  }

  /** Rejects with StorageError. */
  async read(): Promise<readonly UsageSpan[]> {
    const partition = await this.open();
    const { highWatermark } = await partition.places();
    if (highWatermark === 0) return [];
    const { slices } = await partition.read({ offset: highWatermark - 1, bytesMax: readBytes });
    const cursor = new RecordCursor();
    let newest: readonly UsageSpan[] = [];
    for (const slice of slices) {
      for (let at = 0; at < slice.length; at += batchSizeAt(slice, at)) {
        cursor.reset(slice, at);
        while (cursor.next()) newest = parse(cursor.value) ?? newest;
      }
    }
    return newest;
  }

  /** Rejects with StorageError. */
  async write(spans: readonly UsageSpan[], nowMs: number): Promise<void> {
    const partition = await this.open();
    const builder = new BatchBuilder();
    builder.add({ timestampMs: nowMs, value: Buffer.from(JSON.stringify(spans)) });
    const offset = await new Promise<number>((resolve, reject) => {
      partition.append(builder.build(), ({ error, baseOffset }) =>
        error === null ? resolve(baseOffset) : reject(error),
      );
    });
    await partition.deleteBefore(offset);
  }

  private async open(): Promise<StreamPartition> {
    this.partition ??= await openOrCreate(this.store, usagePartition);
    return this.partition;
  }
}

function parse(value: Buffer | null): readonly UsageSpan[] | null {
  if (value === null) return null;
  try {
    return spansOf(JSON.parse(value.toString()));
  } catch {
    return null; // No JSON: not written by this broker.
  }
}
