/**
 * The node's own settings, and the whole schema made of them and of the section that each registered protocol brings.
 * Main thread; `load.ts` fills in and checks values by it, `config-command.ts` and the documentation are made from it.
 *
 * Every limit of the node stands here with its unit in its name. A value has its default here and nowhere else.
 */
import type { Static, TObject } from 'typebox';
import {
  boolean,
  choice,
  either,
  integer,
  list,
  literal,
  optional,
  section,
  text,
} from '../core/settings/schema-builders.ts';
import { assert } from '../std/assert.ts';
import { accessSchema } from './access-schema.ts';
import { defaultHost, formatAddress } from './address.ts';
import { alarmsSchema } from './alarms-schema.ts';
import type { SettingPath, SettingSchema } from './json-schema.ts';
import { clientLimitProperties } from './limits-schema.ts';
import { createListenerSchema, tlsFilesSchema } from './listener-schema.ts';
import { retainedLimitProperties } from './retained-schema.ts';
import { servicesSchema } from './services-schema.ts';
import { sessionsSchema } from './sessions-schema.ts';

/** What the configuration needs to know of a registered protocol. */
export interface ConfigurationPart {
  /** Lower-case; names its section, its flag `--<name>` and its default listener. */
  readonly name: string;
  readonly defaultPort: number;
  readonly settings: TObject;
  /** What the schema cannot say, see `Protocol.checkSettings`. */
  checkSettings?(settings: unknown): readonly { path: SettingPath; message: string }[];
}

/** What it needs to know of a registered storage adapter. */
export interface StoragePart {
  /** Lower-case; its section is `storage.<name>`. */
  readonly name: string;
  readonly settings: TObject;
}

const mebibyte = 1024 * 1024;
export const workerCountMax = 64;

/** The schema of the node's own settings; the protocols' names are the choices of a listener's `protocol`. */
function createNodeSchema(parts: readonly ConfigurationPart[], adapters: readonly StoragePart[]) {
  return section(
    {
      data: text({
        description: 'Folder for everything that the node keeps on disk. Relative to the working directory.',
        default: './data',
        minLength: 1,
        maxLength: 4096,
        pattern: '^[^\\u0000]*$',
      }),
      workers: either(
        [literal('auto'), integer({ description: 'That many threads.', minimum: 1, maximum: workerCountMax })],
        {
          description: 'Connection worker threads; "auto" takes as many as the process may use cores.',
          default: 'auto',
        },
      ),
      listeners: createListenersSchema(parts),
      tls: tlsFilesSchema,
      http: section(
        {
          address: text({
            description:
              'Where HTTP and WebSocket are served: metrics, health and administration. Port 0 takes a free one.',
            default: '127.0.0.1:8080',
            format: 'host-port',
            examples: ['127.0.0.1:8080', '[::1]:8080', '0.0.0.0:8080'],
          }),
          adapter: choice(['auto', 'uws', 'node'], {
            description: 'Implementation: uWebSockets.js, the one on node:http, or the first of them that loads.',
            default: 'auto',
          }),
          authentication: choice(['auto', 'required', 'none'], {
            description:
              'Whether the administration API asks who calls. `auto`: unless it listens on loopback. Health is always public.',
            default: 'auto',
          }),
          token: optional(
            text({
              description: 'Secret with which a program may use the administration API, as a Bearer token.',
              minLength: 16,
              maxLength: 256,
              writeOnly: true,
            }),
          ),
        },
        { description: 'The HTTP and WebSocket port.' },
      ),
      sharding: choice(['least-connections', 'round-robin', 'address-hash'], {
        description: 'How the worker of a new connection is chosen.',
        default: 'least-connections',
      }),
      storage: createStorageSchema(adapters),
      services: servicesSchema,
      sessions: sessionsSchema,
      cluster: clusterSchema,
      access: accessSchema,
      alarms: alarmsSchema,
      limits: limitsSchema,
      supervision: supervisionSchema,
      shutdown: section(
        {
          drainLimitMs: integer({
            description: 'Time that the clients are given to leave after a termination signal, ms.',
            default: 5000,
            minimum: 0,
            maximum: 600_000,
          }),
        },
        { description: 'The orderly end.' },
      ),
      log: section(
        {
          level: choice(['error', 'warn', 'info', 'debug'], {
            description: 'The least urgent level that is written.',
            default: 'info',
          }),
          format: choice(['text', 'json'], {
            description: 'One line per event, for people or for programs.',
            default: 'text',
          }),
        },
        { description: 'The log, written to standard error.' },
      ),
    },
    { description: 'Settings of a RingMQ node.' },
  );
}

