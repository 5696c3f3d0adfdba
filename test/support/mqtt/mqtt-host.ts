/**
 * The MQTT protocol on one worker in the test's own thread: real router, directory, sessions and timers; connections
 * are in memory and time moves when the test says so. Packets are written and read with `mqtt-packet`.
 */
import { generate, type Packet, parser } from 'mqtt-packet';
import { Router } from '../../../src/core/broker/router.ts';
import { createRouterShared } from '../../../src/core/broker/router-shared.ts';
import type { ProtocolWorker } from '../../../src/core/ports/protocol.ts';
import type { SessionSlots } from '../../../src/core/ports/session-slots.ts';
import { createLogger } from '../../../src/observability/log.ts';
import { MetricsLayout, ThreadMetrics } from '../../../src/observability/metrics.ts';
import { workerMetricDefinitions } from '../../../src/observability/worker-metrics.ts';
import { mqtt } from '../../../src/protocols/mqtt/index.ts';
import { MqttWorker } from '../../../src/protocols/mqtt/mqtt-worker.ts';
import type { MqttSettings } from '../../../src/protocols/mqtt/settings.ts';
import { CounterBlock, createCounters } from '../../../src/shm/counters.ts';
import { TimingWheel } from '../../../src/std/timing-wheel.ts';
import { WorkerClientLimits } from '../../../src/workers/runtime/client-limits.ts';
import { WorkerControlPlane } from '../../../src/workers/runtime/control-plane.ts';
import { WorkerSessionDirectory } from '../../../src/workers/runtime/session-directory.ts';
import { WorkerNode } from '../../../src/workers/runtime/worker-node.ts';
import { TestAccess, type TestAccessOptions } from '../access.ts';
import { noClientLimits } from '../client-limits.ts';
import { MemoryConnection } from './memory-connection.ts';

export type Level = 3 | 4 | 5;

export const defaultSettings: MqttSettings = {
  packetBytesMax: 1_048_576,
  connectBytesMax: 65_536,
  sessionExpiryMaxS: 86_400,
  sessionsMax: 1_000,
  subscriptionsMax: 100,
  receiveMaximum: 1_024,
  inflightMax: 1_024,
  queuedMessagesMax: 10_000,
  queuedBytesMax: 16_777_216,
  topicBytesMax: 65_535,
  topicLevelsMax: 128,
  topicAliasMaximum: 64,
  topicAliasMaximumOut: 64,
  keepAliveMaxS: 0,
  subscribeDenied: [],
  sharedStrategy: 'round-robin',
  sharedGroups: [],
  sharedKeyProperty: 'key',
  exclusiveSubscriptions: true,
  autoSubscribe: [],
  topicRewrite: [],
  tenants: { choice: false, open: [] },
  bridges: [],
  delayed: { enabled: false, delaySMax: 42_949_670, messagesMax: 0, bytesMax: 0 },
  bindings: [],
  streams: { subscriptions: true, subscriptionsMax: 16, defaultPosition: 'latest', positionMs: 1_000 },
  system: {
    intervalS: 60,
    heartbeatS: 30,
    eventsPerSMax: 1_000,
    events: {
      connected: true,
      disconnected: true,
      subscribed: true,
      unsubscribed: true,
      sessionCreated: true,
      sessionResumed: true,
      sessionTakenOver: true,
      sessionExpired: true,
      authenticationFailed: true,
      messagesDropped: true,
      alarms: true,
    },
    slowSubscriptions: { enabled: false, statistics: 'whole', thresholdMs: 500, topCount: 10, expiryS: 300 },
  },
};

const layout = new MetricsLayout([workerMetricDefinitions([]), mqtt.metrics]);
const tickMs = 100;

/** A packet as `mqtt-packet` takes and gives it; its types know less than it does. */
export type AnyPacket = Record<string, unknown> & { cmd: string };

export function encode(packet: AnyPacket, level: Level): Buffer {
  return generate(packet as unknown as Packet, { protocolVersion: level });
}

