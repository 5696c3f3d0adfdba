/**
 * The npm module `mqtt-packet` behind two plain functions: one frame in, one packet out, and back.
 *
 * It serves the rare packets only, and only behind the strict checks of this folder, since it is lenient. Connection
 * workers; called by `parse-*.ts` and `generate.ts`, which are the only ones that know its types.
 */
import { createRequire, Module } from 'node:module';
import type { Packet, Parser } from 'mqtt-packet';
import { toError } from '../../../std/errors.ts';
import type { ProtocolLevel } from '../codec/frame.ts';

type Library = typeof import('mqtt-packet');

interface ParserSettings {
  protocolVersion: ProtocolLevel;
}

let loaded: Library | null = null;

/** Some 50 files with what it needs itself: a worker does not wait for them before it serves. */
function library(): Library {
  if (loaded !== null) return loaded;
  loaded = loadSilently();
  // Its cache holds a Buffer for each of the 65,536 numbers that two bytes can say: some 7 MiB on every thread.
  loaded.writeToStream.cacheNumbers = false;
  return loaded;
}

/**
 * Without its log. It says what it does with the module `debug`, some 20 times a packet; nobody reads that, but the arrays of arguments were a
 * fifth of the garbage that a connection leaves.
 */
function loadSilently(): Library {
  const require = createRequire(import.meta.url);
  const path = createRequire(require.resolve('mqtt-packet')).resolve('debug');
  const { cache } = require;
  const present = cache[path];
  const silent = new Module(path);
  silent.exports = () => () => undefined;
  silent.loaded = true;
  cache[path] = silent;
  try {
    return require('mqtt-packet') as Library;
  } finally {
    if (present === undefined) delete cache[path];
    else cache[path] = present;
  }
}

/** Loads the library behind the start of the worker, so that no client waits for it either. */
export function preload(): void {
  setTimeout(library, preloadAfterMs).unref();
}

const preloadAfterMs = 100;

/**
 * Decodes the one packet that fills `frame`, or answers why it could not. What it answers may share memory with
 * `frame`.
 */
export function decode(frame: Buffer, level: ProtocolLevel): Packet | Error {
  const decoder = spare ?? new Decoder();
  // An error leaves bytes and half a packet in it, so that another one is made then.
  spare = null;
  const result = decoder.decode(frame, level);
  if (decoder.isClean) spare = decoder;
  return result;
}

/** A parser of the library, for one frame after the other. */
class Decoder {
  isClean = true;
  private readonly settings: ParserSettings = { protocolVersion: 4 };
  private readonly parser = library().parser(this.settings) as Parser & { settings: ParserSettings };
  private packet: Packet | null = null;
  private failure: Error | null = null;

  constructor() {
    this.parser.on('packet', (packet: Packet) => {
      this.packet = packet;
    });
    // After its `error` event the module may still announce the half-read packet, so the error is noted apart.
    this.parser.on('error', (error: Error) => {
      this.failure ??= error;
    });
  }

  decode(frame: Buffer, level: ProtocolLevel): Packet | Error {
    this.settings.protocolVersion = level;
    this.packet = null;
    try {
      const left = this.parser.parse(frame);
      this.isClean = left === 0 && this.failure === null && this.packet !== null;
    } catch (error) {
      this.isClean = false;
      return toError(error);
    }
    // The library takes the settings of what follows out of CONNECT, and would keep it, with its password.
    this.parser.settings = this.settings;
    const { packet } = this;
    this.packet = null;
    return this.failure ?? packet ?? new Error('Cannot decode packet: it is incomplete');
  }
}

/** One per thread. */
let spare: Decoder | null = null;

/** Encodes a packet of ours; a field that it refuses is a defect, and throws. */
export function encode(packet: Packet, level: ProtocolLevel): Buffer {
  return library().generate(packet, { protocolVersion: level });
}