function createListenersSchema(parts: readonly ConfigurationPart[]) {
  const listener = createListenerSchema(parts.map((part) => part.name));
  return list(listener, {
    description: `Ports to listen on. Without this list each protocol has one at its usual port of ${defaultHost}.`,
    default: parts.map(defaultListener),
    maxItems: 64,
  });
}

/** Transports that have flags of their own, `--<protocol>-tls` for example; such a listener is called the same. */
export const flagTransports: readonly string[] = ['tls', 'ws', 'wss', 'unix'];

/** What the flag `--<protocol>` and the default list make a listener of. */
export function defaultListener(part: ConfigurationPart): { name: string; protocol: string; address: string } {
  return {
    name: part.name,
    protocol: part.name,
    address: formatAddress({ host: defaultHost, port: part.defaultPort }),
  };
}

/** The adapters' names are the choices of `storage.adapter`, the first one is the default. */
function createStorageSchema(adapters: readonly StoragePart[]) {
  const names = adapters.length === 0 ? ['none'] : adapters.map(({ name }) => name);
  const own = {
    adapter: choice(names, { description: 'What keeps streams and queues.', default: names[0] }),
    requestRingBytes: integer({
      description:
        'Size of the ring in shared memory that carries records from each thread to the storage; a power of two. Larger batches take another way.',
      default: 4 * mebibyte,
      minimum: 64 * 1024,
      maximum: 1024 * mebibyte,
      powerOfTwo: true,
    }),
    unansweredBytesMax: integer({
      description: 'Records of one thread that may wait until they are stored; more are refused.',
      default: 64 * mebibyte,
      minimum: mebibyte,
      maximum: 1024 * 1024 * mebibyte,
    }),
    retained: boolean({
      description:
        'Whether retained messages outlive the node: those of QoS 1 and 2 are acknowledged when they are stored.',
      default: true,
    }),
    waitMsMax: integer({
      description: 'How long records wait for a storage that cannot be reached, ms; then they are refused.',
      default: 30_000,
      minimum: 100,
      maximum: 600_000,
    }),
  };
  const sections = Object.fromEntries(adapters.map(({ name, settings }) => [name, settings]));
  const annotations = { description: 'The storage of streams and queues. One adapter keeps them all.' };
  return section({ ...own, ...sections } as typeof own, annotations);
}

const clusterSchema = section(
  {
    address: optional(
      text({
        description:
          'Where other nodes and clients of the placement centre reach this node. Without it nothing is listened on, and the node is a group of its own. Port 0 takes a free one, and the same one again after a restart.',
        format: 'host-port',
        examples: ['127.0.0.1:9200', '10.0.0.1:9200'],
      }),
    ),
    advertise: optional(
      text({
        description: 'Address that the other nodes are told, when it is not the one that is listened on.',
        format: 'host-port',
        examples: ['node-1.example.com:9200'],
      }),
    ),
    join: list(text({ description: 'Address of a node.', format: 'host-port' }), {
      description:
        'Nodes to ask for membership at the first start; every node may list all. Ignored by a node that is a member.',
      default: [],
      maxItems: 64,
    }),
    joinAs: choice(['voter', 'learner'], {
      description:
        'What a node that joins becomes: a voter as soon as it has caught up, or a learner until an operator promotes it.',
      default: 'voter',
    }),
    name: text({
      description: 'Unique name of the node in the cluster. Empty: the host name and the cluster port.',
      default: '',
      maxLength: 64,
      pattern: '^[A-Za-z0-9._-]*$',
    }),
    peers: list(
      section(
        {
          name: text({ description: 'Name of a node.', minLength: 1, maxLength: 64 }),
          address: text({ description: 'Where it is reached from here.', format: 'host-port' }),
        },
        { description: 'A node that is reached at another address than the cluster knows.' },
      ),
      { description: 'Addresses of nodes that win over those that the cluster knows.', default: [], maxItems: 64 },
    ),
    tickMs: integer({
      description: 'Unit of time of elections, ms: a leader that is not heard for 14 to 28 ticks is replaced.',
      default: 50,
      minimum: 10,
      maximum: 10_000,
    }),
    diskReserveBytes: integer({
      description: 'With less free space on the disk, writes to the placement centre are refused, deletions are not.',
      default: 64 * mebibyte,
      minimum: 0,
      maximum: 1024 * 1024 * mebibyte,
    }),
    insecure: boolean({
      description: 'Allows traffic without TLS on addresses that other machines can reach.',
      default: false,
    }),
    tls: section(
      {
        ca: text({ description: "File with the authority that signs the nodes' certificates, PEM.", default: '' }),
        certificate: text({ description: 'File with the certificate of this node, PEM.', default: '' }),
        key: text({ description: 'File with its key, PEM.', default: '' }),
      },
      { description: 'Mutual TLS between nodes. All three files or none.' },
    ),
    joinToken: optional(
      text({
        description: 'Secret that a new node must know to join. Without it none is asked for.',
        minLength: 1,
        maxLength: 256,
        writeOnly: true,
      }),
    ),
  },
  { description: 'The placement centre: the group of nodes that keeps the metadata.' },
);

