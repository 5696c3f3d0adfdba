/**
 * Who a client is: CONNECT's name, password and certificate, and enhanced authentication with AUTH (sections 3.15 and 4.12),
 * also again while the client is connected (4.12.1). Thread: the connection's worker.
 *
 * While the answer is awaited nothing is read from the client, as while its session is claimed; only between two AUTH packets
 * is it, and then AUTH and DISCONNECT alone are taken [MQTT-3.1.2-30].
 */
import type { LoginStep, Permissions, RefusalReason } from '../../../core/ports/access.ts';
import { PacketType } from '../codec/frame.ts';
import { ReasonCode } from '../codec/reason-code.ts';
import { generateAuth } from '../packets/generate.ts';
import { parsePacket } from '../packets/parse.ts';
import type { AuthPacket, ConnectPacket } from '../packets/types.ts';
import { type ClientState, Phase } from './client-state.ts';
import type { ClientTenant } from './tenant-choice.ts';

const reasonCodes: Readonly<Record<RefusalReason, number>> = {
  'bad-credentials': ReasonCode.BAD_USER_NAME_OR_PASSWORD,
  'not-authorized': ReasonCode.NOT_AUTHORIZED,
  blocked: ReasonCode.BANNED,
  'bad-method': ReasonCode.BAD_AUTHENTICATION_METHOD,
  'protocol-error': ReasonCode.PROTOCOL_ERROR,
  'too-many-attempts': ReasonCode.CONNECTION_RATE_EXCEEDED,
  busy: ReasonCode.SERVER_BUSY,
  unavailable: ReasonCode.SERVER_UNAVAILABLE,
};

export interface LoginAnswers {
  /** `data`: the last message of the exchange for the client, or null. */
  admitted(permissions: Permissions, data: Uint8Array | null): void;
  refused(reasonCode: number): void;
}

/** Begins to find out whether who sent `packet` is who it says; one of `answers` is called once, at once or later, unless the client goes away. */
export function authenticate(
  client: ClientState,
  packet: ConnectPacket,
  { tenant, clientId, user, needsAccount }: ClientTenant,
  answers: LoginAnswers,
): void {
  const { authenticationMethod: method, authenticationData: data, password } = packet;
  client.method = method;
  client.phase = Phase.CLAIMING;
  let isDecided = false;
  const { connection } = client;
  const request = { tenant, clientId, user, password, method, data, needsAccount, connection };
  client.login = client.host.access.login(request, (step) => {
    isDecided = true;
    if (client.connection.closed) return;
    if (step.type === 'continue') {
      challenge(client, step.data);
      return;
    }
    client.login = null;
    client.phase = Phase.CLAIMING;
    if (step.type === 'accepted') answers.admitted(step.permissions, step.data);
    else answers.refused(reasonCodes[step.reason]);
  });
  if (isDecided && client.phase !== Phase.AUTHENTICATING) client.login = null;
  // Accepting pauses by itself; this is for the time until then.
  if (!isDecided) client.connection.pauseReading();
}

/** The server's message; the client's next one is awaited. */
function challenge(client: ClientState, data: Uint8Array): void {
  client.phase = Phase.AUTHENTICATING;
  sendAuth(client, ReasonCode.CONTINUE_AUTHENTICATION, data);
  client.connection.resumeReading();
}

function sendAuth(client: ClientState, reasonCode: number, data: Uint8Array | null): void {
  const { method } = client;
  if (method === undefined) return;
  const authenticationData = data === null ? undefined : Buffer.from(data);
  client.send(generateAuth({ reasonCode, authenticationMethod: method, authenticationData }));
}

/** A packet between CONNECT and CONNACK: AUTH goes on with the exchange, DISCONNECT ends it. */
export function onAuthenticatingFrame(client: ClientState, frame: Buffer): void {
  const result = parsePacket(frame, client.level);
  if (result.packet === undefined) {
    client.fail(result.reasonCode, result.reason);
    return;
  }
  const { packet } = result;
  client.countReceived(packet.type);
  if (packet.type === PacketType.DISCONNECT) {
    client.connection.close('client');
    return;
  }
  const { login, method } = client;
  const isNext =
    packet.type === PacketType.AUTH &&
    packet.reasonCode === ReasonCode.CONTINUE_AUTHENTICATION &&
    packet.authenticationMethod === method;
  if (!isNext || login === null) {
    client.fail(ReasonCode.PROTOCOL_ERROR); // [MQTT-3.1.2-30], [MQTT-4.12.0-5]
    return;
  }
  client.phase = Phase.CLAIMING;
  client.connection.pauseReading();
  login.answer((packet as AuthPacket).authenticationData ?? new Uint8Array(0));
}

/** AUTH of a connected client (4.12.1): it proves itself again, and stays who it is. */
export function onReauthentication(client: ClientState, packet: AuthPacket): void {
  const { method, login, permissions } = client;
  // [MQTT-4.12.0-6] without a method in CONNECT there is no AUTH, [MQTT-4.12.1-1] and with one it stays the same.
  if (method === undefined || packet.authenticationMethod !== method || permissions === null) {
    client.fail(ReasonCode.PROTOCOL_ERROR);
    return;
  }
  const data = packet.authenticationData;
  if (packet.reasonCode === ReasonCode.CONTINUE_AUTHENTICATION && login !== null) {
    login.answer(data ?? new Uint8Array(0));
    return;
  }
  if (packet.reasonCode !== ReasonCode.REAUTHENTICATE || login !== null) {
    client.fail(ReasonCode.PROTOCOL_ERROR);
    return;
  }
  const { tenant, clientId } = permissions.identity;
  const request = { tenant, clientId, method, data, connection: client.connection };
  client.login = client.host.access.login(request, (step) => onReauthenticationStep(client, step));
}

function onReauthenticationStep(client: ClientState, step: LoginStep): void {
  const { permissions, session } = client;
  if (client.connection.closed || permissions === null) return;
  if (step.type === 'continue') {
    sendAuth(client, ReasonCode.CONTINUE_AUTHENTICATION, step.data);
    return;
  }
  client.login = null;
  const isSame = step.type === 'accepted' && step.permissions.identity.user === permissions.identity.user;
  if (!isSame) {
    client.fail(ReasonCode.NOT_AUTHORIZED, 'The client did not prove itself again');
    return;
  }
  client.permissions = step.permissions;
  if (session !== null) session.permissions = step.permissions;
  sendAuth(client, ReasonCode.SUCCESS, step.data);
}
