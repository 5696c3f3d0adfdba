/**
 * Publications whose acknowledgement waits for more than their delivery: copies in streams, messages for later. Thread: the connection's
 * worker.
 */
import type { Run } from '../../../core/broker/run.ts';
import type { OnlineSession } from '../../../core/sessions/online-session.ts';
import { PacketType } from '../codec/frame.ts';
import { ReasonCode } from '../codec/reason-code.ts';
import { hasTooManyPending, pendingOf } from '../durable/kept-publishing.ts';
import type { PendingAnswer } from '../durable/pending-answers.ts';
import type { ClientState } from '../handlers/client-state.ts';
import type { Session } from '../state/session.ts';
import type { Bindings, BoundTopic } from './bindings.ts';
import { isTemporary } from './storage-codes.ts';

/**
 * Copies a run that was routed into streams. `stored`: the answer that waits for stored sessions; null: nothing waits yet. Answers false when
 * the publisher is to be acknowledged at once.
 */
export function copyRun(
  client: ClientState,
  bindings: Bindings,
  bound: BoundTopic,
  run: Run,
  ids: Uint16Array,
  qos: number,
  stored: PendingAnswer | null,
): boolean {
  const { permissions, session } = client;
  const publisher = session === null ? null : { clientId: session.clientId, user: permissions?.identity.user ?? '' };
  if (qos === 0) {
    bindings.copy(bound, run, publisher, null);
    return false;
  }
  let answer = stored;
  const prove = stored?.prove ?? null;
  const isWaiting = bindings.copy(bound, run, publisher, (reasonCode) => {
    prove?.(reasonCode === 0 ? null : new Error('Cannot store a receipt: a copy was refused'));
    if (answer !== null) release(client, session, answer, reasonCode);
  });
  if (!isWaiting) {
    prove?.(null);
    return false;
  }
  answer ??= addAnswer(client, ids, run.count, qos);
  answer.holds += 1;
  return true;
}

/**
 * An answer to a run that somebody else is to acknowledge: call `release` with it once. Beyond the Receive Maximum the connection
 * ends [MQTT-3.3.4-9].
 */
export function holdAnswer(client: ClientState, ids: Uint16Array, count: number, qos: number): PendingAnswer {
  const answer = addAnswer(client, ids, count, qos);
  answer.holds += 1;
  return answer;
}

function addAnswer(client: ClientState, ids: Uint16Array, count: number, qos: number): PendingAnswer {
  const type = qos === 1 ? PacketType.PUBACK : PacketType.PUBREC;
  const answer = pendingOf(client).add(type, ids, count, count, 0);
  if (qos === 2) for (let at = 0; at < count; at++) client.session?.receivedIds.add(ids[at]);
  if (hasTooManyPending(client)) {
    client.host.limits.exceeded('unfinished-messages');
    client.fail(ReasonCode.RECEIVE_MAXIMUM_EXCEEDED);
  }
  return answer;
}

/** One of those that hold the answer back says yes (0), or why not. `session`: of the client when it published; it may have gone. */
export function release(client: ClientState, session: Session | null, answer: PendingAnswer, reasonCode: number): void {
  const { connection, pendingAnswers, level } = client;
  // A PUBREC with an error ends the exchange (4.3.3), and what is not answered at all comes again: neither is remembered.
  const isForgotten = reasonCode !== 0 && answer.type === PacketType.PUBREC;
  if (isForgotten) for (let at = 0; at < answer.count; at++) session?.receivedIds.delete(answer.ids[at]);
  if (connection.closed || pendingAnswers === null) return;
  if (reasonCode !== 0 && level < 5 && isTemporary(reasonCode)) {
    // Before MQTT 5 there is no way to say so: it is not acknowledged, and comes again with the next connection.
    client.fail(ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR, 'A publication cannot be stored');
    return;
  }
  const code = level < 5 ? 0 : reasonCode;
  const online = session?.online ?? null;
  if (!isForgotten || online === null) pendingAnswers.release(answer, code);
  else forgetReceipts(client, online, answer, () => pendingAnswers.release(answer, code));
}

/** What a stored session has confirmed to itself is forgotten durably before the client is told that it failed: the identifier is free then. */
function forgetReceipts(client: ClientState, online: OnlineSession, answer: PendingAnswer, done: () => void): void {
  let left = answer.count;
  const finished = (): void => {
    left -= 1;
    if (left === 0) done();
  };
  // The service has failed when it cannot be stored, and the connection ends with it.
  for (const id of answer.ids.subarray(0, answer.count)) {
    if (online.release(id, finished)) continue;
    // It is being stored at this moment.
    client.fail(ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR, 'A publication cannot be stored');
    return;
  }
}
