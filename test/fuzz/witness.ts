/**
 * What must not notice the fuzzing: pairs of well-behaved MQTT.js clients that exchange numbered messages, and watchers
 * that subscribe to everything and check every packet that the broker sends them. Thread of the harness.
 */
import { isUtf8 } from 'node:buffer';
import { randomBytes } from 'node:crypto';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import mqtt, { type MqttClient } from 'mqtt';
import { generate, type IPublishPacket, type Packet, parser } from 'mqtt-packet';
import type { Level } from './packets.ts';

type Fail = (what: string) => void;

/** At most this many messages of a pair are on their way. */
const inFlightMax = 8;
const arrivalLimitMs = 15_000;

/** A publisher and a subscriber of QoS 1 on a topic that nobody else can know. */
export class Pair {
  sent = 0;
  received = 0;
  private readonly topic = `witness/${randomBytes(8).toString('hex')}`;
  private readonly fail: Fail;
  private readonly publisher: MqttClient;
  private readonly subscriber: MqttClient;
  private running = true;
  private readonly loops: Promise<void>[] = [];

  private constructor(publisher: MqttClient, subscriber: MqttClient, fail: Fail) {
    this.publisher = publisher;
    this.subscriber = subscriber;
    this.fail = fail;
    for (const [name, client] of [
      ['publisher', publisher],
      ['subscriber', subscriber],
    ] as const) {
      client.on('close', () => {
        if (this.running) fail(`the well-behaved ${name} was disconnected`);
      });
      client.on('error', (error) => fail(`the well-behaved ${name} has an error: ${error.message}`));
    }
    subscriber.on('message', (topic, payload) => this.arrived(topic, payload));
  }

  /** Both as URLs. */
  static async start(publishTo: string, subscribeAt: string, level: 4 | 5, fail: Fail): Promise<Pair> {
    const connect = (url: string): Promise<MqttClient> =>
      mqtt.connectAsync(url, { protocolVersion: level, reconnectPeriod: 0, keepalive: 60 });
    const subscriber = await connect(subscribeAt);
    const publisher = await connect(publishTo);
    const pair = new Pair(publisher, subscriber, fail);
    await subscriber.subscribeAsync(pair.topic, { qos: 1 });
    for (let lane = 0; lane < inFlightMax; lane++) pair.loops.push(pair.publishOn());
    return pair;
  }

  /** Sequence numbers are given and messages handed to the client in one step, so their order is the order sent. */
  private async publishOn(): Promise<void> {
    while (this.running) {
      const number = this.sent++;
      try {
        await this.publisher.publishAsync(this.topic, `${number} ${'.'.repeat(number % 300)}`, { qos: 1 });
      } catch (error) {
        if (this.running) this.fail(`a well-behaved publication failed: ${String(error)}`);
        return;
      }
      await sleep(10);
    }
  }

  private arrived(topic: string, payload: Buffer): void {
    if (topic !== this.topic) {
      this.fail(`the well-behaved subscriber received a foreign message on "${topic}"`);
      return;
    }
    const expected = `${this.received} ${'.'.repeat(this.received % 300)}`;
    if (payload.toString() !== expected) {
      this.fail(`message ${this.received} was expected and "${payload.toString().slice(0, 60)}" came`);
      this.received = Number.parseInt(payload.toString(), 10) || this.received;
    }
    this.received++;
  }

  /** Stops publishing and waits for what is on its way. */
  async finish(): Promise<void> {
    this.running = false;
    await Promise.race([Promise.all(this.loops), sleep(arrivalLimitMs, undefined, { ref: false })]);
    const limit = performance.now() + arrivalLimitMs;
    while (this.received < this.sent && performance.now() < limit) await sleep(10);
    if (this.received !== this.sent)
      this.fail(`${this.sent} well-behaved messages were sent, ${this.received} arrived`);
    if (this.sent === 0) this.fail('the well-behaved pair sent nothing');
    this.abandon();
  }

  /** Ends it, wherever it is; nothing is reported any more. */
  abandon(): void {
    this.running = false;
    this.publisher.end(true);
    this.subscriber.end(true);
  }
}

