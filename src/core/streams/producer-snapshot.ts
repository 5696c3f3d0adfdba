/**
 * The state of the producers as bytes, for engines that keep it beside the batches: CRC-32C of the rest (4 bytes, big endian), then
 * JSON. Pure; any thread. Used by the front of a partition. (The journal has files of its own for it, which stay readable for ever;
 * this one is only a help: without it, or when it is damaged, all batches are read instead.)
 */

import { crc32c } from '../batch/crc32c.ts';
import type { ProducerSnapshot } from './producer-state.ts';

const version = 1;

export function encodeProducers(snapshot: ProducerSnapshot): Buffer {
  const text = Buffer.from(JSON.stringify({ version, ...snapshot }));
  const bytes = Buffer.allocUnsafe(4 + text.length);
  bytes.writeUInt32BE(crc32c(text), 0);
  text.copy(bytes, 4);
  return bytes;
}

/** Null when it is damaged, or of another version. */
export function decodeProducers(bytes: Buffer): ProducerSnapshot | null {
  if (bytes.length < 4 || crc32c(bytes.subarray(4)) !== bytes.readUInt32BE(0)) return null;
  // The checksum says that it is what was written, so its shape is the one of its version.
  const { version: found, ...snapshot } = JSON.parse(bytes.toString('utf8', 4)) as ProducerSnapshot & {
    readonly version: number;
  };
  return found === version ? snapshot : null;
}
