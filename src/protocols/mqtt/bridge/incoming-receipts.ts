/**
 * Which QoS 2 messages of the remote broker have come and were not released yet, so that none is taken twice: in the bridge's session at its
 * own broker, over kill -9; or in memory, where no session is stored or the remote broker keeps none. Thread: the worker that has the bridge.
 */
import type { OnlineSession } from '../../../core/sessions/online-session.ts';
import type { MessageReceipt } from '../handlers/own-publisher.ts';
import type { LocalSession } from './local-session.ts';

type Told = (error: Error | null) => void;

const noBytes = Buffer.alloc(0);

export class IncomingReceipts {
  /** Null: memory alone. */
  readonly #local: LocalSession | null;
  #online: OnlineSession | null = null;
  /** In memory: whom to tell when a message is taken, null when it is. */
  readonly #memory = new Map<number, Told[] | null>();

  constructor(local: LocalSession | null) {
    this.#local = local;
  }

  /** A connection begins; `isResumed`: the remote broker still has the session. Rejects with what is to be told to people. */
  async open(isResumed: boolean): Promise<void> {
    if (!isResumed) this.#memory.clear();
    this.#online = this.#local === null ? null : await this.#local.open(!isResumed);
  }

  /** Goes with the message that the packet becomes; null when memory has to do, or nothing can be stored at the moment. */
  receiptOf(packetId: number): MessageReceipt | null {
    return this.#online === null ? null : { session: this.#online, packetId };
  }

  /** Name of whoever publishes what has a receipt. */
  get publisherName(): string {
    return this.#local?.clientId ?? '';
  }

  has(packetId: number): boolean {
    return this.#online?.hasReceipt(packetId) === true || this.#memory.has(packetId);
  }

  /** A message is being taken whose receipt is in memory. */
  begin(packetId: number): void {
    this.#memory.set(packetId, []);
  }

  /** It is taken, or could not be. */
  taken(packetId: number, error: Error | null): void {
    const waiting = this.#memory.get(packetId);
    if (waiting === undefined || waiting === null) return;
    if (error === null) this.#memory.set(packetId, null);
    else this.#memory.delete(packetId);
    for (const told of waiting) told(error);
  }

  /** One that has come before: `told` when it may be confirmed again. */
  again(packetId: number, told: Told): void {
    const waiting = this.#memory.get(packetId);
    if (waiting === null) queueMicrotask(() => told(null));
    else if (waiting !== undefined) waiting.push(told);
    else this.#online?.publish(packetId, '', repeated, told);
  }

  /** The remote broker has the confirmation. `told`, never inside of the call, when the identifier is free. */
  release(packetId: number, told: Told): void {
    const isInMemory = this.#memory.delete(packetId);
    const online = this.#online;
    if (online === null || isInMemory) queueMicrotask(() => told(null));
    else if (online.isClosed || !online.release(packetId, told))
      queueMicrotask(() => told(new Error('a QoS 2 message was released before it was confirmed')));
  }

  close(): void {
    this.#online = null;
    this.#local?.close();
  }
}

/** Nothing is done with it: its identifier is known. */
const repeated = {
  topicBytes: noBytes,
  body: noBytes,
  header: noBytes,
  grade: 2,
  expiresAtMs: 0,
  publisher: '',
} as const;
