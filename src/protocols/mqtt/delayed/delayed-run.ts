/** PUBLISH to `$delayed/…`. Thread: the connection's worker. */
import type { Run } from '../../../core/broker/run.ts';
import { ReasonCode } from '../codec/reason-code.ts';
import type { PendingAnswer } from '../durable/pending-answers.ts';
import type { ClientState } from '../handlers/client-state.ts';
import { holdAnswer, release } from '../streams/late-answers.ts';
import type { DelayedPublishing } from './delayed-publishing.ts';

/**
 * Takes a run for later. Answers 0, and the publisher is acknowledged when it is stored; or the reason code that refuses it. `path` is the
 * topic with its prefix, `ids` are the packet identifiers of QoS 1 and 2.
 */
export function takeDelayedRun(
  client: ClientState,
  delayed: DelayedPublishing,
  path: string,
  run: Run,
  ids: Uint16Array,
  qos: number,
): number {
  const { permissions, values, rewrite, session } = client;
  if (permissions === null) return ReasonCode.NOT_AUTHORIZED;
  let answer: PendingAnswer | null = null;
  const reasonCode = delayed.accept({ path, run, permissions, values, rewrite }, (code) => {
    if (answer !== null) release(client, session, answer, code);
  });
  if (reasonCode === 0 && qos > 0) answer = holdAnswer(client, ids, run.count, qos);
  return reasonCode;
}
