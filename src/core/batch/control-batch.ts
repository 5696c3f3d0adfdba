/**
 * Control batches: the markers that end a transaction. One record whose key says which way: version (2 bytes, 0) and type
 * (2 bytes: 0 abort, 1 commit); its value: version (2 bytes, 0) and epoch of the coordinator (4 bytes).
 * Any thread; used by the transaction coordinator (writes) and the producer state (reads).
 */

import { BatchBuilder } from './batch-builder.ts';
import { batchAttributes, isCompressed } from './batch-format.ts';
import { RecordCursor } from './record-cursor.ts';

export type ControlType = 'abort' | 'commit';

export interface ControlMarker {
  readonly type: ControlType;
  readonly producerId: number;
  readonly producerEpoch: number;
  readonly coordinatorEpoch: number;
  readonly timestampMs: number;
}

const cursor = new RecordCursor();

export function buildControlBatch(marker: ControlMarker): Buffer {
  const key = Buffer.alloc(4);
  key.writeInt16BE(marker.type === 'commit' ? 1 : 0, 2);
  const value = Buffer.alloc(6);
  value.writeInt32BE(marker.coordinatorEpoch, 2);
  const builder = new BatchBuilder({
    attributes: batchAttributes.control | batchAttributes.transactional,
    producerId: marker.producerId,
    producerEpoch: marker.producerEpoch,
  });
  builder.add({ timestampMs: marker.timestampMs, key, value });
  return builder.build();
}

/** What the control batch at `at` says; null when it says nothing that is known. */
export function readControlType(bytes: Buffer, at = 0): ControlType | null {
  if (isCompressed(bytes.readInt16BE(at + 21)) || !cursor.reset(bytes, at).next()) return null;
  const { key } = cursor;
  if (key === null || key.length < 4) return null;
  const type = key.readInt16BE(2);
  if (type === 0) return 'abort';
  return type === 1 ? 'commit' : null;
}
