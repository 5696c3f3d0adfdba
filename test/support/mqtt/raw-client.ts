/**
 * An MQTT client for conformance tests: writes any bytes, reads whole frames as they came, and answers nothing by itself.
 * Thread of the test; one per connection.
 */
import { once } from 'node:events';
import net, { type Socket } from 'node:net';
import { generate, type Packet, parser } from 'mqtt-packet';
import type { AnyPacket, Level } from './mqtt-host.ts';

/** A broker that does not answer fails the test with a message of its own, before the runner's limit. */
const answerLimitMs = 5_000;

export interface RawConnect {
  readonly clientId?: string;
  readonly level?: Level;
  readonly clean?: boolean;
  readonly keepalive?: number;
  readonly username?: string;
  readonly password?: string;
  readonly will?: Record<string, unknown>;
  readonly properties?: Record<string, unknown>;
}

export class RawClient {
  readonly level: Level;
  readonly socket: Socket;
  /** Of the CONNACK, for clients that `connect` made. */
  connack: AnyPacket = { cmd: 'none' };
  private readonly frames: Buffer[] = [];
  private received: Buffer = Buffer.alloc(0);
  private wake: () => void = () => undefined;
  private nextId = 1;

  private constructor(socket: Socket, level: Level) {
    this.socket = socket;
    this.level = level;
    socket.on('data', (chunk: Buffer) => this.take(chunk));
    socket.on('error', () => undefined); // A reset is an end like any other.
    socket.on('close', () => this.wake());
  }

  /** A connection that has not said anything. */
  static async open(port: number, level: Level = 4): Promise<RawClient> {
    const socket = net.connect({ port, host: '127.0.0.1', noDelay: true });
    await once(socket, 'connect');
    return new RawClient(socket, level);
  }

  /** Connects as a client and reads CONNACK, which must accept it. */
  static async connect(port: number, options: RawConnect = {}): Promise<RawClient> {
    const client = await RawClient.tryConnect(port, options);
    const code = client.connack.returnCode ?? client.connack.reasonCode;
    if (code !== 0) throw new Error(`Refused: ${JSON.stringify(client.connack)}`);
    return client;
  }

  static async tryConnect(port: number, options: RawConnect = {}): Promise<RawClient> {
    const { level = 4 } = options;
    const client = await RawClient.open(port, level);
    client.send(connectPacket(options));
    client.connack = await client.packet('connack');
    return client;
  }

  write(...parts: (string | Uint8Array)[]): void {
    this.socket.write(Buffer.concat(parts.map((part) => (typeof part === 'string' ? hex(part) : part))));
  }

  send(...packets: AnyPacket[]): void {
    this.write(...packets.map((packet) => generate(packet as unknown as Packet, { protocolVersion: this.level })));
  }

  /** The next frame, as it came. */
  async frame(): Promise<Buffer> {
    await this.until(() => this.frames.length > 0, 'a packet');
    return this.frames.shift() as Buffer;
  }

  /** The next packet, which must be of this kind. */
  async packet(cmd: string): Promise<AnyPacket> {
    const packet = decodeFrame(await this.frame(), this.level);
    if (packet.cmd !== cmd) throw new Error(`Expected ${cmd}, got ${JSON.stringify(packet)}`);
    return packet;
  }

  /** The next packet, of whatever kind. */
  async next(): Promise<AnyPacket> {
    return decodeFrame(await this.frame(), this.level);
  }

  async packets(count: number, cmd = 'publish'): Promise<AnyPacket[]> {
    const found: AnyPacket[] = [];
    while (found.length < count) found.push(await this.packet(cmd));
    return found;
  }

  /** Waits for the broker to end the connection. Answers what came before. */
  async closed(): Promise<AnyPacket[]> {
    await this.until(() => this.socket.closed, 'the end of the connection');
    if (this.received.length > 0) throw new Error(`${this.received.length} bytes are no whole packet`);
    return this.frames.splice(0).map((frame) => decodeFrame(frame, this.level));
  }

  /** Everything that this client sent is handled, and it was sent what that led to for it. Answers what came meanwhile. */
  async barrier(): Promise<AnyPacket[]> {
    this.write('c000');
    const found: AnyPacket[] = [];
    for (;;) {
      const packet = decodeFrame(await this.frame(), this.level);
      if (packet.cmd === 'pingresp') return found;
      found.push(packet);
    }
  }

