/** CONNECT and CONNACK (sections 3.1 and 3.2). Thread: the connection's worker. */
import type { Permissions } from '../../../core/ports/access.ts';
import { topicError } from '../../../core/routing/topic.ts';
import type { ClientValues } from '../../../core/routing/topic-rewrite.ts';
import { innerTopicError, namesOf, sessionOf } from '../../../core/tenants/tenant-names.ts';
import { PacketType } from '../codec/frame.ts';
import { ReasonCode } from '../codec/reason-code.ts';
import { enterByLimits, inflightLimit } from '../limits/entering.ts';
import { startCounting } from '../limits/subscription-limits.ts';
import { generateConnack } from '../packets/generate.ts';
import { parsePacket } from '../packets/parse.ts';
import type { Rejected } from '../packets/parse-result.ts';
import type { ConnackFields, ConnectPacket } from '../packets/types.ts';
import { OutgoingAliases } from '../state/outgoing-aliases.ts';
import type { Session } from '../state/session.ts';
import { authenticate } from './authenticating.ts';
import { type ClientState, Phase } from './client-state.ts';
import { subscribeAutomatically } from './subscribing.ts';
import { assignedId, sessionName, tenantOf } from './tenant-choice.ts';

/** Handles the CONNECT that `frame` holds. */
export function onConnect(client: ClientState, frame: Buffer): void {
  const result = parsePacket(frame, 4);
  if (result.packet === undefined) {
    rejectUnparsed(client, result);
    return;
  }
  const { packet } = result;
  if (packet.type !== PacketType.CONNECT) {
    client.fail(ReasonCode.PROTOCOL_ERROR); // [MQTT-3.1.0-1]
    return;
  }
  client.level = packet.level;
  client.layout = packet.level === 5 ? 5 : 4;
  if (packet.maximumPacketSize !== undefined) client.packetBytesMax = packet.maximumPacketSize;
  const { host, connection } = client;
  const own = tenantOf(packet, connection, host.settings.tenants);
  const clientId = own === null || own.clientId === '' ? assignedId() : own.clientId;
  const name = own === null ? null : sessionName(own.tenant, clientId);
  const refusal = refusalOf(client, packet, name);
  if (own === null || name === null || refusal !== 0) {
    refuse(client, refusal === 0 ? refusalOfName(client, packet, own === null) : refusal);
    return;
  }
  authenticate(
    client,
    packet,
    { ...own, clientId },
    {
      refused: (reasonCode) => {
        host.system.events.refused(client, { tenant: own.tenant, clientId, username: packet.username }, reasonCode);
        refuse(client, reasonCode);
      },
      admitted: (permissions, data) => {
        const entered = (): void => admit(client, packet, name, permissions, data);
        enterByLimits(client, permissions.identity, entered, (reasonCode) => refuse(client, reasonCode));
      },
    },
  );
}

/** It is known who the client is, and it may come in. */
function admit(
  client: ClientState,
  packet: ConnectPacket,
  name: string,
  permissions: Permissions,
  data: Uint8Array | null,
): void {
  const { tenant, user, clientId } = permissions.identity;
  const { rewrite } = client.host.tenants.of(tenant);
  client.permissions = permissions;
  client.names = namesOf(tenant);
  client.rewrite = rewrite;
  client.values = valuesOf(client, user, clientId);
  // [MQTT-4.12.0-5] of the server's last message, which CONNACK carries.
  packet.authenticationData = data === null ? undefined : Buffer.from(data);
  const { will } = packet;
  if (will !== undefined && rewrite !== null) {
    const topic = rewrite.topic(will.topic, client.values);
    if (topic === null || !isWillTopic(topic)) {
      refuse(client, ReasonCode.TOPIC_NAME_INVALID);
      return;
    }
    will.topic = topic;
  }
  const inner = will === undefined ? undefined : client.names?.inner(will.topic);
  if (inner !== undefined && innerTopicError(inner) !== undefined) {
    refuse(client, ReasonCode.TOPIC_NAME_INVALID);
    return;
  }
  accept(client, packet, name);
}

