/** MQTT.js as a client of the interoperability tests; see `client.ts`. */
import { readFileSync } from 'node:fs';
import mqtt, { type IPublishPacket, type MqttClient, type Packet, Store } from 'mqtt';
import {
  type ClientLibrary,
  ConnectionRefused,
  type ConnectOptions,
  type DisconnectOptions,
  type Filter,
  InteropClient,
  type MessageProperties,
  type PublishOptions,
  type Qos,
  toFilters,
} from './client.ts';

type LibraryProperties = NonNullable<IPublishPacket['properties']>;

export interface MqttJsOptions extends ConnectOptions {
  /**
   * QoS 2 messages that were received and not released, for clients that go on with the session of another one. Without
   * it a new client has forgotten the message when PUBREL comes.
   */
  readonly incomingStore?: Store;
}

/** A store that survives the end of its client. */
export function createIncomingStore(): Store {
  return new Store({ clean: false });
}

class MqttJsClient extends InteropClient {
  readonly client: MqttClient;
  private disconnectCode: number | null = null;

  constructor(options: MqttJsOptions) {
    super(options.version);
    this.client = mqtt.connect(addressOf(options), {
      protocolVersion: options.version,
      protocolId: options.version === 3 ? 'MQIsdp' : 'MQTT',
      clientId: options.clientId ?? '',
      clean: options.clean ?? true,
      keepalive: options.keepAliveS ?? 60,
      reconnectPeriod: 0,
      connectTimeout: 15_000,
      ...(options.transport?.ca === undefined ? {} : { ca: readFileSync(options.transport.ca) }),
      ...(options.username === undefined ? {} : { username: options.username }),
      ...(options.password === undefined ? {} : { password: options.password }),
      ...(options.incomingStore === undefined ? {} : { incomingStore: options.incomingStore }),
      ...willOf(options),
      ...(options.version === 5 ? { properties: connectPropertiesOf(options) } : {}),
    });
    if (options.acks === false) this.client.handleMessage = () => undefined;
    this.client.on('message', (topic, payload, packet) => {
      const { qos, retain, dup, messageId, properties } = packet;
      const fields = { topic, payload: Buffer.from(payload), qos: qos as Qos, retain, dup, packetId: messageId ?? 0 };
      this.add({ ...fields, properties: propertiesOf(properties) });
    });
    this.client.on('packetreceive', (packet: Packet) => {
      if (packet.cmd === 'disconnect') this.disconnectCode = packet.reasonCode ?? 0;
    });
    this.client.on('close', () => this.markClosed(this.disconnectCode));
    // Connections that end are looked at by the tests; without a listener the error would end the process.
    this.client.on('error', () => undefined);
  }

  /** Resolves after CONNACK. */
  connected(): Promise<this> {
    return new Promise((resolve, reject) => {
      this.client.once('connect', (packet) => {
        this.connack = {
          sessionPresent: packet.sessionPresent,
          properties: packet.properties ?? {},
        } as InteropClient['connack'];
        resolve(this);
      });
      this.client.on('packetreceive', (packet: Packet) => {
        if (packet.cmd !== 'connack') return;
        const code = (this.version === 5 ? packet.reasonCode : packet.returnCode) ?? 0;
        if (code !== 0) reject(new ConnectionRefused(code));
      });
      this.client.once('error', reject);
      this.client.once('close', () => reject(new Error('Cannot connect: the connection ended before CONNACK')));
    });
  }

  async subscribe(
    wanted: string | readonly Filter[],
    options?: { subscriptionIdentifier?: number },
  ): Promise<number[]> {
    const filters = toFilters(wanted);
    const map = new Map<string, { qos: Qos; nl?: boolean; rap?: boolean; rh?: number }>();
    for (const { topic, qos = 0, noLocal, retainAsPublished, retainHandling } of filters) {
      const extra = { nl: noLocal ?? false, rap: retainAsPublished ?? false, rh: retainHandling ?? 0 };
      map.set(topic, this.version === 5 ? { qos, ...extra } : { qos });
    }
    return new Promise((resolve, reject) => {
      const properties = options === undefined || this.version < 5 ? {} : { properties: options };
      this.client.subscribe(Object.fromEntries(map), properties as { qos: Qos }, (error, granted, packet) => {
        const codes = packet?.granted as number[] | undefined;
        // A filter that the broker refuses is an error to MQTT.js, and an answer here.
        if (codes !== undefined) resolve(codes);
        else if (error !== null) reject(error);
        else resolve((granted ?? []).map(({ qos }) => qos));
      });
    });
  }

  unsubscribe(filters: readonly string[]): Promise<number[]> {
    return new Promise((resolve, reject) => {
      this.client.unsubscribe([...filters], (error, packet) => {
        const codes = (packet as unknown as { granted?: number[] } | undefined)?.granted;
        if (codes !== undefined) resolve(codes);
        else if (error) reject(error);
        else resolve([]);
      });
    });
  }

