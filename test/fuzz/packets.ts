/**
 * Packets to begin with: the golden vectors of `test/golden/mqtt`, valid and malformed, and packets of every type that
 * `mqtt-packet` generates for the three levels of the protocol. Pure; called by the cases of the fuzz harness.
 */
import { generate, type IConnectPacket, type Packet } from 'mqtt-packet';
import { malformedAcknowledgements, validAcknowledgements } from '../golden/mqtt/acknowledgements.ts';
import { malformedConnects, validConnects } from '../golden/mqtt/connect.ts';
import { malformedControls, validControls } from '../golden/mqtt/control.ts';
import { malformedHeaders, malformedPublishes, validPublishes } from '../golden/mqtt/publish.ts';
import { auths, connacks, disconnects, PINGRESP_HEX, publishes, subacks, unsubacks } from '../golden/mqtt/server.ts';
import { malformedSubscribes, validSubscribes } from '../golden/mqtt/subscribe.ts';
import { bytes } from '../golden/mqtt/vector.ts';
import { Random } from './random.ts';

export type Level = 3 | 4 | 5;
export const levels: readonly Level[] = [3, 4, 5];

/** What a client may send, and what it may not, as bytes. */
export const clientVectors: readonly Buffer[] = [
  ...[...validConnects, ...validSubscribes, ...validControls, ...validPublishes, ...validAcknowledgements],
  ...[...malformedConnects, ...malformedSubscribes, ...malformedControls, ...malformedHeaders],
  ...[...malformedPublishes, ...malformedAcknowledgements],
].map(({ hex }) => bytes(hex));

/** What only a server sends. */
export const serverVectors: readonly Buffer[] = [
  ...[...connacks, ...subacks, ...unsubacks, ...disconnects, ...auths, ...publishes].map(({ hex }) => bytes(hex)),
  bytes(PINGRESP_HEX),
];

/** Types that a client may send and those that it may not: each is tried in each state. */
export const packetTypes = [
  'connect', 'connack', 'publish', 'puback', 'pubrec', 'pubrel', 'pubcomp', 'subscribe', 'suback', 'unsubscribe',
  'unsuback', 'pingreq', 'pingresp', 'disconnect', 'auth', 'reserved',
] as const; // biome-ignore format: one table
export type PacketType = (typeof packetTypes)[number];

/** Names that are keys of every object, and other text that has broken brokers. */
export const strangeNames: readonly string[] = [
  '__proto__',
  'constructor',
  'toString',
  'hasOwnProperty',
  '__proto__/constructor/prototype',
  'valueOf',
  '__defineGetter__',
  '$SYS/broker',
  '\ufeff',
  '\u{1f40b}/\u{1f40b}',
  ' ',
  '/',
  '//',
  '////////',
  'null',
  'undefined',
  '0',
  '-1',
  '4294967295',
  'true',
  '%s%n',
  '../../etc',
  '*',
  'İ',
];

const topicWords = ['a', 'b', 'c', 'sensor', 'state', ...strangeNames];

/** Topics of a run. */
const topicCount = 600;
/** Their streams of random numbers are not those of cases. */
const firstTopic = 1_000_000_000;

/**
 * One of the topics of the run, other ones with each seed: few enough that cases meet each other's messages, retained ones included, and that
 * the broker knows nearly all of them before its memory is measured for the first time.
 */
export function topicOf(random: Random): string {
  const own = Random.of(random.run, firstTopic + random.below(topicCount));
  return `fuzz/${Array.from({ length: own.between(1, 4) }, () => own.pick(topicWords)).join('/')}`;
}

export function filterOf(random: Random): string {
  if (random.oneIn(12))
    return random.pick(['#', '+/#', 'fuzz/#', '+', '/+', 'fuzz/+/+', '$share/g/fuzz/#', '$share/g/+/+']);
  const words = topicOf(random).split('/');
  if (random.oneIn(2)) words[random.below(words.length)] = '+';
  if (random.oneIn(3)) words.push('#');
  const filter = words.join('/');
  return random.oneIn(6) ? `$share/${random.pick(['g', 'h', '__proto__'])}/${filter}` : filter;
}

export function clientIdOf(random: Random): string {
  return `fuzz-${random.below(200)}`;
}

/** Properties of a PUBLISH or will, for level 5. */
function messageProperties(random: Random): NonNullable<IConnectPacket['will']>['properties'] {
  return {
    ...(random.oneIn(3) ? { messageExpiryInterval: random.pick([0, 1, 2, 60, 4_294_967_295]) } : {}),
    ...(random.oneIn(3) ? { payloadFormatIndicator: random.oneIn(2) } : {}),
    ...(random.oneIn(3) ? { contentType: random.pick(strangeNames) } : {}),
    ...(random.oneIn(4) ? { responseTopic: topicOf(random) } : {}),
    ...(random.oneIn(4) ? { correlationData: random.bytes(random.below(40)) } : {}),
    ...(random.oneIn(3) ? { userProperties: Object.fromEntries([[random.pick(['a', 'b', 'toString']), 'x']]) } : {}),
  };
}

export interface ConnectOptions {
  readonly clientId?: string;
  readonly clean?: boolean;
  readonly sessionExpiryS?: number;
  readonly receiveMaximum?: number;
  readonly will?: IConnectPacket['will'];
}

