/**
 * The connection of a bridge to its remote broker, over MQTT.js: connects, comes back after failures, goes through the list of servers.
 * Thread: the worker that has the bridge; one object for its whole life.
 *
 * MQTT.js keeps what is under way with QoS 1 and 2 over a lost connection, with its packet identifiers, and sends it again; its own
 * reconnecting is not used, since it knows neither pauses that grow nor files that change.
 */
import type { IClientPublishOptions, IConnackPacket, IPublishPacket, MqttClient, Packet } from 'mqtt';
import type { Logger } from '../../../observability/log.ts';
import { toError } from '../../../std/errors.ts';
import { isExactId, OtherIds } from './exact-ids.ts';
import { ReconnectPause } from './reconnect-pause.ts';
import { openSocket, type RemoteMaterial, readMaterial } from './remote-socket.ts';
import { formatServerAddress, parseServerAddress, type ServerAddress } from './server-address.ts';
import type { BridgeSettings } from './settings.ts';

/** What CONNACK says (3.2.2.3); below MQTT 5 the remote broker says nothing of the kind. */
export interface RemoteLimits {
  /** MQTT 3.1 does not say it: it is taken for granted there. */
  readonly isSessionPresent: boolean;
  readonly receiveMaximum: number;
  /** QoS 2 messages that it may be sent at a time. */
  readonly qos2Max: number;
  readonly maximumQos: 0 | 1 | 2;
  readonly canRetain: boolean;
  readonly packetBytesMax: number;
}

export interface RemoteEvents {
  connected(limits: RemoteLimits): void;
  /** `reason` for people. Also after an attempt that never came to `connected`. */
  disconnected(reason: string): void;
  /** CONNACK has come, before anything else of the connection; `isResumed`: the remote broker has a session, or does not say. */
  begun(isResumed: boolean): void;
  /** PUBREC, or PUBCOMP with `isLast`, for an identifier that is not of MQTT.js. */
  answered(packetId: number, isLast: boolean, reasonCode: number): void;
  /** PUBREL; to be answered with PUBCOMP. */
  released(packetId: number): void;
  /** A PUBLISH, of QoS 2 too, to be confirmed by whoever takes it; the next packet is read when `next` was called. Called with an error, it is read and this one not acknowledged. */
  message(packet: IPublishPacket, next: (error?: Error) => void): void;
}

export interface RemoteOptions {
  readonly settings: BridgeSettings;
  readonly clientId: string;
  /** Largest packet that is taken, bytes. */
  readonly packetBytesMax: number;
  /** Not null: why the remote broker has to accept the bridge bit. */
  readonly bridgeBitReason: string | null;
  readonly events: RemoteEvents;
  readonly log: Logger;
}

export type RemoteState = 'connecting' | 'connected' | 'waiting' | 'stopped';
export type PublishOptions = IClientPublishOptions;

const versions = new Map<string, 3 | 4 | 5>([
  ['3.1', 3],
  ['3.1.1', 4],
  ['5', 5],
]);
const longestPacket = 268_435_455;
/** "Unacceptable protocol version" of CONNACK in MQTT 3. */
const unacceptableVersion = 1;
/** How long the goodbye may take. */
const stopLimitMs = 500;

export class Remote {
  readonly #options: RemoteOptions;
  readonly #servers: readonly ServerAddress[];
  readonly #pause: ReconnectPause;
  #client: MqttClient | null = null;
  #material: RemoteMaterial | null = null;
  #state: RemoteState = 'waiting';
  /** Why the connection ended, or the attempt failed. */
  #problem = '';
  #lastProblem = '';
  #connectedAtMs = 0;
  #hasBridgeBit: boolean;
  #timer: NodeJS.Timeout | null = null;
  /** CONNACK has come. MQTT.js says so when what was under way is confirmed. */
  #isIn = false;
  /** QoS 2 messages on their way through MQTT.js. */
  readonly #twice = new WeakSet<IPublishPacket>();

  constructor(options: RemoteOptions) {
    const { settings } = options;
    this.#options = options;
    this.#servers = settings.servers.map((server) => parseServerAddress(server) as ServerAddress);
    this.#pause = new ReconnectPause(settings, this.#servers.length);
    this.#hasBridgeBit = settings.bridgeBit && settings.version !== '5';
  }

