/**
 * The host's end of one link: takes appends out of the client's request ring and puts answers into its completion ring. Thread: the
 * journal worker; owned by the host, which calls `take` when it was rung and `flush` at the end of each turn that had something.
 *
 * With a store that can work on shared memory a record stays in the request ring until its append is answered, so that its bytes
 * are never copied here; the ring is given back in order. Other stores get a copy, and the ring is given back at once.
 */
import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import type { AppendAnswer, AppendDone } from '../../../core/ports/stream-store.ts';
import { StorageError } from '../../../core/streams/storage-error.ts';
import { ByteRingConsumer, ByteRingProducer } from '../../../shm/byte-ring.ts';
import { assert } from '../../../std/assert.ts';
import { ownedCopy } from '../../../std/owned-copy.ts';
import { codeNumber, completionKinds, endBytes, placesBytes, requestKinds, type StorageLink } from '../link.ts';
import type { HostToClient } from '../messages.ts';
import type { HostedPartition } from './partition-table.ts';
import type { StorageMetrics } from './storage-metrics.ts';

/** Records that are taken of one ring before the others have their turn. */
const takenMax = 4_096;
/** Of a refusal; the rest is cut off. */
const messageBytesMax = 1_024;

export interface LinkOwner {
  readonly metrics: StorageMetrics;
  /** The store can work on bytes in shared memory. */
  readonly takesSharedMemory: boolean;
  partitionOf(slot: number): HostedPartition | undefined;
  /** Milliseconds, the same for all of one turn. */
  now(): number;
  /** Has `flush` called at the end of this turn. */
  wantsFlush(link: HostLink): void;
  ring(line: number): void;
}

/** An append under way; used again, since there are hundreds of thousands of them in a second. */
class Flight {
  readonly done: AppendDone;
  tag = 0;
  /** Behind its record in the request ring. */
  position = 0;
  startMs = 0;
  bytes = 0;
  isAnswered = false;

  constructor(link: HostLink) {
    this.done = (answer) => link.answered(this, answer);
  }
}

export class HostLink {
  readonly line: number;
  readonly port: MessagePort;
  readonly #payloads: MessagePort;
  readonly #owner: LinkOwner;
  readonly #requests: ByteRingConsumer;
  readonly #completions: ByteRingProducer;
  /** Under way, in the order of the ring; those before `#first` are done with. */
  #flights: Flight[] = [];
  #first = 0;
  readonly #idle: Flight[] = [];
  /** Answers that found no room, in order. */
  #waiting: { readonly tag: number; readonly answer: AppendAnswer }[] = [];
  /** Partitions with something new: slot, and where it ends or -1. */
  readonly #committed = new Map<number, number>();
  #isPublished = false;
  /** The completion ring had no room. */
  #isBlocked = false;
  #isClosed = false;
  #unanswered = 0;

