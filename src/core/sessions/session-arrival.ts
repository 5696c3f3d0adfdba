/**
 * A session on its way from another node: its messages go into the message logs of this one, under names that belong to it alone
 * (`moved-topic.ts`); when all of it is there it is stored, and stands still until it is confirmed that it is at home here. Thread: the
 * owner of the sessions; made by `DurableSessions.arrive`.
 *
 * An arrival that is not finished leaves nothing but messages that nobody reads, which go with the log.
 */
import type { FlightState } from './delivery-state.ts';
import type { Flight } from './flight-table.ts';
import { movedPrefixOf, movedSubscription } from './moved-topic.ts';
import type { SessionEntry } from './session-entry.ts';
import { SessionError } from './session-error.ts';
import { itemsOf, type MovedMessage } from './session-move.ts';
import { recordKind, sessionKey, subscriptionKey } from './session-records.ts';
import { SessionReplay } from './session-replay.ts';
import type { SessionRuntime } from './session-runtime.ts';
import type { SessionTable } from './session-table.ts';

/** What it needs of the service. */
export interface ArrivalHost {
  readonly runtime: SessionRuntime;
  readonly table: SessionTable;
  /** In the lane of the session: takes what is there of the name away, lets `make` put the new one in its place, and stores that. */
  store(make: () => SessionEntry, epoch: number): Promise<void>;
}

interface ArrivedFlight {
  readonly packetId: number;
  readonly state: FlightState;
  readonly order: number;
  /** Null: only its packet id is needed. */
  readonly place: Promise<Place> | null;
}

interface Place {
  readonly partition: number;
  readonly offset: number;
}

export class SessionArrival {
  readonly id: string;
  readonly #host: ArrivalHost;
  readonly #prefix: Buffer;
  readonly #headKey: Buffer;
  /** Where each log ended when it began: what comes for the session lies behind. */
  readonly #starts: readonly number[];
  readonly #records: (readonly [Buffer, Buffer])[] = [];
  readonly #flights: ArrivedFlight[] = [];
  #messages = 0;
  #isWhole = false;
  #isEnded = false;

  constructor(id: string, host: ArrivalHost, starts: readonly number[]) {
    this.id = id;
    this.#host = host;
    this.#starts = starts;
    this.#prefix = Buffer.from(movedPrefixOf(id));
    this.#headKey = sessionKey(recordKind.head, id);
    // Nothing of it is cut from the logs before the session itself needs it.
    host.runtime.arrivals.add(starts);
  }

  /** Takes a chunk, in the order in which they were written. Resolves when its messages are durable. Rejects with SessionError. */
  async take(chunk: Uint8Array): Promise<void> {
    const stored: Promise<Place>[] = [];
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    for (const item of itemsOf(bytes)) {
      if (this.#isWhole) throw damaged(this.id, 'there is something behind its end');
      if (item.type === 'record') {
        if (!this.#isOwn(item.key)) throw damaged(this.id, 'there is a record of something else');
        this.#records.push([Buffer.from(item.key), Buffer.from(item.value)]);
      } else if (item.type === 'flight') {
        const { packetId, state, order, message } = item;
        const place = message === null ? null : this.#append(message);
        if (place !== null) stored.push(place);
        this.#flights.push({ packetId, state, order, place });
      } else if (item.type === 'message') {
        this.#messages += 1;
        stored.push(this.#append(item.message));
      } else {
        if (item.count !== this.#messages) throw damaged(this.id, `it has ${this.#messages} of ${item.count} messages`);
        this.#isWhole = true;
      }
    }
    const places = await Promise.allSettled(stored);
    for (const place of places) if (place.status === 'rejected') throw place.reason;
  }

  /**
   * All of it is there: stores the session. It stands still, and is nobody's, until `DurableSessions.settleArrival`. `epoch`, above 0, is
   * the number of this move.
   */
  async finish(epoch: number): Promise<void> {
    if (!this.#isWhole) throw damaged(this.id, 'it has no end');
    if (!this.#records.some(([key]) => key.equals(this.#headKey))) throw damaged(this.id, 'it has no head');
    const flights: Flight[] = [];
    for (const { packetId, state, order, place } of this.#flights) {
      const { partition, offset } = place === null ? { partition: 0, offset: 0 } : await place;
      flights.push({ packetId, state, order, partition, offset });
    }
    // From here on messages of this node are for it, too.
    const since = await this.#host.runtime.ends();
    await this.#host.store(() => this.#make(flights, since), epoch);
    this.abort();
  }

  /** Nothing more comes. */
  abort(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#host.runtime.arrivals.delete(this.#starts);
  }

  #make(flights: readonly Flight[], since: readonly number[]): SessionEntry {
    const { table } = this.#host;
    const replay = new SessionReplay(table);
    for (const [key, value] of this.#records) replay.record({ key, value, offset: -1 });
    const entry = table.get(this.id);
    if (entry === undefined) throw damaged(this.id, 'it has no records');
    replay.finishOne(entry);
    const positions = [...this.#starts];
    for (const flight of flights) {
      entry.keepFlight(flight);
      // Those in flight lie in front of what waits.
      if (flight.state !== 'received')
        positions[flight.partition] = Math.max(positions[flight.partition] ?? 0, flight.offset + 1);
    }
    for (const [partition, position] of positions.entries()) table.setPosition(entry, partition, position);
    entry.skips = null;
    entry.doubtEnds = null;
    entry.movedEnds = since;
    const own = entry.subscriptions.map((each) => ({ ...each, since }));
    table.setSubscriptions(entry, [...own, movedSubscription(this.id, this.#starts)]);
    return entry;
  }

  /** Whether a record is one of those that move, and of this session. */
  #isOwn(key: Buffer): boolean {
    const prefix = subscriptionKey(this.id, '');
    if (key.subarray(0, prefix.length).equals(prefix)) return true;
    return key.equals(this.#headKey) || key.equals(sessionKey(recordKind.progress, this.id));
  }

  #append(message: MovedMessage): Promise<Place> {
    const { runtime } = this.#host;
    // Where its topic is by itself, so that what comes later to the topic is behind it.
    const log = runtime.logOf(message.topicBytes);
    const partition = runtime.logs.indexOf(log);
    const topicBytes = Buffer.concat([this.#prefix, message.topicBytes]);
    const place = Promise.withResolvers<Place>();
    // It is waited for later.
    place.promise.catch(() => undefined);
    log.appendMoved({ ...message, topicBytes }, message.timestamp, (error, offset) => {
      if (error === null) place.resolve({ partition, offset });
      else place.reject(error);
    });
    return place.promise;
  }
}

function damaged(id: string, reason: string): SessionError {
  return new SessionError('SESSION_STATE_CORRUPTED', `Cannot take session "${id}" over from another node: ${reason}`);
}
