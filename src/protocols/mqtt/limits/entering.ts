/**
 * The limits that decide whether a client whose identity is proven may come in, and what it holds from then on. Between the
 * authentication and the claim of its session. Thread: the connection's worker.
 */
import type { Identity } from '../../../core/ports/access.ts';
import type { LimitKind } from '../../../observability/limit-metrics.ts';
import { ReasonCode } from '../codec/reason-code.ts';
import type { ClientState } from '../handlers/client-state.ts';

/** Calls one of the two, at once or when the node was asked; neither when the client went away meanwhile. */
export function enterByLimits(
  client: ClientState,
  identity: Identity,
  entered: () => void,
  refused: (reasonCode: number) => void,
): void {
  const { connection, host } = client;
  let isDecided = false;
  host.limits.enter(identity, connection, (entry) => {
    isDecided = true;
    if (entry.type === 'refused') {
      if (!connection.closed) refused(reasonCodeOf(entry.limit));
      return;
    }
    const { place } = entry;
    if (connection.closed) {
      place.leave();
      return;
    }
    client.place = place;
    client.meter = place.meter;
    const packetBytesMax = place.own?.packetBytesMax ?? 0;
    if (packetBytesMax > 0) client.inputBytesMax = Math.min(client.inputBytesMax, packetBytesMax);
    entered();
  });
  // Reading goes on when the session is there, or never.
  if (!isDecided) connection.pauseReading();
}

/** Messages that may be under way to the client by its class. */
export function inflightLimit({ place }: ClientState): number {
  const max = place?.own?.inflightMax ?? 0;
  return max > 0 ? max : Number.MAX_SAFE_INTEGER;
}

/** What CONNACK says: too fast, or too many. */
function reasonCodeOf(limit: LimitKind): number {
  const isRate = limit === 'tenant-connect-rate' || limit === 'address-connect-rate';
  return isRate ? ReasonCode.CONNECTION_RATE_EXCEEDED : ReasonCode.QUOTA_EXCEEDED;
}
