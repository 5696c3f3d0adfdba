/**
 * What a session takes along to another node, in chunks: written where it leaves, read where it arrives. Pure; on the threads of the two
 * owners.
 *
 *   chunk    version (1), items
 *   record   1, key, value: a record of the session (`session-records.ts`), without positions that mean something elsewhere
 *   flight   2, packet id, state, order, 1 and a message, or 0: only its packet id is needed any more
 *   message  3, topic, body, header, grade, expiry (ms since 1970, 0 never), publisher, time (ms since 1970)
 *   end      4, count of all messages
 *
 * Records come first, then flights, oldest first, then what waits, in the order of each log. Numbers are zigzag varints; texts and bytes are
 * a length and what it counts.
 */
import type { FlightState } from './delivery-state.ts';
import type { MessageView, NewMessage } from './message-record.ts';
import { SessionError } from './session-error.ts';
import { RecordReader, RecordWriter } from './session-records.ts';

/** A message that moves, with the time at which it was stored first. */
export interface MovedMessage extends NewMessage {
  readonly timestamp: number;
}

export type MoveItem =
  | { readonly type: 'record'; readonly key: Buffer; readonly value: Buffer }
  | {
      readonly type: 'flight';
      readonly packetId: number;
      readonly state: FlightState;
      readonly order: number;
      readonly message: MovedMessage | null;
    }
  | { readonly type: 'message'; readonly message: MovedMessage }
  | { readonly type: 'end'; readonly count: number };

const version = 1;
const kind = { record: 1, flight: 2, message: 3, end: 4 } as const;
/** States of flights that move. Never change the order. */
const states: readonly FlightState[] = ['sent', 'sentOnce', 'received'];

/** Writes chunks, one after the other. */
export class MoveWriter {
  readonly #writer = new RecordWriter();
  #bytes = 0;

  /** Of the chunk that is being written, about. */
  get bytes(): number {
    return this.#bytes;
  }

  record(key: Buffer, value: Buffer): void {
    this.#begin(key.length + value.length)
      .number(kind.record)
      .bytes(key)
      .bytes(value);
  }

  /** `state` is one that is stored: `sent`, `sentOnce` or `received`. */
  flight(packetId: number, state: FlightState, order: number, view: MessageView | null, prefix: number): void {
    const writer = this.#begin(view?.size ?? 0).number(kind.flight);
    writer
      .number(packetId)
      .number(states.indexOf(state))
      .number(order)
      .number(view === null ? 0 : 1);
    if (view !== null) this.#message(view, prefix);
  }

  /** `prefix`: bytes in front of its topic that stay behind. */
  message(view: MessageView, prefix: number): void {
    this.#begin(view.size).number(kind.message);
    this.#message(view, prefix);
  }

  end(count: number): void {
    this.#begin(0).number(kind.end).number(count);
  }

  /** The chunk; the next one begins. */
  take(): Buffer {
    this.#begin(0);
    this.#bytes = 0;
    return this.#writer.take();
  }

  #begin(bytes: number): RecordWriter {
    if (this.#bytes === 0) this.#writer.number(version);
    this.#bytes += bytes + itemBytes;
    return this.#writer;
  }

  #message(view: MessageView, prefix: number): void {
    const { bytes, topicStart, topicLength, bodyStart, bodyLength, headerStart, headerLength } = view;
    this.#writer
      .bytes(bytes.subarray(topicStart + prefix, topicStart + topicLength))
      .bytes(bytes.subarray(bodyStart, bodyStart + bodyLength))
      .bytes(bytes.subarray(headerStart, headerStart + headerLength))
      .number(view.grade)
      .number(view.expiresAtMs)
      .bytes(view.publisherLength === 0 ? nothing : Buffer.from(view.publisher))
      .number(view.timestamp);
  }
}

/** What an item takes beside its bytes, about. */
const itemBytes = 48;
const nothing = Buffer.alloc(0);

/** The items of a chunk; what is in it are views. Throws SessionError SESSION_STATE_CORRUPTED for what is no chunk. */
export function* itemsOf(chunk: Buffer): Generator<MoveItem, void> {
  const reader = new RecordReader().reset(chunk);
  if (reader.number() !== version) throw damaged();
  while (!reader.isSound) {
    const item = readItem(reader);
    if (item === null || reader.isDamaged) throw damaged();
    yield item;
  }
}

function readItem(reader: RecordReader): MoveItem | null {
  const number = reader.number();
  if (number === kind.record) return { type: 'record', key: reader.bytes(), value: reader.bytes() };
  if (number === kind.message) {
    const message = readMessage(reader);
    return message === null ? null : { type: 'message', message };
  }
  if (number === kind.end) return { type: 'end', count: reader.number() };
  if (number !== kind.flight) return null;
  const packetId = reader.number();
  const state = states[reader.number()];
  const order = reader.number();
  const hasMessage = reader.number() === 1;
  const message = hasMessage ? readMessage(reader) : null;
  const isWhole = hasMessage ? message !== null : state === 'received';
  if (state === undefined || packetId < 1 || packetId > 65_535 || !isWhole) return null;
  return { type: 'flight', packetId, state, order, message };
}

function readMessage(reader: RecordReader): MovedMessage | null {
  const topicBytes = reader.bytes();
  const body = reader.bytes();
  const header = reader.bytes();
  const grade = reader.number();
  const expiresAtMs = reader.number();
  const publisher = reader.bytes().toString();
  const timestamp = reader.number();
  if (topicBytes.length === 0 || (grade !== 1 && grade !== 2) || expiresAtMs < 0) return null;
  return { topicBytes, body, header, grade, expiresAtMs, publisher, timestamp };
}

function damaged(): SessionError {
  const text = 'Cannot take a session over from another node: what it sent is damaged, or of a newer version';
  return new SessionError('SESSION_STATE_CORRUPTED', text);
}