  async subscribe(topic: string, qos = 0, options: object = {}, properties?: object): Promise<AnyPacket> {
    const messageId = this.id();
    const subscriptions = [{ topic, qos, ...options }];
    this.send({ cmd: 'subscribe', messageId, subscriptions, ...(properties && { properties }) });
    return this.packet('suback');
  }

  /** Sends PUBLISH and nothing else; QoS 1 and 2 get an identifier of their own unless one is given. */
  publish(topic: string, payload: string, more: Record<string, unknown> = {}): void {
    const messageId = more.qos === undefined ? undefined : this.id();
    this.send({ cmd: 'publish', topic, payload, qos: 0, retain: false, dup: false, messageId, ...more });
  }

  /** Publishes and waits until the broker has taken it. */
  async publishTaken(topic: string, payload: string, more: Record<string, unknown> = {}): Promise<void> {
    this.publish(topic, payload, more);
    for (const { cmd, messageId } of await this.barrier())
      if (cmd === 'pubrec') this.send({ cmd: 'pubrel', messageId });
    await this.barrier();
  }

  id(): number {
    return this.nextId++;
  }

  async disconnect(): Promise<void> {
    this.send({ cmd: 'disconnect' });
    await this.closed();
  }

  /** Ends the connection without a word. */
  async cut(): Promise<void> {
    this.socket.destroy();
    if (!this.socket.closed) await once(this.socket, 'close');
  }

  private take(chunk: Buffer): void {
    this.received = Buffer.concat([this.received, chunk]);
    for (let length = wholeFrame(this.received); length > 0; length = wholeFrame(this.received)) {
      this.frames.push(this.received.subarray(0, length));
      this.received = this.received.subarray(length);
    }
    this.wake();
  }

  private async until(condition: () => boolean, what: string): Promise<void> {
    const limit = AbortSignal.timeout(answerLimitMs);
    while (!condition()) {
      if (limit.aborted) throw new Error(`Waited in vain for ${what}; there are ${this.describeFrames()}`);
      if (this.socket.closed && what === 'a packet') throw new Error('The connection ended instead of a packet');
      const { promise, resolve } = Promise.withResolvers<void>();
      this.wake = resolve;
      limit.addEventListener('abort', () => resolve(), { once: true });
      await promise;
    }
  }

  private describeFrames(): string {
    return this.frames.length === 0 ? 'none' : this.frames.map((frame) => frame.toString('hex')).join(', ');
  }
}

export function connectPacket(options: RawConnect = {}): AnyPacket {
  const { level = 4, clean = true, keepalive = 0, clientId = '', username, password, will, properties } = options;
  const protocolId = level === 3 ? 'MQIsdp' : 'MQTT';
  const packet = { cmd: 'connect', protocolId, protocolVersion: level, clean, keepalive, clientId };
  return {
    ...packet,
    ...(username && { username }),
    ...(password && { password }),
    ...(will && { will }),
    ...(properties && { properties }),
  };
}

export function hex(text: string): Buffer {
  return Buffer.from(text.replaceAll(/\s/g, ''), 'hex');
}

/** Two bytes of length, then the bytes or the text. */
export function lengthed(content: string | Uint8Array): Buffer {
  const bytes = Buffer.from(content as string);
  const length = Buffer.alloc(2);
  length.writeUInt16BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

/** A frame of up to 127 bytes behind its header. */
export function frameOf(firstByte: number, ...parts: (string | Uint8Array)[]): Buffer {
  const body = Buffer.concat(parts.map((part) => (typeof part === 'string' ? hex(part) : part)));
  if (body.length > 127) throw new Error('The frame is too long for one byte of length');
  return Buffer.concat([Buffer.from([firstByte, body.length]), body]);
}

/** Length of the first frame, or 0 when it is not whole. */
function wholeFrame(bytes: Buffer): number {
  let length = 0;
  for (let at = 1; at < Math.min(bytes.length, 5); at++) {
    length += (bytes[at] & 0x7f) * 128 ** (at - 1);
    if (bytes[at] < 0x80) return bytes.length >= at + 1 + length ? at + 1 + length : 0;
  }
  return 0;
}

function decodeFrame(frame: Buffer, level: Level): AnyPacket {
  const found: AnyPacket[] = [];
  const reader = parser({ protocolVersion: level });
  reader.on('packet', (packet) => found.push(packet as unknown as AnyPacket));
  reader.on('error', (error: Error) => {
    throw error;
  });
  reader.parse(frame);
  return found[0] as AnyPacket;
}