  constructor(link: StorageLink, owner: LinkOwner) {
    this.line = link.line;
    this.port = link.port;
    this.#payloads = link.payloads;
    this.#owner = owner;
    this.#requests = new ByteRingConsumer(link.requests);
    this.#completions = new ByteRingProducer(link.completions);
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** There are appends to take; or answers to give, now that there is room. */
  get hasWork(): boolean {
    if (this.#isClosed) return false;
    return this.#requests.hasNext || (this.#isBlocked && this.#completions.requestSpace());
  }

  /** There are appends to take. */
  get hasNext(): boolean {
    return !this.#isClosed && this.#requests.hasNext;
  }

  get requestFillBytes(): number {
    return this.#isClosed ? 0 : this.#requests.heldBytes;
  }

  get completionFillBytes(): number {
    return this.#isClosed ? 0 : this.#completions.fillBytes;
  }

  /** Appends whose answer the store owes. */
  get unanswered(): number {
    return this.#unanswered;
  }

  /** Hands what is in the ring to the store, up to a bound. */
  take(): void {
    if (this.#isClosed) return;
    if (this.#isBlocked) this.#owner.wantsFlush(this);
    const requests = this.#requests;
    const { metrics, takesSharedMemory } = this.#owner;
    const startMs = this.#owner.now();
    let taken = 0;
    while (taken < takenMax && requests.next()) {
      taken += 1;
      const flight = this.#idle.pop() ?? new Flight(this);
      flight.tag = requests.tag;
      flight.position = requests.position;
      flight.startMs = startMs;
      flight.isAnswered = false;
      const bytes = this.#bytesOf(requests, takesSharedMemory, metrics);
      flight.bytes = bytes.length;
      this.#flights.push(flight);
      this.#unanswered += 1;
      const hosted = this.#owner.partitionOf(requests.word);
      if (hosted === undefined) flight.done(unknownPartition());
      else hosted.partition.append(bytes, flight.done);
    }
    if (taken > 0) this.#owner.wantsFlush(this);
  }

  answered(flight: Flight, answer: AppendAnswer): void {
    assert(!flight.isAnswered, 'the store answers an append once');
    flight.isAnswered = true;
    this.#unanswered -= 1;
    const { metrics } = this.#owner;
    metrics.appended(this.#owner.now() - flight.startMs);
    metrics.add('appends', 1);
    if (answer.error === null) metrics.add('appendedBytes', flight.bytes);
    else metrics.add('refused', 1);
    if (this.#isClosed) return;
    if (this.#waiting.length > 0 || !this.#publish(flight.tag, answer)) this.#waiting.push({ tag: flight.tag, answer });
    this.#owner.wantsFlush(this);
  }

  /** There is something new to read in a partition that the client watches. */
  committed(slot: number, end: number): void {
    if (this.#isClosed) return;
    this.#committed.set(slot, end);
    this.#owner.wantsFlush(this);
  }

  /** Answers that had to wait go out, records go back, and the client is woken when there is something for it. */
  flush(): void {
    if (this.#isClosed) return;
    this.#isBlocked = !this.#publishWaiting() || !this.#publishCommitted();
    const wantsSpace = this.#giveBack();
    if (wantsSpace || this.#isPublished) this.#owner.ring(this.line);
    this.#isPublished = false;
  }

  send(message: HostToClient, transfer: readonly ArrayBuffer[] = []): void {
    if (!this.#isClosed) this.port.postMessage(message, [...transfer]);
  }

  /** The client is gone, or the host ends. Answers that still come are for nobody. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#waiting = [];
    this.#committed.clear();
    this.port.close();
    this.#payloads.close();
  }

  #bytesOf(requests: ByteRingConsumer, takesSharedMemory: boolean, metrics: StorageMetrics): Buffer {
    const { offset, length } = requests;
    if (requests.kind === requestKinds.append) {
      const end = offset + length;
      return takesSharedMemory ? requests.bytes.subarray(offset, end) : ownedCopy(requests.bytes, offset, end);
    }
    assert(requests.kind === requestKinds.appendMoved, 'the ring carries appends');
    metrics.add('moved', 1);
    // It was sent before its record was published, so it is there.
    const received = receiveMessageOnPort(this.#payloads);
    assert(received !== undefined, 'the batch of an append was sent before it');
    return Buffer.from(received.message as ArrayBuffer);
  }

  #publish(tag: number, answer: AppendAnswer): boolean {
    const completions = this.#completions;
    const { error } = answer;
    if (error === null) {
      const offset = completions.claim(placesBytes);
      if (offset < 0) return false;
      const at = offset >>> 3;
      completions.doubles[at] = answer.baseOffset;
      completions.doubles[at + 1] = answer.lastOffset;
      completions.publish(answer.isDuplicate ? completionKinds.repeated : completionKinds.stored, 0, tag);
    } else {
      const message = Buffer.from(error.message).subarray(0, messageBytesMax);
      const offset = completions.claim(message.length);
      if (offset < 0) return false;
      message.copy(completions.bytes, offset);
      completions.publish(completionKinds.refused, codeNumber(error.code), tag);
    }
    this.#isPublished = true;
    return true;
  }

  /** False when the ring is full. */
  #publishWaiting(): boolean {
    let published = 0;
    while (published < this.#waiting.length) {
      const { tag, answer } = this.#waiting[published];
      if (this.#publish(tag, answer)) published += 1;
      else if (!this.#completions.requestSpace()) break;
    }
    if (published > 0) this.#waiting = this.#waiting.slice(published);
    return this.#waiting.length === 0;
  }

  /** False when the ring is full. */
  #publishCommitted(): boolean {
    const completions = this.#completions;
    for (const [slot, end] of this.#committed) {
      let offset = completions.claim(endBytes);
      for (; offset < 0; offset = completions.claim(endBytes)) if (!completions.requestSpace()) return false;
      completions.doubles[offset >>> 3] = end;
      completions.publish(completionKinds.committed, slot, 0);
      this.#committed.delete(slot);
      this.#isPublished = true;
    }
    return true;
  }

  /** Gives the records back of which all before them are answered; whether the client waits for that. */
  #giveBack(): boolean {
    let position: number | null = null;
    let answered = 0;
    while (this.#first < this.#flights.length && this.#flights[this.#first].isAnswered) {
      const flight = this.#flights[this.#first];
      position = flight.position;
      this.#idle.push(flight);
      this.#first += 1;
      answered += 1;
    }
    if (answered > 0) this.#owner.metrics.answeredTogether(answered);
    if (this.#first === this.#flights.length) {
      this.#flights.length = 0;
      this.#first = 0;
    } else if (this.#first > takenMax) {
      this.#flights = this.#flights.slice(this.#first);
      this.#first = 0;
    }
    if (!this.#owner.takesSharedMemory) return this.#requests.release();
    return position !== null && this.#requests.releaseTo(position);
  }
}

function unknownPartition(): AppendAnswer {
  const error = new StorageError('STORAGE_PARTITION_UNKNOWN', 'Cannot append: the partition was removed');
  return { error, baseOffset: -1, lastOffset: -1, isDuplicate: false };
}
