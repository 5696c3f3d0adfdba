/**
 * Packet identifiers of QoS 2 messages on their way to a remote broker. Each follows from the place of its message in the stream of the bridge,
 * so that after kill -9 a message is sent again with the identifier that the remote broker knows it by. Pure; the worker that has the bridge.
 *
 * The upper half of the identifiers is for them, the lower half for everything else.
 */
import { writeAcknowledgement } from '../codec/acknowledgements.ts';
import { PacketType } from '../codec/frame.ts';

const count = 32_768;
const first = 65_536 - count;
/** Messages that may be under way: no two of them have the same identifier, and who has which fits the metadata of a cursor. */
export const exactWindowMax = 16_384;

export function exactIdOf(offset: number): number {
  return first + (offset % count);
}

export function isExactId(packetId: number): boolean {
  return packetId >= first;
}

/** All of them but those of the offsets [from, to). */
export function exactIdsWithout(from: number, to: number): number[] {
  const left = new Set<number>();
  for (let offset = from; offset < Math.min(to, from + count); offset += 1) left.add(exactIdOf(offset));
  return Array.from({ length: count }, (_, index) => first + index).filter((packetId) => !left.has(packetId));
}

/** PUBREL for each. */
export function releases(packetIds: readonly number[]): Buffer {
  const bytes = Buffer.allocUnsafe(packetIds.length * 4);
  let at = 0;
  for (const packetId of packetIds) at = writeAcknowledgement(bytes, at, PacketType.PUBREL, packetId, 0, 4);
  return bytes;
}

/** The lower half, for MQTT.js. It asks for one only when it has room for what it is for. */
export class OtherIds {
  #last = 0;

  allocate(): number {
    this.#last = (this.#last % (first - 1)) + 1;
    return this.#last;
  }

  getLastAllocated(): number | null {
    return this.#last === 0 ? null : this.#last;
  }

  register(): boolean {
    return true;
  }

  deallocate(): void {
    // They come round again long after they are free.
  }

  clear(): void {
    // What is under way goes on with its identifiers over the next connection.
  }
}
