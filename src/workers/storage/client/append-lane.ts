/**
 * The way of appends from one thread to the storage host and back. Owned by the storage client of a thread.
 *
 * An append is copied into the request ring at once when there is room. Otherwise it waits here, by reference: in order, up to a
 * bound of bytes and of appends, beyond which it is refused with STORAGE_UNAVAILABLE and nothing was stored. When the host is lost,
 * what was in the ring is answered with STORAGE_UNCERTAIN, unless its answer had come; what waits here waits for the next host.
 */
import type { MessagePort } from 'node:worker_threads';
import type { AppendAnswer, AppendDone } from '../../../core/ports/stream-store.ts';
import { StorageError } from '../../../core/streams/storage-error.ts';
import { ByteRingConsumer, ByteRingProducer } from '../../../shm/byte-ring.ts';
import { assert } from '../../../std/assert.ts';
import { codeOfNumber, completionKinds, requestKinds, type StorageLink, unansweredCountMax } from '../link.ts';
import type { ClientPartition } from './client-partition.ts';

export interface AppendLaneOptions {
  /** Bytes of appends without an answer; one that is larger is taken when there is no other. */
  readonly unansweredBytesMax: number;
  /** Has the host rung at the end of this turn. */
  ringHost(): void;
  /** There is something new to read in the partition with this number. */
  committed(slot: number, end?: number): void;
  /** An append was answered. */
  eased(): void;
}

interface Pending {
  readonly bytes: number;
  readonly done: AppendDone;
}

interface Waiting {
  readonly partition: ClientPartition;
  readonly bytes: Buffer;
  readonly done: AppendDone;
}

/** The ends of the rings of one link. */
interface Ends {
  readonly requests: ByteRingProducer;
  readonly completions: ByteRingConsumer;
  readonly payloads: MessagePort;
}

export class AppendLane {
  readonly #options: AppendLaneOptions;
  readonly #pending = new Map<number, Pending>();
  /** Oldest first; those before `#first` are gone. */
  #queue: Waiting[] = [];
  #first = 0;
  #ends: Ends | null = null;
  /** The partitions have their numbers: appends may go out. */
  #isOpen = false;
  #tag = 0;
  #bytes = 0;
  #refusal: StorageError | null = null;

  constructor(options: AppendLaneOptions) {
    this.#options = options;
  }

  /** Appends without an answer. */
  get unanswered(): number {
    return this.#pending.size + this.waiting;
  }

  get unansweredBytes(): number {
    return this.#bytes;
  }

  /** Appends that are not in the ring yet. */
  get waiting(): number {
    return this.#queue.length - this.#first;
  }

