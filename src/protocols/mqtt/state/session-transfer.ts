/**
 * What a session hands over when it moves to another worker: plain data that crosses threads. Pure.
 */
import { MessageQueue } from './message-queue.ts';
import type { Session } from './session.ts';
import type { StoredMessage } from './stored-message.ts';
import type { SubscriptionOptions } from './subscription.ts';

/** First half, handed over before messages are: the new owner subscribes with it. */
export interface SessionHead {
  readonly expiryS: number;
  readonly subscriptions: readonly {
    readonly path: string;
    readonly filter: string;
    readonly options: SubscriptionOptions;
  }[];
}

/** Second half: everything that is still on its way to the client, and from it. */
export interface SessionRest {
  readonly flights: readonly { readonly id: number; readonly state: number; readonly message: StoredMessage | null }[];
  readonly waiting: readonly StoredMessage[];
  readonly receivedIds: readonly number[];
}

export function headOf(session: Session): SessionHead {
  const subscriptions = Array.from(session.subscriptions.values(), ({ path, filter, options }) => ({
    path,
    filter,
    options,
  }));
  return { expiryS: session.expiryS, subscriptions };
}

/** Messages that were routed at `epoch` or later reached the new owner and are left out. */
export function restOf(session: Session, epoch: number): SessionRest {
  const flights: { id: number; state: number; message: StoredMessage | null }[] = [];
  session.window.forEach((id, state, message) => {
    flights.push({ id, state, message: message === null ? null : compact(message) });
  });
  const waiting = (session.queue?.toArray() ?? []).filter((message) => ((message.epoch - epoch) | 0) < 0);
  return { flights, waiting: waiting.map(compact), receivedIds: session.receivedIds.values() };
}

/** Puts what the former owner had in front of what came since. */
export function restore(session: Session, rest: SessionRest): void {
  for (const { id, state, message } of rest.flights)
    session.window.restore(id, state, message === null ? null : revived(message));
  for (const id of rest.receivedIds) session.receivedIds.add(id);
  if (rest.waiting.length === 0) return;
  const queue = new MessageQueue();
  for (const message of rest.waiting) queue.push(revived(message));
  for (const message of session.queue?.toArray() ?? []) queue.push(message);
  session.queue = queue;
}

/** Without the other messages that share its bytes. */
function compact(message: StoredMessage): StoredMessage {
  // Not from the pool, all of which would be cloned.
  const bytes = Buffer.allocUnsafeSlow(message.end - message.start);
  message.bytes.copy(bytes, 0, message.start, message.end);
  return { ...message, bytes, start: 0, end: bytes.length };
}

/** Structured clone turns a Buffer into a Uint8Array. */
function revived(message: StoredMessage): StoredMessage {
  const { buffer, byteOffset, byteLength } = message.bytes;
  return { ...message, bytes: Buffer.from(buffer, byteOffset, byteLength) };
}