/** What placeholders of the settings stand for. The name is the proven one; an anonymous client has none. */
function valuesOf({ connection }: ClientState, user: string, clientId: string): ClientValues {
  const username = user === '' ? undefined : user;
  const { remoteAddress } = connection;
  return (name) =>
    name === 'clientid' ? clientId : name === 'username' ? username : name === 'host' ? remoteAddress : undefined;
}

function isWillTopic(topic: string): boolean {
  return topicError(topic) === undefined && !topic.startsWith('$');
}

function rejectUnparsed(client: ClientState, result: Rejected): void {
  client.host.metrics.block.increment(client.host.metrics.refused);
  if (result.level !== undefined) {
    client.level = result.level;
    client.send(generateConnack({ sessionPresent: false, reasonCode: result.reasonCode }, result.level));
  }
  client.fail(result.reasonCode, result.reason);
}

/** [MQTT-3.2.2-6] CONNACK with the reason, then the connection is closed [MQTT-3.1.4-6]. */
function refuse(client: ClientState, reasonCode: number): void {
  client.host.metrics.block.increment(client.host.metrics.refused);
  const connack = generateConnack({ sessionPresent: false, reasonCode }, client.level);
  if (connack.length <= client.packetBytesMax) client.send(connack);
  client.connection.close('refused');
}

/** There is no tenant for the client, or its id is too long with its tenant in front. */
function refusalOfName({ host, connection }: ClientState, packet: ConnectPacket, hasNoTenant: boolean): number {
  if (!hasNoTenant) return ReasonCode.CLIENT_IDENTIFIER_NOT_VALID;
  const { clientId, username: user = '' } = packet;
  const identity = { tenant: '', user, clientId, address: connection.remoteAddress };
  host.access.audit({ kind: 'login-refused', identity, subject: 'The client may be in no tenant that it asks for' });
  return ReasonCode.NOT_AUTHORIZED;
}

/** 0, or the reason why this client cannot come in. `name`: of its session, null when it can have none. */
function refusalOf({ host, connection }: ClientState, packet: ConnectPacket, name: string | null): number {
  if (connection.isSurplus === true) return ReasonCode.SERVER_BUSY;
  if (host.isDraining) return packet.level === 5 ? ReasonCode.SERVER_SHUTTING_DOWN : ReasonCode.SERVER_UNAVAILABLE;
  const { authenticationMethod: method } = packet;
  if (method !== undefined && !host.access.methods.includes(method)) return ReasonCode.BAD_AUTHENTICATION_METHOD;
  // [MQTT-3.1.3-8] of 3.1.1: without a clean session a client needs an identifier. 3.1 needs one in any case.
  if (packet.clientId === '' && packet.level < 5 && !(packet.clean && packet.level === 4)) {
    return ReasonCode.CLIENT_IDENTIFIER_NOT_VALID;
  }
  if (packet.will !== undefined && !isWillTopic(packet.will.topic)) {
    return ReasonCode.TOPIC_NAME_INVALID;
  }
  const beyond = packet.will === undefined ? null : host.topicLimits.beyond(packet.will.topic);
  if (beyond !== null) {
    host.limits.exceeded(beyond);
    return ReasonCode.TOPIC_NAME_INVALID;
  }
  // Whoever has a session here comes back to it, however full it is.
  const { registry, settings } = host;
  if (registry.count < settings.sessionsMax || (name !== null && registry.has(name))) return 0;
  host.limits.exceeded('sessions');
  return ReasonCode.QUOTA_EXCEEDED;
}

function accept(client: ClientState, packet: ConnectPacket, name: string): void {
  const { host, connection } = client;
  const { settings } = host;
  client.phase = Phase.CLAIMING;
  client.wantsProblemInformation = packet.requestProblemInformation ?? true;
  const aliasMaximum = Math.min(packet.topicAliasMaximum ?? 0, settings.topicAliasMaximumOut);
  if (aliasMaximum > 0) client.aliases = new OutgoingAliases(aliasMaximum);
  const request = {
    clientId: name,
    clean: packet.clean,
    expiryS: expiryOf(packet, settings.sessionExpiryMaxS),
    inflightMax: Math.min(packet.receiveMaximum ?? 65_535, settings.inflightMax, inflightLimit(client)),
    will: packet.will ?? null,
    permissions: client.permissions,
    link: client,
  };
  connection.pauseReading(); // Until the session is there, wherever it was.
  client.isWaitingForSession = true;
  host.registry.open(request, {
    opened: (session, present) => {
      client.isWaitingForSession = false;
      if (connection.closed) {
        host.registry.closed(session, client, true);
        return;
      }
      welcome(client, packet, session, present);
      connection.resumeReading();
    },
    refused: (reasonCode) => {
      client.isWaitingForSession = false;
      if (!connection.closed) refuse(client, reasonCode);
    },
  });
}

