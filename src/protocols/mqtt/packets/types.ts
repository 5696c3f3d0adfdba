/**
 * The rare packets as the session sees them: what `parse.ts` makes of a client's bytes and `generate.ts` makes bytes of.
 *
 * Only types; connection workers. An optional field that is undefined was not in the packet. Buffers that come out of
 * `parse.ts` are copies and belong to whoever gets them.
 */
import type { PacketType, ProtocolLevel } from '../codec/frame.ts';

/** Name and value, in the order of the packet, duplicates kept [MQTT-3.1.2.11.8, MQTT-3.3.2-18]. */
export type UserProperties = readonly (readonly [name: string, value: string])[];

/** What a message says about itself (3.3.2.3 and 3.1.3.2). */
export interface MessageProperties {
  payloadFormat?: 0 | 1 | undefined;
  expiryS?: number | undefined;
  contentType?: string | undefined;
  responseTopic?: string | undefined;
  correlationData?: Buffer | undefined;
  userProperties: UserProperties;
}

export interface Will {
  topic: string;
  payload: Buffer;
  qos: 0 | 1 | 2;
  retain: boolean;
  /** Will Delay Interval in seconds, 0 when absent (3.1.3.2.2). */
  delayS: number;
  properties: MessageProperties;
}

export interface ConnectPacket {
  type: typeof PacketType.CONNECT;
  level: ProtocolLevel;
  /** Clean Session, in MQTT 5 Clean Start. */
  clean: boolean;
  /** Empty when the server is to assign one. */
  clientId: string;
  keepAliveS: number;
  username?: string | undefined;
  password?: Buffer | undefined;
  will?: Will | undefined;
  sessionExpiryS?: number | undefined;
  receiveMaximum?: number | undefined;
  maximumPacketSize?: number | undefined;
  topicAliasMaximum?: number | undefined;
  requestResponseInformation?: boolean | undefined;
  requestProblemInformation?: boolean | undefined;
  userProperties: UserProperties;
  authenticationMethod?: string | undefined;
  authenticationData?: Buffer | undefined;
}

export interface Subscription {
  /** Well-formed text; whether it is a valid filter is for the session to say. */
  filter: string;
  qos: 0 | 1 | 2;
  noLocal: boolean;
  retainAsPublished: boolean;
  retainHandling: 0 | 1 | 2;
}

export interface SubscribePacket {
  type: typeof PacketType.SUBSCRIBE;
  packetId: number;
  subscriptionIdentifier?: number | undefined;
  userProperties: UserProperties;
  /** At least one. */
  subscriptions: Subscription[];
}

export interface UnsubscribePacket {
  type: typeof PacketType.UNSUBSCRIBE;
  packetId: number;
  userProperties: UserProperties;
  /** At least one. */
  filters: string[];
}

export interface PingreqPacket {
  type: typeof PacketType.PINGREQ;
}

export interface DisconnectPacket {
  type: typeof PacketType.DISCONNECT;
  /** 0 below level 5. */
  reasonCode: number;
  sessionExpiryS?: number | undefined;
  reasonString?: string | undefined;
  serverReference?: string | undefined;
  userProperties: UserProperties;
}

export interface AuthPacket {
  type: typeof PacketType.AUTH;
  reasonCode: number;
  authenticationMethod: string;
  authenticationData?: Buffer | undefined;
  reasonString?: string | undefined;
  userProperties: UserProperties;
}

export type ClientPacket =
  | ConnectPacket
  | SubscribePacket
  | UnsubscribePacket
  | PingreqPacket
  | DisconnectPacket
  | AuthPacket;

/** What may be left out of an answer, to obey the client's maximum packet size or [MQTT-3.1.2-29]. */
export interface Diagnostics {
  reasonString?: string | undefined;
  userProperties?: UserProperties | undefined;
}

export interface ConnackFields extends Diagnostics {
  sessionPresent: boolean;
  /** An MQTT 5 reason code; below level 5 its return code is sent. */
  reasonCode: number;
  sessionExpiryS?: number | undefined;
  receiveMaximum?: number | undefined;
  /** Only 0 and 1 can be said (3.2.2.3.4); leave it out for 2. */
  maximumQos?: 0 | 1 | undefined;
  retainAvailable?: boolean | undefined;
  maximumPacketSize?: number | undefined;
  assignedClientId?: string | undefined;
  topicAliasMaximum?: number | undefined;
  wildcardSubscriptionAvailable?: boolean | undefined;
  subscriptionIdentifiersAvailable?: boolean | undefined;
  sharedSubscriptionAvailable?: boolean | undefined;
  serverKeepAliveS?: number | undefined;
  responseInformation?: string | undefined;
  serverReference?: string | undefined;
  authenticationMethod?: string | undefined;
  authenticationData?: Buffer | undefined;
}

/** SUBACK and UNSUBACK. */
export interface SubscriptionAnswer extends Diagnostics {
  packetId: number;
  /** One per filter, in order [MQTT-3.8.4-6], [MQTT-3.11.3-1]. */
  reasonCodes: readonly number[];
}

export interface DisconnectFields extends Diagnostics {
  reasonCode: number;
  serverReference?: string | undefined;
}

export interface AuthFields extends Diagnostics {
  reasonCode: number;
  authenticationMethod: string;
  authenticationData?: Buffer | undefined;
}

/** A message that did not arrive as a PUBLISH: a will, or one that the broker makes itself. */
export interface PublishFields {
  topic: string;
  payload: Buffer;
  qos: 0 | 1 | 2;
  retain: boolean;
  /** Not 0 when `qos` is not 0. */
  packetId: number;
  properties?: MessageProperties | undefined;
}