export interface WatcherOptions {
  readonly level: Level;
  readonly qos: 0 | 1 | 2;
  readonly receiveMaximum?: number;
  readonly maximumPacketSize?: number;
  readonly topicAliasMaximum?: number;
  readonly subscriptionIdentifier?: number;
}

/** Subscribes to `#` and looks at every byte that comes: an oracle of its own, and what the options promise. */
export class Watcher {
  packets = 0;
  private readonly options: WatcherOptions;
  private readonly socket: net.Socket;
  private readonly fail: Fail;
  private readonly decoder;
  private unparsed: Buffer = Buffer.alloc(0);
  private readonly unacknowledged = new Set<number>();
  private readonly aliases = new Map<number, string>();
  private running = true;

  private constructor(socket: net.Socket, options: WatcherOptions, fail: Fail) {
    this.socket = socket;
    this.options = options;
    this.fail = (what) => fail(`watcher of level ${options.level}, QoS ${options.qos}: ${what}`);
    this.decoder = parser({ protocolVersion: options.level });
    this.decoder.on('packet', (packet: Packet) => this.check(packet));
    this.decoder.on('error', (error: Error) => this.fail(`a packet does not parse: ${error.message}`));
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => this.receive(chunk));
    socket.on('close', () => {
      if (this.running) this.fail('it was disconnected');
    });
  }

  static async start(port: number, options: WatcherOptions, fail: Fail): Promise<Watcher> {
    const socket = net.connect({ port, host: '127.0.0.1', noDelay: true });
    const watcher = new Watcher(socket, options, fail);
    watcher.subscribe();
    const limit = performance.now() + arrivalLimitMs;
    while (watcher.packets < 2 && performance.now() < limit) await sleep(5);
    if (watcher.packets < 2) watcher.fail('it was not served');
    return watcher;
  }

  private subscribe(): void {
    const { level, qos, receiveMaximum, maximumPacketSize, topicAliasMaximum, subscriptionIdentifier } = this.options;
    const properties = {
      ...(receiveMaximum === undefined ? {} : { receiveMaximum }),
      ...(maximumPacketSize === undefined ? {} : { maximumPacketSize }),
      ...(topicAliasMaximum === undefined ? {} : { topicAliasMaximum }),
    };
    this.send({
      cmd: 'connect',
      protocolId: 'MQTT',
      protocolVersion: level,
      clean: true,
      keepalive: 0,
      clientId: `watcher-${randomBytes(6).toString('hex')}`,
      ...(level === 5 ? { properties } : {}),
    });
    this.send({
      cmd: 'subscribe',
      messageId: 1,
      subscriptions: [{ topic: '#', qos, ...(level === 5 ? { nl: false, rap: true, rh: 0 } : {}) }],
      ...(subscriptionIdentifier === undefined ? {} : { properties: { subscriptionIdentifier } }),
    });
  }

  private send(packet: Packet): void {
    this.socket.write(generate(packet, { protocolVersion: this.options.level }));
  }

  /** Cuts the stream into frames by itself, so that the raw bytes can be looked at and not only what was made of them. */
  private receive(chunk: Buffer): void {
    this.unparsed = this.unparsed.length === 0 ? chunk : Buffer.concat([this.unparsed, chunk]);
    for (;;) {
      const end = frameEnd(this.unparsed);
      if (end < 0) this.fail('a remaining length has more than four bytes');
      if (end <= 0 || end > this.unparsed.length) return;
      const frame = this.unparsed.subarray(0, end);
      this.unparsed = this.unparsed.subarray(end);
      this.checkFrame(frame);
      const before = this.packets;
      this.decoder.parse(frame);
      if (this.packets === before) this.fail(`a frame is no whole packet: ${frame.toString('hex').slice(0, 200)}`);
    }
  }

  private checkFrame(frame: Buffer): void {
    const { maximumPacketSize } = this.options;
    if (maximumPacketSize !== undefined && frame.length > maximumPacketSize) {
      this.fail(`a packet of ${frame.length} bytes is larger than the ${maximumPacketSize} allowed`);
    }
    if (frame[0] >> 4 !== 3) return;
    const start = frame.length - remainingLength(frame) + 2;
    const topic = frame.subarray(start, start + frame.readUInt16BE(start - 2));
    if (!isUtf8(topic)) this.fail(`a topic is no UTF-8: ${topic.toString('hex').slice(0, 100)}`);
  }

  private check(packet: Packet): void {
    this.packets++;
    if (packet.cmd === 'publish') this.checkPublish(packet);
    else if (packet.cmd === 'pubrel') this.complete(packet.messageId ?? 0);
    else if (packet.cmd !== 'connack' && packet.cmd !== 'suback') this.fail(`a packet of type ${packet.cmd} came`);
  }

  private checkPublish(packet: IPublishPacket): void {
    const { level, qos, subscriptionIdentifier } = this.options;
    const topic = this.topicOf(packet);
    if (topic === '' || /[+#\0]/.test(topic)) this.fail(`a topic is not valid: ${JSON.stringify(topic.slice(0, 100))}`);
    if (topic.startsWith('$')) this.fail(`a wildcard matched the hidden topic "${topic.slice(0, 100)}"`); // [MQTT-4.7.2-1]
    if (packet.qos > qos) this.fail(`a message of QoS ${packet.qos} came`);
    const identifier = packet.properties?.subscriptionIdentifier;
    if (level === 5 && identifier !== subscriptionIdentifier)
      this.fail(`subscription identifier ${String(identifier)} came`);
    if (packet.qos > 0) this.acknowledge(packet);
  }

  private topicOf(packet: IPublishPacket): string {
    const alias = packet.properties?.topicAlias;
    if (alias === undefined) return packet.topic;
    if (alias < 1 || alias > (this.options.topicAliasMaximum ?? 0)) this.fail(`topic alias ${alias} is not allowed`);
    if (packet.topic !== '') this.aliases.set(alias, packet.topic);
    return this.aliases.get(alias) ?? '';
  }

  private acknowledge(packet: IPublishPacket): void {
    const { messageId = 0, qos } = packet;
    const { receiveMaximum = 65_535 } = this.options;
    if (messageId < 1) this.fail('a packet identifier is missing');
    if (this.unacknowledged.has(messageId)) this.fail(`packet identifier ${messageId} came twice`); // [MQTT-2.2.1-4]
    this.unacknowledged.add(messageId);
    if (this.unacknowledged.size > receiveMaximum) this.fail(`more than ${receiveMaximum} messages are unacknowledged`);
    // Later, so that messages overlap; the identifier is free from then on.
    setImmediate(() => {
      if (qos === 1) this.unacknowledged.delete(messageId);
      this.send({ cmd: qos === 1 ? 'puback' : 'pubrec', messageId });
    });
  }

  private complete(messageId: number): void {
    if (!this.unacknowledged.delete(messageId))
      this.fail(`PUBREL came for packet identifier ${messageId}, which is free`);
    this.send({ cmd: 'pubcomp', messageId });
  }

  stop(): void {
    if (this.packets < 3) this.fail('it saw no messages');
    this.abandon();
  }

  /** Ends it, wherever it is; nothing is reported any more. */
  abandon(): void {
    this.running = false;
    this.socket.destroy();
  }
}

/** Offset after the first frame, 0 when its length is not there yet, -1 when it is malformed. */
function frameEnd(bytes: Buffer): number {
  let length = 0;
  for (let index = 1; index < bytes.length; index++) {
    if (index > 4) return -1;
    length += (bytes[index] & 0x7f) * 128 ** (index - 1);
    if (bytes[index] < 0x80) return index + 1 + length;
  }
  return 0;
}

function remainingLength(frame: Buffer): number {
  let length = 0;
  for (let index = 1; index <= 4; index++) {
    length += (frame[index] & 0x7f) * 128 ** (index - 1);
    if (frame[index] < 0x80) break;
  }
  return length;
}
