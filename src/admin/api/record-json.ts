/** Records as the administration API takes and shows them. Lives on the main thread; used by the resources about records and queues. */
import { isUtf8 } from 'node:buffer';
import type { NewRecord } from '../../core/batch/batch-builder.ts';
import type { RecordHeader } from '../../core/batch/record-cursor.ts';
import type { Fields } from './streams-fields.ts';

const headersMax = 1000;
const headerNames = ['key', 'keyBase64', 'value', 'valueBase64'];

/** The fields of a record in a request. */
export const recordNames = ['key', 'keyBase64', 'value', 'valueBase64', 'headers', 'timestamp'];

/** Throws `RequestInvalidError`. */
export function readRecord(fields: Fields, nowMs: number): NewRecord {
  return {
    // -1 is what producers write that have no time.
    timestampMs: fields.time('timestamp', nowMs, -1),
    key: fields.bytes('key'),
    value: fields.bytes('value'),
    headers: fields.objects('headers', headerNames, 0, headersMax).map((header) => {
      const key = header.bytes('key');
      if (key === null) throw header.wrong('key', 'must be there');
      return { key, value: header.bytes('value') };
    }),
  };
}

export interface ShownRecord {
  readonly timestamp: number;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: readonly RecordHeader[];
}

export function recordJson({ timestamp, key, value, headers }: ShownRecord): object {
  return {
    timestamp,
    ...bytesJson('key', key),
    headers: headers.map((header) => ({ ...bytesJson('key', header.key), ...bytesJson('value', header.value) })),
    ...bytesJson('value', value),
  };
}

/** Text where the bytes are UTF-8, base64 otherwise: either way they can be made again exactly. */
function bytesJson(name: string, bytes: Buffer | null): object {
  if (bytes === null) return { [name]: null };
  return isUtf8(bytes) ? { [name]: bytes.toString() } : { [`${name}Base64`]: bytes.toString('base64') };
}
