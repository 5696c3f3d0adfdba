/**
 * What joins a thread that uses the storage to the journal worker, which hosts it: two byte rings, two ports and a doorbell line.
 * Used by both ends; the main thread makes the links.
 *
 * The way of an append: the client copies the bytes once, into its request ring; the host hands the store a view of them there and gives
 * the record back to the ring when it is answered; the answer is a record of 16 bytes in the completion ring. A client and the host
 * have a link of their own for each life of either, so nothing of a dead one is ever read again.
 *
 * Budget of an append of one 256 B record, 100 under way, on the whole way, without the store: below 2 us.
 *   client   check of the bounds, closure and map entry         ~0.15 us   1 object
 *            claim, copy of 350 B, publish                      ~0.15 us
 *            one look at the host's sleep flag per turn         ~0
 *   host     next, view of the bytes                            ~0.20 us   1 Buffer (its flights are used again)
 *            append of the store                                            (the store's own)
 *            claim, two numbers, publish, histogram             ~0.10 us
 *            one look at the client's sleep flag per turn       ~0
 *   client   next, map entry, answer                            ~0.20 us   1 object
 *   both     a wake-up of ~15 us each, once per round of 100    ~0.30 us
 * What a batch costs that does not fit a record of the ring (a quarter of it): one more copy, one message to move it.
 */
import type { MessagePort } from 'node:worker_threads';
import type { StorageErrorCode } from '../../core/streams/storage-error.ts';
import { StorageError, storageErrorCodes } from '../../core/streams/storage-error.ts';

/** 6,500 answers; more of them wait in the host. */
export const completionRingBytes = 256 * 1024;
/** Appends of one client that wait for an answer; one more is refused. */
export const unansweredCountMax = 65_536;

/** One end of a link, as it is sent to its thread; the ports go into the transfer list. */
export interface StorageLink {
  readonly requests: SharedArrayBuffer;
  readonly completions: SharedArrayBuffer;
  /** Calls and their answers. */
  readonly port: MessagePort;
  /** Batches that are too large for the ring. Nobody listens on it: a record in the ring says when to take one. */
  readonly payloads: MessagePort;
  /** What is built over the storage: queues, cursors, delayed messages, transactions. */
  readonly services: MessagePort;
  /** Line of the client in the doorbells. */
  readonly line: number;
}

/** What goes into the transfer list with a link. */
export function portsOf({ port, payloads, services }: StorageLink): readonly MessagePort[] {
  return [port, payloads, services];
}

/** Line of the host in the doorbells. */
export const hostLine = 0;

/** Kinds of records in the request ring. Word: slot of the partition; tag: number of the append. */
export const requestKinds = {
  append: 1,
  /** The batch is the next message of the port for payloads. */
  appendMoved: 2,
} as const;

/** Kinds of records in the completion ring. */
export const completionKinds = {
  /** Tag: number of the append. Payload: base offset and last offset, as doubles. */
  stored: 1,
  repeated: 2,
  /** Tag: number of the append. Word: place of the code in the list below. Payload: the message. */
  refused: 3,
  /** Word: slot of a partition with something new to read. Payload: where that ends, as a double; -1: not known. */
  committed: 4,
} as const;

export const placesBytes = 16;
export const endBytes = 8;

const codes = Object.keys(storageErrorCodes) as StorageErrorCode[];

export function codeNumber(code: StorageErrorCode): number {
  return codes.indexOf(code);
}

export function codeOfNumber(number: number): StorageErrorCode {
  return codes[number] ?? 'STORAGE_PARTITION_FAILED';
}

/** A storage error as it crosses threads: structured clone would drop its class. */
export interface SentError {
  readonly code: StorageErrorCode;
  readonly message: string;
  readonly file: string | null;
  readonly position: number | null;
}

/** Whatever a store threw. What is no storage error is a disk's or a defect: nothing can be said about the partition. */
export function toSentError(thrown: unknown): SentError {
  if (thrown instanceof StorageError) {
    const { code, message, file, position } = thrown;
    return { code, message, file, position };
  }
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return { code: 'STORAGE_PARTITION_FAILED', message, file: null, position: null };
}

export function fromSentError({ code, message, file, position }: SentError): StorageError {
  return new StorageError(code, message, {
    ...(file === null ? {} : { file }),
    ...(position === null ? {} : { position }),
  });
}