/** All packets in `bytes`, which must hold whole ones. */
export function decodeAll(bytes: Buffer, level: Level): AnyPacket[] {
  const packets: AnyPacket[] = [];
  const reader = parser({ protocolVersion: level });
  reader.on('packet', (packet) => packets.push(packet as unknown as AnyPacket));
  reader.on('error', (error: Error) => {
    throw error;
  });
  const rest = reader.parse(bytes);
  if (rest !== 0) throw new Error(`${rest} bytes are no whole packet`);
  return packets;
}

export interface ConnectOptions {
  readonly clientId?: string;
  readonly level?: Level;
  readonly clean?: boolean;
  readonly keepalive?: number;
  readonly username?: string;
  readonly will?: Record<string, unknown>;
  readonly properties?: Record<string, unknown>;
}

/** Nobody asks for it here; a test that does fails with its name. */
function unused<T extends object>(name: string): T {
  const fail = (): never => {
    throw new Error(`there is no ${name} here`);
  };
  return new Proxy({} as T, { get: fail });
}

/** Long work gives way to others by the clock, in a later turn: here the clock stands meanwhile. */
function inOneTurn(work: () => void): void {
  const { now } = performance;
  performance.now = () => 0;
  try {
    work();
  } finally {
    performance.now = now;
  }
}

export class TestClient {
  readonly connection: MemoryConnection;
  readonly level: Level;
  private readonly host: MqttHost;

  constructor(host: MqttHost, level: Level) {
    this.host = host;
    this.level = level;
    this.connection = host.accept();
  }

  /** Sends bytes in one chunk, and lets the broker do what follows from it. */
  sendBytes(bytes: Uint8Array): void {
    inOneTurn(() => this.connection.receive(bytes));
    this.host.settle();
  }

  send(...packets: AnyPacket[]): void {
    this.sendBytes(Buffer.concat(packets.map((packet) => encode(packet, this.level))));
  }

  /** Packets that arrived since the last call. */
  take(): AnyPacket[] {
    return decodeAll(this.connection.take(), this.level);
  }

  /** Subscribes and swallows the answer. */
  subscribe(topic: string, options: Record<string, unknown> = {}, properties?: Record<string, unknown>): AnyPacket {
    const subscription = { topic, qos: 0, ...options };
    this.send({
      cmd: 'subscribe',
      messageId: 1,
      subscriptions: [subscription],
      ...(properties === undefined ? {} : { properties }),
    });
    const [answer] = this.take();
    if (answer?.cmd !== 'suback') throw new Error(`Expected SUBACK, got ${JSON.stringify(answer)}`);
    return answer;
  }

  publish(topic: string, payload: string, more: Record<string, unknown> = {}): void {
    this.send({ cmd: 'publish', topic, payload, qos: 0, retain: false, dup: false, ...more });
  }

  /** Payloads of the PUBLISH packets that arrived since the last call. */
  payloads(): string[] {
    return this.take()
      .filter(({ cmd }) => cmd === 'publish')
      .map(({ payload }) => String(payload));
  }
}

export class MqttHost {
  readonly router: Router;
  readonly metrics: ThreadMetrics;
  readonly timers = new TimingWheel(tickMs);
  readonly worker: ProtocolWorker;
  readonly logged: string[] = [];
  /** Lets everybody in and allows everything until the test says otherwise. */
  readonly access: TestAccess;
  /** Without any that the settings of the protocol do not name. */
  readonly limits: WorkerClientLimits;
  /** Of a node called `test`. */
  readonly node: WorkerNode;
  private readonly connections: MemoryConnection[] = [];
  private readonly outputBytesMax: number;

