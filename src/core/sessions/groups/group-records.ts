/**
 * The records of groups in the stream of their shard. Thread: the owner of the groups.
 *
 *   key    1, name of the group (`group-key.ts`)
 *   value  version (1), strategy; count of logs, place in each; offset in each from which on the group has messages; count of skips, of
 *          each: log, from, to; for each log: count of open messages, distance of each to the one before; the same for settled ones;
 *          in version 2 alone: since when nobody is subscribed (ms since 1970)
 *
 * Numbers are zigzag varints, the strategy is a length and its name. Below the place of a log everything is settled but what is open,
 * from there on nothing but what is noted as settled.
 */
import { type GroupStrategy, groupStrategies } from '../../broker/group-strategies.ts';
import type { Skip } from '../session-entry.ts';
import { RecordReader, RecordWriter } from '../session-records.ts';

/** A group as it is stored. */
export interface StoredGroup {
  readonly key: string;
  readonly strategy: GroupStrategy;
  readonly positions: readonly number[];
  readonly since: readonly number[];
  readonly skips: readonly Skip[];
  /** For each log, ascending. */
  readonly open: readonly (readonly number[])[];
  /** For each log, ascending: settled though the group has not come to them. */
  readonly passed: readonly (readonly number[])[];
  /** Since when nobody is subscribed, ms since 1970; infinite: somebody is, or it is not kept without. */
  readonly emptySince: number;
}

const writer = new RecordWriter();
const reader = new RecordReader();
/** The second one is written where it is needed, so that versions of the broker which know the first alone can read the others. */
const version = { plain: 1, empty: 2 } as const;
const kindGroup = 1;

export function groupRecordKey(key: string): Buffer {
  const bytes = Buffer.allocUnsafe(1 + Buffer.byteLength(key));
  bytes[0] = kindGroup;
  bytes.write(key, 1);
  return bytes;
}

/** The name of the group; null: it is no key of a group. */
export function decodeGroupKey(key: Buffer | null): string | null {
  return key !== null && key.length > 1 && key[0] === kindGroup ? key.toString('utf8', 1) : null;
}

export function encodeGroup({ strategy, positions, since, skips, open, passed, emptySince }: StoredGroup): Buffer {
  const isEmpty = emptySince !== Number.POSITIVE_INFINITY;
  writer
    .number(isEmpty ? version.empty : version.plain)
    .bytes(Buffer.from(strategy))
    .number(positions.length);
  for (const position of positions) writer.number(position);
  for (const offset of since) writer.number(offset);
  writer.number(skips.length);
  for (const { partition, from, to } of skips) writer.number(partition).number(from).number(to);
  for (const offsets of [...open, ...passed]) {
    writer.number(offsets.length);
    let last = 0;
    for (const offset of offsets) {
      writer.number(offset - last);
      last = offset;
    }
  }
  if (isEmpty) writer.number(emptySince);
  return writer.take();
}

/** Null when it is not one. */
export function decodeGroup(key: string, value: Buffer): StoredGroup | null {
  reader.reset(value);
  const found = reader.number();
  if (found !== version.plain && found !== version.empty) return null;
  const name = reader.bytes().toString();
  const strategy = groupStrategies.find((each) => each === name);
  const positions = reader.numbers();
  const since = positions.map(() => reader.number());
  const skips = Array.from({ length: reader.count() }, () => {
    const partition = reader.number();
    const from = reader.number();
    return { partition, from, to: reader.number() };
  });
  const open = positions.map(ascending);
  const passed = positions.map(ascending);
  const emptySince = found === version.empty ? reader.number() : Number.POSITIVE_INFINITY;
  if (!reader.isSound || strategy === undefined) return null;
  return { key, strategy, positions, since, skips, open, passed, emptySince };
}

function ascending(): number[] {
  let offset = 0;
  return reader.numbers().map((distance) => {
    offset += distance;
    return offset;
  });
}