/** A session of MQTT 3 is persistent unless it is clean; MQTT 5 says for how long (3.1.2.11.2). */
function expiryOf(packet: ConnectPacket, maximumS: number): number {
  if (packet.level < 5) return packet.clean ? 0 : maximumS;
  return Math.min(packet.sessionExpiryS ?? 0, maximumS);
}

/** Longest UTF-8 text of the protocol (1.5.4). */
const textBytesMax = 65_535;

function welcome(client: ClientState, packet: ConnectPacket, session: Session, present: boolean): void {
  const { host } = client;
  client.session = session;
  startCounting(client, session);
  client.phase = Phase.CONNECTED;
  client.receivedTick = host.timers.tick;
  const keepAliveS = keepAliveOf(packet, host.settings.keepAliveMaxS);
  client.startKeepAlive(keepAliveS);
  const fields: ConnackFields = { sessionPresent: present, reasonCode: ReasonCode.SUCCESS };
  if (packet.level === 5) addServerProperties(client, fields, packet, session, keepAliveS);
  const connack = connackFor(client, fields);
  if (connack === null) {
    client.connection.close('protocol-error');
    return;
  }
  client.send(connack);
  host.system.events.connected(client, packet.clean, present);
  if (present) {
    host.delivery.resend(session, client);
    host.delivery.pump(session);
  }
  if (session.online !== null) host.registry.kept?.begin(session.online);
  if (present) host.streams.resume(session);
  subscribeAutomatically(client, session);
}

/** [MQTT-3.1.2-24] CONNACK without what is for information alone, where that is too much; null when it is still too large. */
function connackFor(client: ClientState, fields: ConnackFields): Buffer | null {
  const whole = generateConnack(fields, client.level);
  if (whole.length <= client.packetBytesMax) return whole;
  const short = generateConnack({ ...fields, responseInformation: undefined }, client.level);
  return short.length <= client.packetBytesMax ? short : null;
}

function keepAliveOf(packet: ConnectPacket, maximumS: number): number {
  // Before MQTT 5 the client cannot be told another time. It is cut for its silence all the same, which a server may do at any
  // time: else anybody could hold connections for as long as he likes.
  if (maximumS === 0) return packet.keepAliveS;
  return packet.keepAliveS === 0 ? maximumS : Math.min(packet.keepAliveS, maximumS);
}

function addServerProperties(
  client: ClientState,
  fields: ConnackFields,
  packet: ConnectPacket,
  session: Session,
  keepAliveS: number,
): void {
  const { settings } = client.host;
  const { clientId } = sessionOf(session.clientId);
  if (session.expiryS !== (packet.sessionExpiryS ?? 0)) fields.sessionExpiryS = session.expiryS;
  if (settings.receiveMaximum !== 65_535) fields.receiveMaximum = settings.receiveMaximum;
  fields.maximumPacketSize = client.inputBytesMax;
  if (packet.authenticationMethod !== undefined) {
    fields.authenticationMethod = packet.authenticationMethod; // [MQTT-4.12.0-5]
    fields.authenticationData = packet.authenticationData;
  }
  if (packet.clientId === '') fields.assignedClientId = clientId; // [MQTT-3.1.3-7]
  if (settings.topicAliasMaximum > 0) fields.topicAliasMaximum = settings.topicAliasMaximum;
  if (keepAliveS !== packet.keepAliveS) fields.serverKeepAliveS = keepAliveS; // [MQTT-3.1.2-21]
  if (packet.requestResponseInformation === true) {
    const topic = `response/${clientId}`;
    // A server may leave it out (3.1.2.11.6), and must where the client's id leaves no room for it in a text.
    if (Buffer.byteLength(topic) <= textBytesMax) fields.responseInformation = topic;
  }
}
