/** A dumped record as text for people, and as JSON. Pure. Main thread of the command's process; called by `tool-command.ts`. */
import { isUtf8 } from 'node:buffer';
import type { Dumped, DumpedBatch } from '../../journal/offline/dump.ts';

export function dumpedJson(item: Dumped): Record<string, unknown> {
  const { type, partition } = item;
  if (type === 'damage') return { ...item };
  if (type === 'range') {
    const { baseOffset, lastOffset } = item.batch.header;
    return { type, partition, firstOffset: baseOffset, lastOffset, what: item.what, ...batchJson(item.batch) };
  }
  const { offset, timestamp, key, value, headers, batch } = item;
  return {
    type,
    partition,
    offset,
    timestamp,
    ...bytesJson('key', key),
    ...bytesJson('value', value),
    headers: headers.map((header) => ({ ...bytesJson('key', header.key), ...bytesJson('value', header.value) })),
    ...batchJson(batch),
  };
}

function batchJson({ file, position, header, codec, isTransactional, control }: DumpedBatch): Record<string, unknown> {
  const { leaderEpoch, producerId, producerEpoch, baseSequence, size, recordCount } = header;
  const producer = producerId < 0 ? null : { id: producerId, epoch: producerEpoch, baseSequence };
  const batch = { file, position, size, recordCount, codec, leaderEpoch };
  return { batch, producer, isTransactional, control };
}

/** `{name: text}`, or `{nameBase64: …}` for what is no text. */
function bytesJson(name: string, bytes: Buffer | null): Record<string, string | null> {
  if (bytes === null) return { [name]: null };
  return isUtf8(bytes) ? { [name]: bytes.toString() } : { [`${name}Base64`]: bytes.toString('base64') };
}

export function dumpedText(item: Dumped): string {
  if (item.type === 'damage') {
    const { partition, file, position, firstOffset, nextOffset } = item;
    return `${partition} ${firstOffset} to ${nextOffset - 1} DAMAGED ${file} at byte ${position}`;
  }
  const { partition, batch } = item;
  if (item.type === 'range') {
    return `${partition} ${batch.header.baseOffset} to ${batch.header.lastOffset}: ${item.what}${batchText(batch)}`;
  }
  const { offset, timestamp, key, value, headers } = item;
  const parts = [partition, String(offset), timeText(timestamp)];
  if (key !== null) parts.push(`key=${bytesText(key)}`);
  for (const header of headers) {
    parts.push(`${bytesText(header.key)}:${header.value === null ? '-' : bytesText(header.value)}`);
  }
  parts.push(value === null ? 'no value' : `value=${bytesText(value)}`);
  return parts.join(' ') + batchText(batch);
}

function batchText({ header, codec, isTransactional, control }: DumpedBatch): string {
  const parts: string[] = [];
  if (codec !== 'none') parts.push(codec);
  if (header.producerId >= 0) {
    const { producerId, producerEpoch, baseSequence } = header;
    parts.push(
      `producer ${producerId} epoch ${producerEpoch}${baseSequence < 0 ? '' : ` batch from sequence ${baseSequence}`}`,
    );
  }
  if (control !== null) parts.push(`control ${control}`);
  else if (isTransactional) parts.push('transactional');
  return parts.length === 0 ? '' : ` (${parts.join(', ')})`;
}

/** What no date can say is shown as it is. */
function timeText(timestamp: number): string {
  return Math.abs(timestamp) <= 8.64e15 ? new Date(timestamp).toISOString() : String(timestamp);
}

/** Text with what a terminal would act on escaped; base64 for what is no text. */
function bytesText(bytes: Buffer): string {
  if (!isUtf8(bytes)) return `base64:${bytes.toString('base64')}`;
  return JSON.stringify(bytes.toString()).replace(/[\x7f-\x9f]/g, (each) => `\\u00${each.charCodeAt(0).toString(16)}`);
}