export function connectPacket(random: Random, level: Level, options: ConnectOptions = {}): Buffer {
  const packet: IConnectPacket = {
    cmd: 'connect',
    protocolId: level === 3 ? 'MQIsdp' : 'MQTT',
    protocolVersion: level,
    clean: options.clean ?? !random.oneIn(4),
    clientId: options.clientId ?? clientIdOf(random),
    keepalive: random.pick([0, 1, 60, 65_535]),
  };
  if (options.will !== undefined) packet.will = options.will;
  else if (random.oneIn(3)) packet.will = willOf(random, level);
  if (random.oneIn(4)) {
    packet.username = random.pick(strangeNames);
    packet.password = random.bytes(random.below(10));
  }
  if (level === 5) {
    packet.properties = {
      sessionExpiryInterval: options.sessionExpiryS ?? random.pick([0, 0, 1, 2, 4_294_967_295]),
      ...(random.oneIn(3) ? { topicAliasMaximum: random.pick([1, 3, 65_535]) } : {}),
      ...(random.oneIn(6) ? { maximumPacketSize: random.pick([1, 20, 200, 65_536]) } : {}),
      ...(random.oneIn(4) ? { requestProblemInformation: false, requestResponseInformation: true } : {}),
    };
    const receiveMaximum = options.receiveMaximum ?? (random.oneIn(3) ? random.pick([1, 2, 65_535]) : undefined);
    if (receiveMaximum !== undefined) packet.properties.receiveMaximum = receiveMaximum;
  }
  return generate(packet, { protocolVersion: level });
}

export function willOf(random: Random, level: Level): NonNullable<IConnectPacket['will']> {
  return {
    topic: topicOf(random),
    payload: random.bytes(random.below(60)),
    qos: random.pick([0, 1, 2]),
    retain: random.oneIn(3),
    ...(level === 5
      ? { properties: { willDelayInterval: random.pick([0, 0, 1, 2]), ...messageProperties(random) } }
      : {}),
  };
}

export interface PublishOptions {
  readonly topic?: string;
  readonly qos?: 0 | 1 | 2;
  readonly messageId?: number;
  readonly payload?: Buffer;
  readonly retain?: boolean;
  readonly topicAlias?: number;
}

export function publishPacket(random: Random, level: Level, options: PublishOptions = {}): Buffer {
  const qos = options.qos ?? random.pick([0, 1, 2]);
  const properties = {
    ...messageProperties(random),
    ...(options.topicAlias === undefined ? {} : { topicAlias: options.topicAlias }),
  };
  return generate(
    {
      cmd: 'publish',
      topic: options.topic ?? topicOf(random),
      payload: options.payload ?? random.bytes(random.pick([0, 1, 10, 200, 2_000])),
      qos,
      dup: qos > 0 && random.oneIn(4),
      retain: options.retain ?? random.oneIn(6),
      ...(qos === 0 ? {} : { messageId: options.messageId ?? random.between(1, 65_535) }),
      ...(level === 5 ? { properties } : {}),
    },
    { protocolVersion: level },
  );
}

export function subscribePacket(random: Random, level: Level, filters?: readonly string[]): Buffer {
  const wanted = filters ?? Array.from({ length: random.between(1, 4) }, () => filterOf(random));
  const subscriptions = wanted.map((topic) => ({
    topic,
    qos: random.pick([0, 1, 2] as const),
    ...(level === 5
      ? { nl: !topic.startsWith('$share/') && random.oneIn(4), rap: random.oneIn(3), rh: random.below(3) }
      : {}),
  }));
  return generate(
    {
      cmd: 'subscribe',
      messageId: random.between(1, 65_535),
      subscriptions,
      ...(level === 5 && random.oneIn(2)
        ? { properties: { subscriptionIdentifier: random.between(1, 268_435_455) } }
        : {}),
    },
    { protocolVersion: level },
  );
}

/** A valid packet of the type; those of a server too. `reserved` is type 0, which nobody may send. */
export function packetOf(random: Random, level: Level, type: PacketType): Buffer {
  switch (type) {
    case 'connect':
      return connectPacket(random, level);
    case 'publish':
      return publishPacket(random, level);
    case 'subscribe':
      return subscribePacket(random, level);
    case 'reserved':
      return Buffer.from([random.below(16), 0]);
    case 'auth':
      return level === 5 ? Buffer.from([0xf0, 0]) : Buffer.from([0xf0, 2, 0x18, 0]);
    default:
      return generate(plainPacket(random, level, type), { protocolVersion: level });
  }
}

type PlainType = Exclude<PacketType, 'connect' | 'publish' | 'subscribe' | 'reserved' | 'auth'>;

function plainPacket(random: Random, level: Level, type: PlainType): Packet {
  const messageId = random.between(1, 65_535);
  switch (type) {
    case 'connack':
      return level === 5
        ? { cmd: type, reasonCode: 0, sessionPresent: false }
        : { cmd: type, returnCode: 0, sessionPresent: false };
    case 'puback':
    case 'pubrec':
    case 'pubrel':
    case 'pubcomp':
      return level === 5 ? { cmd: type, messageId, reasonCode: random.pick([0, 0, 0x92]) } : { cmd: type, messageId };
    case 'suback':
      return { cmd: type, messageId, granted: [random.pick([0, 1, 2, 0x80])] };
    case 'unsubscribe':
      return { cmd: type, messageId, unsubscriptions: [filterOf(random), topicOf(random)] };
    case 'unsuback':
      return { cmd: type, messageId, granted: [0] };
    case 'disconnect':
      return level === 5 ? { cmd: type, reasonCode: random.pick([0, 4]) } : { cmd: type };
    default:
      return { cmd: type };
  }
}

/** Any client packet: a golden vector or a generated one. */
export function anyPacket(random: Random, level: Level): Buffer {
  if (random.oneIn(3)) return random.pick(clientVectors);
  return packetOf(random, level, random.pick(packetTypes.slice(0, -1)));
}