  get state(): RemoteState {
    return this.#state;
  }

  /** The one that is, was last, or will be next connected to. */
  get server(): string {
    return formatServerAddress(this.#servers[this.#pause.server] as ServerAddress);
  }

  /** Why it is not connected; '' while nothing has gone wrong. */
  get problem(): string {
    return this.#lastProblem;
  }

  /** The one in use; only while connected. */
  get client(): MqttClient | null {
    return this.#state === 'connected' ? this.#client : null;
  }

  /** Writes whole packets beside those of MQTT.js, from CONNACK on; nothing happens without a connection. */
  write(bytes: Buffer): void {
    const stream: MqttClient['stream'] | undefined = this.#client?.stream;
    if (this.#isIn && stream !== undefined && !stream.destroyed) stream.write(bytes);
  }

  start(): void {
    void this.#attempt();
  }

  /** Ends the connection because of `reason`; comes back after a pause. */
  restart(reason: string): void {
    this.#problem = reason;
    this.#client?.stream?.destroy();
  }

  /** Says goodbye and stays away. What is under way with QoS 1 and 2 is sent again by the next life. */
  async stop(): Promise<void> {
    const wasConnected = this.#state === 'connected';
    this.#state = 'stopped';
    if (this.#timer !== null) clearTimeout(this.#timer);
    // There is none while no attempt came as far as a socket.
    const stream: MqttClient['stream'] | undefined = this.#client?.stream;
    if (stream === undefined || stream.destroyed) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, stopLimitMs);
    stream.once('close', () => resolve());
    // Not `end` of MQTT.js, which would wait for what is under way. DISCONNECT without a reason code is "normal disconnection" in all
    // versions, and the session stays.
    if (wasConnected) stream.end(Buffer.from([0xe0, 0x00]));
    else stream.destroy();
    await promise;
    clearTimeout(timer);
    stream.destroy();
  }

  async #attempt(): Promise<void> {
    this.#timer = null;
    this.#state = 'connecting';
    this.#problem = '';
    const address = this.#servers[this.#pause.server] as ServerAddress;
    try {
      this.#material = await readMaterial(this.#options.settings, address);
      const client = this.#client ?? (await this.#makeClient());
      if (this.#isStopped()) return;
      if (this.#material.password !== null) client.options.password = this.#material.password;
      if (this.#client === null) {
        this.#client = client;
        client.connect();
      } else client.reconnect({ incomingStore: client.incomingStore, outgoingStore: client.outgoingStore });
    } catch (error) {
      // A file that cannot be read, or TLS options that make no sense.
      this.#problem = toError(error).message;
      this.#ended();
    }
  }

  /** Asked through a method, since the state changes while something is awaited. */
  #isStopped(): boolean {
    return this.#state === 'stopped';
  }

  async #makeClient(): Promise<MqttClient> {
    // Only nodes with bridges load it.
    const { MqttClient: Client } = await import('mqtt');
    const { settings, clientId, packetBytesMax, events } = this.#options;
    const version = versions.get(settings.version) ?? 5;
    const client = new Client(() => this.#openSocket(), {
      manualConnect: true,
      reconnectPeriod: 0,
      resubscribe: false,
      queueQoSZero: false,
      messageIdProvider: new OtherIds(),
      // As in `packets/mqtt-packet.ts`: some 7 MiB otherwise.
      writeCache: false,
      protocolVersion: version,
      protocolId: version === 3 ? 'MQIsdp' : 'MQTT',
      clientId,
      ...(settings.username === '' ? {} : { username: settings.username }),
      clean: settings.cleanStart,
      keepalive: settings.keepAliveS,
      connectTimeout: settings.connectTimeoutMs,
      ...(version === 5
        ? {
            properties: {
              sessionExpiryInterval: settings.sessionExpiryS,
              receiveMaximum: settings.receiveMaximum,
              maximumPacketSize: packetBytesMax,
            },
          }
        : {}),
    });
    client.on('packetreceive', (packet) => this.#received(packet));
    client.handleMessage = (packet, callback) => {
      if (this.#twice.delete(packet)) packet.qos = 2;
      events.message(packet, callback as (error?: Error) => void);
    };
    client.on('packetsend', (packet) => {
      // MQTT.js has no option for it; its encoder does.
      if (packet.cmd === 'connect' && this.#hasBridgeBit) Object.assign(packet, { bridgeMode: true });
    });
    client.on('connect', (connack) => this.#accepted(connack));
    client.on('error', (error) => this.#noteError(error));
    client.on('disconnect', ({ reasonCode, properties }) => {
      const reason = properties?.reasonString ?? '';
      this.#problem = `the remote broker ended the connection with reason code ${reasonCode ?? 0} ${reason}`.trimEnd();
    });
    client.on('close', () => this.#ended());
    return client;
  }

  /**
   * MQTT.js would keep QoS 2 messages in memory until they are released, and forget them with the process. So it is shown them as if they
   * were of QoS 1, and never sees that they are released.
   */
  #received(packet: Packet): void {
    const { events } = this.#options;
    if (packet.cmd === 'connack') {
      const isAccepted = (packet.reasonCode ?? packet.returnCode ?? 0) === 0;
      this.#isIn = isAccepted;
      if (isAccepted) events.begun(this.#isResumed(packet.sessionPresent));
    } else if (packet.cmd === 'publish' && packet.qos === 2) {
      this.#twice.add(packet);
      packet.qos = 1;
    } else if (packet.cmd === 'pubrec' || packet.cmd === 'pubcomp') {
      const packetId = packet.messageId ?? 0;
      if (isExactId(packetId)) events.answered(packetId, packet.cmd === 'pubcomp', packet.reasonCode ?? 0);
    } else if (packet.cmd === 'pubrel') {
      Object.assign(packet, { cmd: 'pubrel here' });
      events.released(packet.messageId ?? 0);
    }
  }

  #isResumed(isSessionPresent: boolean): boolean {
    const { version, cleanStart } = this.#options.settings;
    return !cleanStart && (isSessionPresent || version === '3.1');
  }

  #openSocket(): ReturnType<typeof openSocket> {
    const address = this.#servers[this.#pause.server] as ServerAddress;
    return openSocket(address, this.#material as RemoteMaterial);
  }

  #noteError(error: Error & { readonly code?: unknown }): void {
    if (this.#problem === '') this.#problem = error.message;
    // After a packet that it could not read MQTT.js would wait for ever.
    this.#client?.stream?.destroy();
    if (error.code !== unacceptableVersion || !this.#hasBridgeBit) return;
    const { bridgeBitReason, log } = this.#options;
    if (bridgeBitReason !== null) {
      this.#problem = `the remote broker knows no bridges of MQTT ${this.#options.settings.version}, and ${bridgeBitReason}`;
      return;
    }
    this.#hasBridgeBit = false;
    log.info('The remote broker does not know the bridge bit: connecting without');
  }

  #accepted({ sessionPresent, properties }: IConnackPacket): void {
    if (this.#isStopped()) return;
    this.#state = 'connected';
    this.#lastProblem = '';
    this.#connectedAtMs = performance.now();
    const { receiveMaximum, maximumQoS, retainAvailable, maximumPacketSize } = properties ?? {};
    const { settings, events } = this.#options;
    events.connected({
      isSessionPresent: this.#isResumed(sessionPresent),
      receiveMaximum: positiveOr(receiveMaximum, 65_535),
      qos2Max: settings.version === '5' ? 65_535 : settings.inflightQos2Max,
      maximumQos: maximumQoS === 0 || maximumQoS === 1 ? maximumQoS : 2,
      canRetain: retainAvailable !== false,
      packetBytesMax: positiveOr(maximumPacketSize, longestPacket),
    });
  }

  #ended(): void {
    if (this.#isStopped() || this.#timer !== null) return;
    const wasConnected = this.#state === 'connected';
    const pauseMs = wasConnected ? this.#pause.ended(performance.now() - this.#connectedAtMs) : this.#pause.failed();
    this.#state = 'waiting';
    this.#isIn = false;
    this.#lastProblem = this.#problem === '' ? 'the connection was closed' : this.#problem;
    this.#timer = setTimeout(() => void this.#attempt(), pauseMs);
    this.#options.events.disconnected(this.#lastProblem);
  }
}

/** MQTT.js makes a list of a property that comes twice, and does not mind a zero. */
function positiveOr(value: unknown, otherwise: number): number {
  return typeof value === 'number' && value > 0 ? value : otherwise;
}
