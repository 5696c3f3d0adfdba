/**
 * Publications that stored sessions want: whether a topic is one, and the way of a run into the message logs and of its acknowledgements
 * back. Thread: the connection's worker.
 *
 * Cost of a run that nobody stored wants: two comparisons and an atomic load. Of one that somebody wants: its bodies are copied into the batch
 * that is sent; no object, no system call of its own.
 */
import type { Route } from '../../../core/broker/route.ts';
import type { Run } from '../../../core/broker/run.ts';
import type { SessionSlots } from '../../../core/ports/session-slots.ts';
import type { NewMessage } from '../../../core/sessions/message-record.ts';
import { writeAcknowledgement } from '../codec/acknowledgements.ts';
import { PacketType } from '../codec/frame.ts';
import { ReasonCode } from '../codec/reason-code.ts';
import type { ClientState } from '../handlers/client-state.ts';
import type { Session } from '../state/session.ts';
import { keptMessages, readRun } from './kept-message.ts';
import { type PendingAnswer, PendingAnswers } from './pending-answers.ts';

/** What is to be done with a run of QoS 1 or 2. */
export const Keeping = { NONE: 0, STORE: 1, WAIT: 2, REFUSE: 3 } as const;

/** `WAIT`: the publisher is held back, and the same is asked again when the slots are ready. */
export function keepingOf(slots: SessionSlots, route: Route, session: Session | null, qos: number): number {
  if (!slots.isSettled) return Keeping.WAIT;
  const { interest } = slots;
  // Loaded before the question, so that an answer is never newer than its epoch says.
  const { epoch } = interest;
  if (route.keptEpoch !== epoch) {
    route.isKept = interest.wants(route.topic);
    route.keptEpoch = epoch;
  }
  // The receipt of a kept session is stored, whoever wants the message.
  if (!route.isKept && (qos === 1 || session === null || session.online === null)) return Keeping.NONE;
  if (slots.hasRoom) return Keeping.STORE;
  if (slots.own !== null) return Keeping.WAIT;
  if (slots.failure !== null) return Keeping.REFUSE;
  // The way to the logs is opened; whoever waits looks again, whether it worked or not.
  slots.open().catch(() => undefined);
  return Keeping.WAIT;
}

/**
 * Stores a run that was routed to everybody else, and answers its publisher when that is done. `ids`: its packet identifiers. With `isCopied`
 * receipts of QoS 2 wait for the copies of the run: `prove` of the answer. Answers what waits.
 */
export function storeRun(
  client: ClientState,
  slots: SessionSlots,
  run: Run,
  route: Route,
  ids: Uint16Array,
  qos: number,
  isCopied = false,
): PendingAnswer | null {
  const { session } = client;
  const { own } = slots;
  if (session === null || own === null) return null;
  const type = qos === 1 ? PacketType.PUBACK : PacketType.PUBREC;
  const pending = pendingOf(client);
  const answer = pending.add(type, ids, run.count, 0, 0);
  const { online } = session;
  const publisher = session.isKept ? session.clientId : '';
  const now = Date.now();
  if (qos === 2 && online !== null) {
    const messages: NewMessage[] = [];
    keptMessages(run, publisher, now, (message) => messages.push(message));
    const { topic } = route;
    const prove = (failure: Error | null): void => {
      // The connection may have ended meanwhile: its client repeats the message with the next one, and must find it known.
      const refusal = failure ?? (online.canPublish ? null : new Error('Cannot store a receipt: the session has gone'));
      for (const [at, message] of messages.entries()) {
        // Whether it came before was looked at with the first frame of the run, and no identifier comes twice in one.
        if (refusal === null) online.publish(answer.ids[at], topic, message, (error) => tell(client, answer, error));
        else tell(client, answer, refusal);
      }
    };
    // A message whose receipt is known is not copied any more when it comes again.
    if (isCopied) answer.prove = prove;
    else prove(null);
    return answer;
  }
  own.publishRun(readRun(run, publisher, now), answer.onStored);
  return answer;
}

/** A message of a kept session that came before: confirmed again when its receipt is stored. */
export function repeatKept(client: ClientState, session: Session, route: Route, packetId: number): void {
  const { online } = session;
  if (online === null) return;
  const answer = pendingOf(client).add(PacketType.PUBREC, Uint16Array.of(packetId), 1, 0, 0);
  const message = {
    topicBytes: route.topicBytes,
    body: noBytes,
    header: noBytes,
    grade: 2,
    expiresAtMs: 0,
    publisher: '',
  } as const;
  online.publish(packetId, route.topic, message, (error) => tell(client, answer, error));
}

const noBytes = Buffer.alloc(0);

/** Answers with what is there now, behind what waits for the disk. */
export function answerInOrder(client: ClientState, type: number, ids: Uint16Array, count: number, code: number): void {
  const pending = pendingOf(client);
  pending.add(type, ids, count, count, code);
  pending.flush();
}

/** Whether an MQTT 5 client has more publications without an answer than it may [MQTT-3.3.4-9]. */
export function hasTooManyPending({ level, host, session, pendingAnswers }: ClientState): boolean {
  const { receiveMaximum } = host.settings;
  if (level < 5) return false;
  return (pendingAnswers?.count ?? 0) > receiveMaximum || (session?.online?.receiptCount ?? 0) > receiveMaximum;
}

/** The acknowledgements of the client that wait. */
export function pendingOf(client: ClientState): PendingAnswers {
  client.pendingAnswers ??= new PendingAnswers(
    (answer) => write(client, answer),
    (answer, error, count) => stored(client, answer, error, count),
  );
  return client.pendingAnswers;
}

function stored(client: ClientState, answer: PendingAnswer, error: Error | null, count: number): void {
  const { type, ids, told } = answer;
  // What was refused may come again with its identifier.
  if (error !== null && type === PacketType.PUBREC)
    for (let at = told; at < told + count; at++) client.session?.receivedIds.delete(ids[at]);
  tell(client, answer, error, count);
}

function tell(client: ClientState, answer: PendingAnswer, error: Error | null, count = 1): void {
  const { connection, pendingAnswers } = client;
  if (connection.closed || pendingAnswers === null) return;
  if (error !== null && client.level < 5) {
    // Before MQTT 5 there is no way to say so: it is not acknowledged, and comes again with the next connection.
    client.fail(ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR, 'A publication cannot be stored');
    return;
  }
  pendingAnswers.tell(answer, error === null ? 0 : ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR, count);
}

/** One write for the run, in order [MQTT-4.6.0-2], [MQTT-4.6.0-3]. */
function write(client: ClientState, { type, ids, count, failures }: PendingAnswer): void {
  const { connection, level } = client;
  if (connection.closed) return;
  let at = connection.reserve(count * 4 + (level < 5 ? 0 : (failures?.size ?? 0)));
  const output = connection.outputBuffer;
  for (let index = 0; index < count; index++)
    at = writeAcknowledgement(output, at, type, ids[index], failures?.get(index) ?? 0, level);
  client.host.metrics.countSent(type, count);
}