const limitsSchema = section(
  {
    connectionsMax: integer({
      description: 'Connections of all listeners. The process needs about as many file descriptors.',
      default: 100_000,
      minimum: 1,
      maximum: 10_000_000,
    }),
    acceptRatePerS: integer({
      description: 'New connections per second that are accepted, others are refused; 0 is no limit.',
      default: 0,
      minimum: 0,
      maximum: 1_000_000,
    }),
    acceptBurst: integer({
      description: 'New connections that may come at once within the rate; 0 takes as many as in one second.',
      default: 0,
      minimum: 0,
      maximum: 1_000_000,
    }),
    ...clientLimitProperties,
    eventLoopDelayMaxMs: integer({
      description:
        'A worker whose event loop is late by more than this gets no new connections, ms; when all are, new connections are refused. 0: never.',
      default: 2_000,
      minimum: 0,
      maximum: 600_000,
    }),
    handshakeTimeoutMs: integer({
      description: "Time between accept and the end of the protocol's handshake, ms.",
      default: 10_000,
      minimum: 100,
      maximum: 600_000,
    }),
    connectionOutputBytesMax: integer({
      description:
        'Output that one connection may have queued; beyond it messages are dropped or kept, as the protocol says.',
      default: mebibyte,
      minimum: 16 * 1024,
      maximum: 1024 * mebibyte,
    }),
    ringBytes: integer({
      description: 'Size of the ring of each worker in shared memory; a power of two. The largest message must fit in.',
      default: 8 * mebibyte,
      minimum: 64 * 1024,
      maximum: 1024 * mebibyte,
      powerOfTwo: true,
    }),
    interestBitmapBytes: integer({
      description: "Size of each worker's bitmap of subscription filters; a power of two, about one byte per filter.",
      default: mebibyte,
      minimum: 1024,
      maximum: 8 * mebibyte,
      powerOfTwo: true,
    }),
    ...retainedLimitProperties,
  },
  { description: 'Bounds of the node. Beyond a bound work is refused or slowed down, never queued without end.' },
);

const supervisionSchema = section(
  {
    stallLimitMs: integer({
      description: 'A worker whose event loop stands still for longer is replaced, ms.',
      default: 10_000,
      minimum: 200,
      maximum: 600_000,
    }),
    restartBackoffMs: integer({
      description: 'Wait before a worker that died is replaced, ms; doubled each time that the successor dies early.',
      default: 100,
      minimum: 0,
      maximum: 60_000,
    }),
    restartBackoffMaxMs: integer({
      description: 'Longest wait before a worker is replaced, ms.',
      default: 10_000,
      minimum: 0,
      maximum: 600_000,
    }),
  },
  { description: 'The supervision of the workers.' },
);

/** The node's own settings, complete: every default filled in. */
export type NodeSettings = Static<ReturnType<typeof createNodeSchema>>;

/** Flags of `ringmq start` that a protocol's name would hide. */
export const ownFlags: readonly string[] = [
  ...['config', 'data', 'workers', 'http', 'cluster', 'join', 'log-level', 'set', 'help'],
  ...['tls-certificate', 'tls-key', 'tls-ca'],
];

/**
 * The whole schema: the node's settings, one section per protocol, and one per storage adapter below `storage`.
 * @throws AssertionError for names that collide.
 */
export function createSchema(
  parts: readonly ConfigurationPart[],
  adapters: readonly StoragePart[] = [],
): SettingSchema {
  const node = createNodeSchema(parts, adapters) as unknown as SettingSchema;
  const properties = new Map(Object.entries(node.properties ?? {}));
  for (const { name, settings } of parts) {
    assert(/^[a-z][a-z0-9-]*$/.test(name), `the protocol name "${name}" is lower case`);
    assert(!properties.has(name) && !ownFlags.includes(name), `the protocol name "${name}" is free`);
    properties.set(name, settings as unknown as SettingSchema);
  }
  return { ...node, properties: Object.fromEntries(properties), required: [...properties.keys()] };
}
