/**
 * Configuration of bridges, `mqtt.bridges`: other MQTT brokers that messages are sent to and fetched from. Read on the main thread for
 * validation and on every connection worker as plain data; what a schema cannot say is in `bridge-check.ts`.
 */
import type { Static } from 'typebox';
import { boolean, choice, integer, list, section, text } from '../../../core/settings/schema-builders.ts';

const whole = (minimum: number, maximum: number, fallback: number, description: string) =>
  integer({ minimum, maximum, default: fallback, description });
const file = (description: string) => text({ description, default: '', maxLength: 4_096, pattern: '^[^\\u0000]*$' });
const prefix = (description: string) => text({ description, default: '', maxLength: 4_096 });

const outRule = section(
  {
    filter: text({ description: 'Topic filter of what is sent to the remote broker.', minLength: 1, maxLength: 4_096 }),
    qos: whole(0, 2, 1, 'Highest QoS of the forwarded message; with 0 nothing is stored.'),
    removePrefix: prefix('Taken off the front of the topic; messages whose topic begins otherwise are not sent.'),
    addPrefix: prefix('Put in front of the topic, after that.'),
  },
  { description: 'Messages that go to the remote broker.' },
);

const inRule = section(
  {
    filter: text({
      description: 'Topic filter that is subscribed to at the remote broker; may be $share/<group>/<filter>.',
      minLength: 1,
      maxLength: 4_096,
    }),
    qos: whole(0, 2, 1, 'Highest QoS.'),
    removePrefix: prefix('Taken off the front of the remote topic; messages whose topic begins otherwise are dropped.'),
    addPrefix: prefix('Put in front of the topic, after that.'),
  },
  { description: 'Messages that come from the remote broker.' },
);

const tls = section(
  {
    ca: file("File with the authorities that sign the remote broker's certificate, PEM. Empty: those of Node."),
    certificate: file('File with a client certificate and its chain, PEM.'),
    key: file('File with its private key, PEM.'),
    keyPasswordFile: file('File with the password of an encrypted key, one line.'),
    serverName: text({
      description: 'Name that is asked for (SNI) and that the certificate must have. Empty: the host of the server.',
      default: '',
      maxLength: 253,
    }),
    alpn: list(text({ description: 'A protocol name.', minLength: 1, maxLength: 255 }), {
      description: 'Protocols that are offered in the hand-shake (ALPN), for example x-amzn-mqtt-ca.',
      default: [],
      maxItems: 16,
    }),
    verify: choice(['full', 'ca', 'none'], {
      description:
        'What is checked of the remote certificate: its authority and its name, the authority alone, or nothing, which lets anybody in between read and change everything.',
      default: 'full',
    }),
  },
  { description: 'TLS towards servers that are written mqtts://. The files are read again for each connection.' },
);

const store = section(
  {
    bytesMax: whole(
      1_048_576,
      1_099_511_627_776,
      1_073_741_824,
      'Bytes that may wait for the remote broker; beyond it the oldest are dropped and counted.',
    ),
    ageMaxS: whole(60, 315_360_000, 604_800, 'Age at which what waits may be dropped and counted, seconds.'),
    qos0: boolean({
      default: false,
      description: 'Whether QoS 0 messages are stored too, and survive the absence of the remote broker.',
    }),
  },
  { description: 'What waits for the remote broker, in the stream `__bridge.<name>`.' },
);

const bridge = section(
  {
    name: text({
      description: 'Unique name; part of the name of its stream and a label of its metrics.',
      pattern: '^[a-z0-9][a-z0-9._-]*$',
      minLength: 1,
      maxLength: 64,
    }),
    servers: list(
      text({
        description: 'Address, `mqtt://host:port` or `mqtts://host:port`; without a port 1883 or 8883.',
        minLength: 1,
        maxLength: 512,
        examples: ['mqtt://broker.example:1883', 'mqtts://broker.example'],
      }),
      {
        description: 'The remote broker. Where there are several, the first one that answers is used.',
        minItems: 1,
        maxItems: 16,
      },
    ),
    version: choice(['5', '3.1.1', '3.1'], { description: 'MQTT version that is spoken.', default: '5' }),
    clientId: text({
      description:
        'Client id at the remote broker; it must differ between all nodes and bridges. Empty: ringmq-<host name>-<name>.',
      default: '',
      maxLength: 1_000,
      pattern: '^[^\\u0000]*$',
    }),
    username: text({ description: 'User name. Empty: none.', default: '', maxLength: 1_000 }),
    password: text({ description: 'Password. Empty: none.', default: '', maxLength: 1_000, writeOnly: true }),
    passwordFile: file('File with the password, one line; read again for each connection.'),
    tls,
    keepAliveS: whole(0, 65_535, 60, 'Keep-alive, seconds; 0: none, and a silent end of the network goes unnoticed.'),
    connectTimeoutMs: whole(100, 600_000, 10_000, 'Time from the first packet to CONNACK, ms.'),
    cleanStart: boolean({
      default: false,
      description: 'Whether each connection begins with no session: what the remote broker had for it is then lost.',
    }),
    sessionExpiryS: whole(
      0,
      4_294_967_295,
      604_800,
      'How long the remote broker keeps the session while the bridge is away, seconds; MQTT 5 only.',
    ),
    bridgeBit: boolean({
      default: true,
      description:
        'Whether an MQTT 3 remote broker is told that a bridge connects, by the highest bit of the protocol level as mosquitto does; it then sends nothing back. Where the remote broker refuses that, the bridge connects without.',
    }),
    hopsMax: whole(1, 64, 8, 'Bridges that a message may have passed; beyond it it is dropped and counted. MQTT 5.'),
    reconnectMs: whole(
      10,
      600_000,
      1_000,
      'Pause after the first failed attempt to connect, ms; it doubles each time.',
    ),
    reconnectMaxMs: whole(10, 3_600_000, 60_000, 'Longest pause, ms; a random part of it is left out.'),
    inflightMax: whole(1, 65_535, 256, 'QoS 1 and 2 messages on their way to the remote broker.'),
    inflightQos2Max: whole(
      1,
      65_535,
      20,
      'The same of QoS 2 alone towards an MQTT 3 broker, which does not say how many it takes: mosquitto confirms what is beyond its max_inflight_messages, and loses it.',
    ),
    receiveMaximum: whole(1, 65_535, 256, 'QoS 1 and 2 messages on their way from the remote broker.'),
    store,
    out: list(outRule, { description: 'What is sent.', default: [], maxItems: 256 }),
    in: list(inRule, { description: 'What is fetched.', default: [], maxItems: 256 }),
  },
  { description: 'A bridge to another MQTT broker.' },
);

/** The list as it stands in the section `mqtt`. */
export const bridgesSetting = list(bridge, {
  maxItems: 64,
  default: [],
  description: 'Other MQTT brokers that messages are sent to and fetched from.',
});

export type BridgeSettings = Static<typeof bridge>;
export type BridgeRule = BridgeSettings['out'][number];