  /** There are answers to take, or room for what waits. */
  get hasWork(): boolean {
    if (this.#ends === null) return false;
    const { completions, requests } = this.#ends;
    return completions.hasNext || (this.#isOpen && this.waiting > 0 && requests.requestSpace());
  }

  append(partition: ClientPartition, bytes: Buffer, done: AppendDone): void {
    const refusal = this.#refusal ?? partition.failure ?? this.#checkBounds(bytes.length);
    if (refusal !== null) {
      // In a turn of its own: a caller that tries again at once must not keep everything else from running.
      setImmediate(() => done(refused(refusal)));
      return;
    }
    this.#bytes += bytes.length;
    if (this.#isOpen && this.waiting === 0 && this.#publish(partition, bytes, done)) this.#options.ringHost();
    else this.#queue.push({ partition, bytes, done });
  }

  /** A link to a host; appends go out after `open`. */
  attach(link: StorageLink): void {
    assert(this.#ends === null, 'the link before was lost first');
    this.#ends = {
      requests: new ByteRingProducer(link.requests),
      completions: new ByteRingConsumer(link.completions),
      payloads: link.payloads,
    };
  }

  open(): void {
    this.#isOpen = true;
    this.push();
  }

  /** Takes the answers that have come; whether the host waits for room for more of them. */
  take(): boolean {
    if (this.#ends === null) return false;
    const { completions } = this.#ends;
    while (completions.next()) this.#handle(completions);
    return completions.release();
  }

  /** Puts what waits into the ring, as far as it goes. */
  push(): void {
    if (!this.#isOpen || this.#ends === null || this.waiting === 0) return;
    const { requests } = this.#ends;
    while (this.#first < this.#queue.length) {
      const { partition, bytes, done } = this.#queue[this.#first];
      if (partition.failure !== null) this.#refuse(bytes.length, done, partition.failure);
      else if (!this.#publish(partition, bytes, done)) {
        if (requests.requestSpace()) continue;
        break;
      }
      this.#first += 1;
    }
    if (this.#first * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#first);
      this.#first = 0;
    }
    this.#options.ringHost();
  }

  /** The host is gone: what it had and did not answer may be stored or not. */
  lose(): void {
    if (this.#ends === null) return;
    this.take();
    this.#ends.payloads.close();
    this.#ends = null;
    this.#isOpen = false;
    const lost = [...this.#pending.values()];
    this.#pending.clear();
    const error = new StorageError(
      'STORAGE_UNCERTAIN',
      'Cannot say whether the append was stored: the storage was lost',
    );
    for (const { bytes, done } of lost) {
      this.#bytes -= bytes;
      done(refused(error));
    }
    if (lost.length > 0) this.#options.eased();
  }

  /** Refuses what waits for a host. */
  giveUp(error: StorageError): void {
    const waiting = this.#queue.slice(this.#first);
    this.#queue = [];
    this.#first = 0;
    for (const { bytes, done } of waiting) this.#refuse(bytes.length, done, error);
  }

  /** Refuses everything from now on. */
  close(error: StorageError): void {
    this.#refusal = error;
    if (!this.#isOpen) this.giveUp(error);
  }

  #checkBounds(length: number): StorageError | null {
    const { unansweredBytesMax } = this.#options;
    if (this.#bytes === 0) return null;
    if (this.#bytes + length <= unansweredBytesMax && this.unanswered < unansweredCountMax) return null;
    const state = `${this.unanswered} appends with ${this.#bytes} bytes wait for an answer`;
    return new StorageError('STORAGE_UNAVAILABLE', `Cannot append: ${state}`);
  }

  /** False when the ring is full. */
  #publish(partition: ClientPartition, bytes: Buffer, done: AppendDone): boolean {
    assert(this.#ends !== null, 'appends go out over a link');
    const { requests, payloads } = this.#ends;
    const { length } = bytes;
    const isMoved = length > requests.recordBytesMax;
    const offset = requests.claim(isMoved ? 0 : length);
    if (offset < 0) return false;
    if (isMoved) {
      const memory = new ArrayBuffer(length);
      bytes.copy(Buffer.from(memory));
      // First, so that it is there when the record is seen.
      payloads.postMessage(memory, [memory]);
    } else bytes.copy(requests.bytes, offset);
    const tag = this.#tag;
    this.#tag = (tag + 1) >>> 0;
    this.#pending.set(tag, { bytes: length, done });
    requests.publish(isMoved ? requestKinds.appendMoved : requestKinds.append, partition.slot, tag);
    return true;
  }

  #handle(completions: ByteRingConsumer): void {
    const { kind, tag, offset } = completions;
    if (kind === completionKinds.committed) {
      const end = completions.doubles[offset >>> 3];
      this.#options.committed(completions.word, end < 0 ? undefined : end);
      return;
    }
    const pending = this.#pending.get(tag);
    assert(pending !== undefined, 'the host answers what is under way');
    this.#pending.delete(tag);
    this.#bytes -= pending.bytes;
    if (kind === completionKinds.refused) {
      const message = completions.bytes.toString('utf8', offset, offset + completions.length);
      pending.done(refused(new StorageError(codeOfNumber(completions.word), message)));
    } else {
      const { doubles } = completions;
      const at = offset >>> 3;
      const isDuplicate = kind === completionKinds.repeated;
      pending.done({ error: null, baseOffset: doubles[at], lastOffset: doubles[at + 1], isDuplicate });
    }
    this.#options.eased();
  }

  #refuse(bytes: number, done: AppendDone, error: StorageError): void {
    this.#bytes -= bytes;
    done(refused(error));
    this.#options.eased();
  }
}

function refused(error: StorageError): AppendAnswer {
  return { error, baseOffset: -1, lastOffset: -1, isDuplicate: false };
}
