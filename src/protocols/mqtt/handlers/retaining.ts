/**
 * The retained half of a PUBLISH: what may be kept, and the acknowledgement that waits until it is stored. Thread: the connection's
 * worker.
 *
 * What a limit refuses: an MQTT 5 publisher of QoS 1 or 2 can be told, so that its message is refused as a whole with 0x97, and nobody
 * gets it. Nobody else can be told; those messages go to the subscribers and are not kept, which is counted.
 */
import type { Route } from '../../../core/broker/route.ts';
import type { Run } from '../../../core/broker/run.ts';
import { defaultTenant } from '../../../core/ports/access.ts';
import type { PublishView } from '../codec/publish.ts';
import { ReasonCode } from '../codec/reason-code.ts';
import { pendingOf } from '../durable/kept-publishing.ts';
import type { PendingAnswer } from '../durable/pending-answers.ts';
import type { ClientState } from './client-state.ts';

/** 0, or the reason code with which the message is refused because it cannot be kept. */
export function retainedRefusal(client: ClientState, { topic }: Route, run: Run, view: PublishView): number {
  if (view.qos === 0) return 0;
  const { retained } = client.host.router;
  if (retained.isStorageFull) {
    retained.countRefused('storage');
    return ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR;
  }
  // Others are counted when they are not kept; a removal is refused by no other limit.
  if (client.level < 5 || view.payloadLength === 0) return 0;
  const refusal = retained.refusalOf(topic, run.end - run.start, tenantOf(client));
  if (refusal === null) return 0;
  retained.countRefused(refusal);
  return ReasonCode.QUOTA_EXCEEDED;
}

/** Keeps the message of `run`, or forgets what is kept. False when there is no room now: nothing changed, try again after `whenRoom`. */
export function retainRun(client: ClientState, route: Route, run: Run, view: PublishView): boolean {
  const { router } = client.host;
  const expiresAtS = view.expiryS < 0 ? 0 : Math.ceil(Date.now() / 1000) + view.expiryS;
  // [MQTT-3.3.1-6] an empty payload removes what was retained; it is never kept itself [MQTT-3.3.1-7].
  const isRemoval = view.payloadLength === 0;
  const { detailD } = run;
  let isKept: boolean;
  if (view.qos === 0 || !router.retained.isDurable) {
    isKept = router.retain(route, run, isRemoval, expiresAtS, tenantOf(client));
  } else isKept = retainDurably(client, route, run, view, isRemoval, expiresAtS);
  run.detailD = detailD;
  return isKept;
}

/** The acknowledgement that is given next, and all behind it, wait until the value is stored. */
function retainDurably(
  client: ClientState,
  route: Route,
  run: Run,
  { qos, packetId }: PublishView,
  isRemoval: boolean,
  expiresAtS: number,
): boolean {
  let gate: PendingAnswer | null = null;
  const done = (error: Error | null): void => {
    const { pendingAnswers, connection, session } = client;
    if (gate === null || pendingAnswers === null || connection.closed) return;
    if (error === null) pendingAnswers.releaseGate(gate, 0);
    else if (client.level < 5) {
      // Before MQTT 5 there is no way to say so: it is not acknowledged, and comes again with the next connection.
      client.fail(ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR, 'A retained message cannot be stored');
    } else {
      if (qos === 2) session?.receivedIds.delete(packetId);
      pendingAnswers.releaseGate(gate, ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR);
    }
  };
  if (!client.host.router.retain(route, run, isRemoval, expiresAtS, tenantOf(client), done)) return false;
  gate = pendingOf(client).hold();
  return true;
}

function tenantOf({ permissions }: ClientState): string {
  return permissions?.identity.tenant ?? defaultTenant;
}
