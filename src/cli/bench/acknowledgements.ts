/** Collects the acknowledgements that one chunk asks for, so that they leave in one write. Thread of the harness. */
import type { BenchConnection } from './connection.ts';

const CAPACITY = 64 * 1024;
/** Shared by all connections: a chunk is consumed, and flushed, before the next is read. */
const scratch = Buffer.allocUnsafeSlow(CAPACITY);
let length = 0;

/** Adds PUBACK, PUBREC, PUBREL or PUBCOMP; `first` is its first byte. Success needs no reason code in MQTT 5 either. */
export function addAcknowledgement(connection: BenchConnection, first: number, packetId: number): void {
  if (length + 4 > CAPACITY) flushAcknowledgements(connection);
  scratch[length] = first;
  scratch[length + 1] = 2;
  scratch[length + 2] = packetId >> 8;
  scratch[length + 3] = packetId & 0xff;
  length += 4;
}

/** Writes what was added for `connection` since the last flush. */
export function flushAcknowledgements(connection: BenchConnection): void {
  if (length === 0) return;
  const bytes = Buffer.from(scratch.subarray(0, length));
  length = 0;
  connection.write(bytes);
}
