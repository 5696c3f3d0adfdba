/**
 * The npm module `mqtt-packet` behind two plain functions: one frame in, one packet out, and back.
 *
 * It serves the rare packets only, and only behind the strict checks of this folder, since it is lenient. Connection
 * workers; called by `parse-*.ts` and `generate.ts`, which are the only ones that know its types.
 */
import { createRequire } from 'node:module';
import type { Packet } from 'mqtt-packet';
import { toError } from '../../../std/errors.ts';
import type { ProtocolLevel } from '../codec/frame.ts';

type Library = typeof import('mqtt-packet');

let loaded: Library | null = null;

/** Some 50 files with what it needs itself: a worker does not wait for them before it serves. */
function library(): Library {
  if (loaded !== null) return loaded;
  loaded = createRequire(import.meta.url)('mqtt-packet') as Library;
  // Its cache holds a Buffer for each of the 65,536 numbers that two bytes can say: some 7 MiB on every thread.
  loaded.writeToStream.cacheNumbers = false;
  return loaded;
}

/** Loads the library behind the start of the worker, so that no client waits for it either. */
export function preload(): void {
  setTimeout(library, preloadAfterMs).unref();
}

const preloadAfterMs = 100;

/**
 * Decodes the one packet that fills `frame`, or answers why it could not. What it answers may share memory with
 * `frame`. A parser is made for each frame because it keeps state: CONNECT changes its level, an error its buffer.
 */
export function decode(frame: Buffer, level: ProtocolLevel): Packet | Error {
  let result: Packet | Error = new Error('Cannot decode packet: it is incomplete');
  const decoder = library().parser({ protocolVersion: level });
  decoder.on('packet', (packet: Packet) => {
    result = packet;
  });
  // After its `error` event the module may still announce the half-read packet, so the error is noted apart.
  let failure: Error | null = null;
  decoder.on('error', (error: Error) => {
    failure ??= error;
  });
  try {
    decoder.parse(frame);
  } catch (error) {
    return toError(error);
  }
  return failure ?? result;
}

/** Encodes a packet of ours; a field that it refuses is a defect, and throws. */
export function encode(packet: Packet, level: ProtocolLevel): Buffer {
  return library().generate(packet, { protocolVersion: level });
}
