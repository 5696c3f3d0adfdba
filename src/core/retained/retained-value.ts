/** A retained value as every thread keeps it, and the limits that it is kept by. Plain data; any thread. */
import { ownedCopy } from '../../std/owned-copy.ts';

/** One publication as it was encoded, see `Run`. */
export interface RetainedValue {
  /** Encoding of the frame, a number that belongs to one protocol. */
  readonly layout: number;
  readonly frame: KeptFrame;
  readonly detailA: number;
  readonly detailB: number;
  readonly detailC: number;
  /** Orders all changes of retained values of the node, also over restarts: of two, the one with the higher stamp wins. */
  readonly stamp: number;
  /** Milliseconds since 1970. */
  readonly storedAtMs: number;
  /** Unix time in seconds from which on it is gone; 0 for never. */
  readonly expiresAtS: number;
  /** Whose publisher wrote it, for what a tenant may keep; '' for the default one. */
  readonly tenant: string;
}

/** What may be kept. A bound that is left out does not hold. */
export interface RetainedLimits {
  /** Topics with a value. */
  readonly countMax: number;
  /** Sum of what the values take, `bytesOf` each. */
  readonly bytesMax: number;
  /** Of one publication, bytes of its frame. */
  readonly valueBytesMax?: number;
  /** Topics of one tenant. */
  readonly tenantCountMax?: number;
  readonly tenantBytesMax?: number;
  /** How long a value lives whose publisher says nothing of it, seconds; 0 or left out: for ever. */
  readonly expiryDefaultS?: number;
  /** The longest life of any value, seconds; 0 or left out: no bound. */
  readonly expiryMaxS?: number;
}

/** Which limit refuses a value. */
export const retainedRefusals = ['count', 'bytes', 'value-bytes', 'tenant-count', 'tenant-bytes', 'storage'] as const;
export type RetainedRefusal = (typeof retainedRefusals)[number];

/** Bytes as they are kept, see `keptFrame`; the length of both is in bytes. */
export type KeptFrame = Buffer | string;

/** Longest frame that is kept as a string: those lie in the heap of the thread, which is bounded. */
const stringBytesMax = 1_024;

/** A copy of `source[start, end)`. A short one is a string of Latin-1: a buffer of its own takes some 450 bytes more. */
export function keptFrame(source: Buffer, start: number, end: number): KeptFrame {
  return end - start <= stringBytesMax ? source.toString('latin1', start, end) : ownedCopy(source, start, end);
}

/** The bytes. Not to be changed. */
export function frameOf({ frame }: RetainedValue): Buffer {
  return typeof frame === 'string' ? Buffer.from(frame, 'latin1') : frame;
}

/** Bytes that a value costs beside its frame and its names, in each worker; measured, see `docs/internals/retained.md`. */
const overheadBytes = 600;
const bufferBytes = 450;

/** What a value counts for. */
export function bytesOf(topic: string, frameBytes: number, tenant: string): number {
  const bytes = frameBytes + topic.length + tenant.length + overheadBytes;
  return frameBytes <= stringBytesMax ? bytes : bytes + bufferBytes;
}

/** The last second that 32 bits hold, in the year 2106. */
const lastExpiryS = 0xffff_ffff;

/** When a value expires that its publisher wants to expire at `expiresAtS`, 0 for never. */
export function boundedExpiry(expiresAtS: number, nowMs: number, limits: RetainedLimits): number {
  const { expiryDefaultS = 0, expiryMaxS = 0 } = limits;
  const nowS = Math.ceil(nowMs / 1000);
  let bounded = expiresAtS === 0 && expiryDefaultS > 0 ? nowS + expiryDefaultS : expiresAtS;
  if (expiryMaxS > 0) bounded = bounded === 0 ? nowS + expiryMaxS : Math.min(bounded, nowS + expiryMaxS);
  return Math.min(bounded, lastExpiryS);
}