  publish(topic: string, payload: string | Buffer, options: PublishOptions = {}): Promise<number> {
    const { qos = 0, retain = false, properties } = options;
    const extra = properties === undefined || this.version < 5 ? {} : { properties: libraryPropertiesOf(properties) };
    return new Promise((resolve, reject) => {
      this.client.publish(topic, payload, { qos, retain, ...extra }, (error, packet) => {
        const code = (packet as { reasonCode?: number } | undefined)?.reasonCode;
        const refused = (error as { code?: number } | null | undefined)?.code;
        if (typeof refused === 'number') resolve(refused);
        else if (error) reject(error);
        else resolve(code ?? 0);
      });
    });
  }

  disconnect(options: DisconnectOptions = {}): Promise<void> {
    const { reasonCode = 0, sessionExpiryInterval } = options;
    const properties = sessionExpiryInterval === undefined ? {} : { properties: { sessionExpiryInterval } };
    return this.client.endAsync(false, this.version === 5 ? { reasonCode, ...properties } : {});
  }

  async cut(): Promise<void> {
    this.client.stream.destroy();
    await this.closed;
  }

  async fallSilent(): Promise<void> {
    this.client.keepaliveManager?.destroy();
    // Its own watch over PINGRESP must not end the connection before the broker does.
    this.client.sendPing = () => undefined;
    this.client.stream.unpipe();
    this.client.stream.pause();
  }

  async end(): Promise<void> {
    await this.client.endAsync(true);
  }
}

function addressOf({ port, transport = { kind: 'tcp' } }: ConnectOptions): string {
  const scheme = { tcp: 'mqtt', tls: 'mqtts', ws: 'ws', wss: 'wss' }[transport.kind];
  return `${scheme}://127.0.0.1:${port}${transport.path ?? ''}`;
}

function willOf({ will, version }: ConnectOptions): object {
  if (will === undefined) return {};
  const { topic, payload, qos = 0, retain = false, properties = {} } = will;
  const extra =
    version === 5
      ? { properties: { ...libraryPropertiesOf(properties), ...delayOf(properties.willDelayInterval) } }
      : {};
  return { will: { topic, payload: Buffer.from(payload), qos, retain, ...extra } };
}

function delayOf(willDelayInterval: number | undefined): object {
  return willDelayInterval === undefined ? {} : { willDelayInterval };
}

function connectPropertiesOf({ properties = {} }: ConnectOptions): object {
  const { requestResponseInformation: response, requestProblemInformation: problem, ...rest } = properties;
  return {
    ...rest,
    ...(response === undefined ? {} : { requestResponseInformation: response === 1 }),
    ...(problem === undefined ? {} : { requestProblemInformation: problem === 1 }),
  };
}

function libraryPropertiesOf(properties: MessageProperties): LibraryProperties {
  const { payloadFormatIndicator, correlationData, userProperties, messageExpiryInterval, topicAlias } = properties;
  const result: LibraryProperties = {};
  if (payloadFormatIndicator !== undefined) result.payloadFormatIndicator = payloadFormatIndicator === 1;
  if (messageExpiryInterval !== undefined) result.messageExpiryInterval = messageExpiryInterval;
  if (topicAlias !== undefined) result.topicAlias = topicAlias;
  if (properties.contentType !== undefined) result.contentType = properties.contentType;
  if (properties.responseTopic !== undefined) result.responseTopic = properties.responseTopic;
  if (correlationData !== undefined) result.correlationData = Buffer.from(correlationData);
  if (userProperties !== undefined) result.userProperties = userPropertiesOf(userProperties);
  return result;
}

function userPropertiesOf(pairs: readonly (readonly [string, string])[]): Record<string, string | string[]> {
  const values = new Map<string, string[]>();
  for (const [name, value] of pairs) values.set(name, [...(values.get(name) ?? []), value]);
  return Object.fromEntries(Array.from(values, ([name, all]) => [name, all.length === 1 ? (all[0] as string) : all]));
}

function propertiesOf(properties: LibraryProperties | undefined): MessageProperties {
  if (properties === undefined) return {};
  const { payloadFormatIndicator, correlationData, userProperties, subscriptionIdentifier, ...rest } = properties;
  return {
    ...rest,
    ...(payloadFormatIndicator === undefined ? {} : { payloadFormatIndicator: payloadFormatIndicator ? 1 : 0 }),
    ...(correlationData === undefined ? {} : { correlationData: correlationData.toString() }),
    ...(userProperties === undefined ? {} : { userProperties: pairsOf(userProperties) }),
    ...(subscriptionIdentifier === undefined ? {} : { subscriptionIdentifiers: [subscriptionIdentifier].flat() }),
  };
}

function pairsOf(properties: object): [string, string][] {
  return Object.entries(properties as Record<string, string | string[]>).flatMap(([name, values]) =>
    [values].flat().map((value): [string, string] => [name, value]),
  );
}

export class MqttJsLibrary implements ClientLibrary {
  readonly name = 'MQTT.js';
  readonly lacks = new Set<never>();
  private readonly clients: MqttJsClient[] = [];

  connect(options: MqttJsOptions): Promise<MqttJsClient> {
    const client = new MqttJsClient(options);
    this.clients.push(client);
    return client.connected();
  }

  async closeAll(): Promise<void> {
    await Promise.all(this.clients.splice(0).map((client) => client.end()));
  }
}
