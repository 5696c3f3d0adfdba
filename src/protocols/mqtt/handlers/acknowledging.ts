/** PUBACK, PUBREC, PUBREL and PUBCOMP from a client (sections 3.4 to 3.7). Thread: the connection's worker. */
import { keptPacketIdMax } from '../../../core/ports/session-slots.ts';
import { Acknowledgement, decodeAcknowledgement, writeAcknowledgement } from '../codec/acknowledgements.ts';
import { PacketType } from '../codec/frame.ts';
import { ReasonCode } from '../codec/reason-code.ts';
import { onKeptAcknowledgement } from '../durable/kept-acknowledging.ts';
import { Flight } from '../state/outgoing-window.ts';
import type { Session } from '../state/session.ts';
import type { ClientState } from './client-state.ts';

const acknowledgement = new Acknowledgement();

/** Handles one of the four. False when the connection was failed. */
export function onAcknowledgement(
  client: ClientState,
  type: number,
  buffer: Buffer,
  position: number,
  frameEnd: number,
): boolean {
  const { session } = client;
  if (session === null) return false;
  const code = decodeAcknowledgement(buffer, position, frameEnd, client.level, acknowledgement);
  if (code !== 0) {
    client.fail(code);
    return false;
  }
  const { packetId, reasonCode } = acknowledgement;
  client.countReceived(type);
  if (type === PacketType.PUBACK || type === PacketType.PUBREC)
    client.host.delivery.slow?.acknowledged(session, packetId);
  const isKept = type === PacketType.PUBREL ? !session.receivedIds.has(packetId) : packetId <= keptPacketIdMax;
  if (session.online !== null && isKept) {
    onKeptAcknowledgement(client, session.online, type, packetId, reasonCode);
    return true;
  }
  if (type === PacketType.PUBACK) finish(client, session, packetId, Flight.AWAITS_PUBACK);
  else if (type === PacketType.PUBCOMP) finish(client, session, packetId, Flight.AWAITS_PUBCOMP);
  else if (type === PacketType.PUBREC) onPubrec(client, session, packetId, reasonCode);
  else onPubrel(client, session, packetId);
  return true;
}

/** The flight ends; what waits for room may go. An identifier that is not in flight is ignored: it was answered before. */
function finish(client: ClientState, session: Session, packetId: number, state: number): void {
  if (session.window.stateOf(packetId) !== state) return;
  session.window.free(packetId);
  session.feeds?.acknowledged(packetId);
  session.shares?.acknowledged(packetId);
  if (session.unsent !== null) client.host.delivery.resendSome(session, client);
  if (session.queue !== null || session.online !== null) client.host.delivery.pump(session);
  if (client.pendingRetained !== null) client.continueRetained();
}

/** [MQTT-4.3.3-4] PUBREC is answered with PUBREL; one with an error ends the flight (4.3.3). */
function onPubrec(client: ClientState, session: Session, packetId: number, reasonCode: number): void {
  const state = session.window.stateOf(packetId);
  if (reasonCode >= 0x80) {
    if (state === Flight.AWAITS_PUBREC) finish(client, session, packetId, Flight.AWAITS_PUBREC);
    return;
  }
  if (
    state === Flight.AWAITS_PUBREC &&
    session.shares?.received(packetId, () => released(client, session, packetId)) === true
  )
    return;
  if (state === Flight.AWAITS_PUBREC) session.window.received(packetId);
  const isKnown = state === Flight.AWAITS_PUBREC || state === Flight.AWAITS_PUBCOMP;
  answer(client, PacketType.PUBREL, packetId, isKnown ? 0 : ReasonCode.PACKET_IDENTIFIER_NOT_FOUND);
}

/** A message of a shared group that is kept: nobody else will get it, and the client may forget its identifier. */
function released(client: ClientState, session: Session, packetId: number): void {
  if (client.session !== session || session.window.stateOf(packetId) !== Flight.AWAITS_PUBREC) return;
  session.window.received(packetId);
  answer(client, PacketType.PUBREL, packetId, 0);
}

/** [MQTT-4.3.3-11] PUBREL is answered with PUBCOMP, and the identifier is free again. */
function onPubrel(client: ClientState, session: Session, packetId: number): void {
  const isKnown = session.receivedIds.delete(packetId);
  answer(client, PacketType.PUBCOMP, packetId, isKnown ? 0 : ReasonCode.PACKET_IDENTIFIER_NOT_FOUND);
}

function answer(client: ClientState, type: number, packetId: number, reasonCode: number): void {
  const { connection, level } = client;
  if (connection.closed) return;
  const offset = connection.reserve(reasonCode === 0 || level < 5 ? 4 : 5);
  writeAcknowledgement(connection.outputBuffer, offset, type, packetId, reasonCode, level);
  client.host.metrics.countSent(type, 1);
}
