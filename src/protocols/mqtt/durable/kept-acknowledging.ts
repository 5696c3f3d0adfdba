/** Acknowledgements of messages that the logs keep, and of those that a kept session has published. Thread: the connection's worker. */
import type { OnlineSession } from '../../../core/sessions/online-session.ts';
import { writeAcknowledgement } from '../codec/acknowledgements.ts';
import { PacketType } from '../codec/frame.ts';
import { ReasonCode } from '../codec/reason-code.ts';
import type { ClientState } from '../handlers/client-state.ts';

/** An identifier that is not in flight is passed over: it was answered before. */
export function onKeptAcknowledgement(
  client: ClientState,
  online: OnlineSession,
  type: number,
  packetId: number,
  reasonCode: number,
): void {
  const isError = reasonCode >= 0x80;
  switch (type) {
    case PacketType.PUBACK:
      online.acknowledge(packetId);
      break;
    case PacketType.PUBCOMP:
      online.complete(packetId);
      break;
    case PacketType.PUBREC:
      if (isError) online.reject(packetId);
      // [MQTT-4.3.3-4] what is not known is to be forgotten at once; PUBREL for the others comes when it is stored.
      else if (!online.receive(packetId))
        answer(client, PacketType.PUBREL, packetId, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND);
      break;
    default:
      release(client, online, packetId);
  }
  const { session } = client;
  // What came live has the same window.
  if (session !== null && session.queue !== null) client.host.delivery.pump(session);
  if (client.pendingRetained !== null) client.continueRetained();
  session?.feeds?.pump();
}

/** [MQTT-4.3.3-11] PUBREL is answered with PUBCOMP when it is stored that the identifier is free. */
function release(client: ClientState, online: OnlineSession, packetId: number): void {
  const code = online.hasReceipt(packetId) ? 0 : ReasonCode.PACKET_IDENTIFIER_NOT_FOUND;
  const isKnown = online.release(packetId, (error) => {
    // The service has failed, and the connection ends with it: the client repeats itself with the next one.
    if (error === null) answer(client, PacketType.PUBCOMP, packetId, code);
  });
  if (!isKnown) client.fail(ReasonCode.PROTOCOL_ERROR, 'PUBREL before PUBREC');
}

function answer(client: ClientState, type: number, packetId: number, reasonCode: number): void {
  const { connection, level } = client;
  if (connection.closed) return;
  const offset = connection.reserve(reasonCode === 0 || level < 5 ? 4 : 5);
  writeAcknowledgement(connection.outputBuffer, offset, type, packetId, reasonCode, level);
  client.host.metrics.countSent(type, 1);
}