  constructor(
    settings: Partial<MqttSettings> = {},
    outputBytesMax = 1_048_576,
    answer?: TestAccessOptions['answer'],
    sessions: SessionSlots | null = null,
  ) {
    this.outputBytesMax = outputBytesMax;
    const counters = createCounters(layout.slotCount);
    this.metrics = new ThreadMetrics(layout, new CounterBlock(counters));
    const shared = createRouterShared({ workerCount: 1, ringBytes: 8_388_608, interestBitmapBytes: 1_024 });
    const log = createLogger({ level: 'info', format: 'text', write: (line) => this.logged.push(line) });
    const post = (): void => undefined; // A node with one worker has nobody to ask.
    const control = new WorkerControlPlane(1, post);
    const { metrics, timers } = this;
    this.access = new TestAccess({ metrics, log, ...(answer && { answer }) });
    this.limits = new WorkerClientLimits({
      start: { settings: noClientLimits, ratedListeners: [], shared: null },
      ...{ workerIndex: 0, workerCount: 1, metrics, log, post },
    });
    this.node = new WorkerNode({ version: '0.0.0', startedAtMs: Date.now(), counters: [counters] }, layout, post);
    this.node.facts = { name: 'test', nodes: ['test'], ports: [1883] };
    const retained = { countMax: 1_000, bytesMax: 10_000_000 };
    this.router = new Router({ workerIndex: 0, workerCount: 1, shared, retained, control, metrics, log });
    this.worker = new MqttWorker({
      workerIndex: 0,
      settings: { ...defaultSettings, ...settings },
      router: this.router,
      directory: new WorkerSessionDirectory(1, this.router, post),
      control,
      access: this.access,
      node: this.node,
      limits: this.limits,
      storage: unused('storage'),
      sessions,
      services: unused('services'),
      metrics,
      timers,
      log,
      handshakeTimeoutMs: 5_000,
      connectionOutputBytesMax: outputBytesMax,
    });
  }

  accept(): MemoryConnection {
    const connection = new MemoryConnection(this.outputBytesMax);
    connection.start(this.worker.accept(connection));
    this.connections.push(connection);
    return connection;
  }

  /** Connects and swallows CONNACK, or throws when the client was refused. */
  connect(options: ConnectOptions = {}): TestClient {
    const { client, connack } = this.tryConnect(options);
    if (connack === undefined || (connack.returnCode ?? connack.reasonCode) !== 0) {
      throw new Error(`Refused: ${JSON.stringify(connack)}`);
    }
    return client;
  }

  tryConnect(options: ConnectOptions = {}): { client: TestClient; connack: AnyPacket | undefined } {
    const { level = 4, clean = true, keepalive = 0, clientId = '' } = options;
    const client = new TestClient(this, level);
    const protocolId = level === 3 ? 'MQIsdp' : 'MQTT';
    const packet = { cmd: 'connect', protocolId, protocolVersion: level, clean, keepalive, clientId };
    const extra = {
      ...(options.will && { will: options.will }),
      ...(options.username !== undefined && { username: options.username }),
      ...(options.properties && { properties: options.properties }),
    };
    client.send({ ...packet, ...extra });
    const bytes = client.connection.take();
    if (bytes.length === 0) return { client, connack: undefined };
    const connackBytes = 2 + bytes[1];
    const [connack] = decodeAll(bytes.subarray(0, connackBytes), level);
    this.leftovers.set(client, decodeAll(bytes.subarray(connackBytes), level));
    return { client, connack };
  }

  /** What came right behind CONNACK. */
  readonly leftovers = new WeakMap<TestClient, AnyPacket[]>();

  /** Lets every turn end that has to. */
  settle(): void {
    inOneTurn(() => {
      for (let again = true; again; ) {
        again = false;
        for (const connection of [...this.connections]) if (connection.settle()) again = true;
      }
    });
  }

  /** Time passes for sessions, wills and keep-alive. */
  pass(ms: number): void {
    this.timers.advance(this.timers.tick + Math.ceil(ms / tickMs));
    this.settle();
  }

  dropped(reason: string): number {
    return this.metrics.get(this.metrics.slot('ringmq_messages_dropped_total', { reason }));
  }

  packets(direction: 'received' | 'sent', type: string): number {
    return this.metrics.get(this.metrics.slot('ringmq_mqtt_packets_total', { type, direction }));
  }

  gauge(name: string): number {
    return this.metrics.get(this.metrics.slot(name));
  }
}
