/** A client over a real socket that does what the test says and nothing by itself; `mqtt-packet` reads and writes. */
import { once } from 'node:events';
import net, { type Socket } from 'node:net';
import { generate, type Packet, parser } from 'mqtt-packet';
import type { AnyPacket, Level } from './mqtt-host.ts';

export interface WireOptions {
  readonly clientId: string;
  readonly level?: Level;
  readonly clean?: boolean;
  readonly will?: Record<string, unknown>;
  readonly properties?: Record<string, unknown>;
  /** Called for each packet; without it they are kept for `next`. */
  readonly onPacket?: (packet: AnyPacket, client: WireClient) => void;
}

export class WireClient {
  sessionPresent = false;
  readonly socket: Socket;
  readonly level: Level;
  private readonly packets: AnyPacket[] = [];
  private waiting: (() => void) | null = null;

  private constructor(socket: Socket, options: WireOptions) {
    this.socket = socket;
    this.level = options.level ?? 4;
    const reader = parser({ protocolVersion: this.level });
    reader.on('packet', (packet) => {
      const any = packet as unknown as AnyPacket;
      if (options.onPacket !== undefined && any.cmd !== 'connack') options.onPacket(any, this);
      else this.packets.push(any);
      this.waiting?.();
    });
    socket.on('data', (chunk: Buffer) => reader.parse(chunk));
    socket.on('error', () => undefined);
    socket.on('close', () => this.waiting?.());
  }

  static async connect(port: number, options: WireOptions): Promise<WireClient> {
    const socket = net.connect({ port, host: '127.0.0.1', noDelay: true });
    await once(socket, 'connect');
    const client = new WireClient(socket, options);
    const { clientId, clean = true, level = 4, will, properties } = options;
    const packet = { cmd: 'connect', protocolId: 'MQTT', protocolVersion: level, clientId, clean, keepalive: 0 };
    client.send({ ...packet, ...(will && { will }), ...(properties && { properties }) });
    const connack = await client.next('connack');
    if ((connack.returnCode ?? connack.reasonCode) !== 0) throw new Error(`Refused: ${JSON.stringify(connack)}`);
    client.sessionPresent = connack.sessionPresent === true;
    return client;
  }

  send(packet: AnyPacket): void {
    this.socket.write(generate(packet as unknown as Packet, { protocolVersion: this.level }));
  }

  /** The next packet that is kept, which must be of this kind. */
  async next(cmd: string): Promise<AnyPacket> {
    while (this.packets.length === 0) {
      if (this.socket.closed) throw new Error(`Closed before ${cmd}`);
      await new Promise<void>((resolve) => {
        this.waiting = resolve;
      });
    }
    const packet = this.packets.shift() as AnyPacket;
    if (packet.cmd !== cmd) throw new Error(`Expected ${cmd}, got ${JSON.stringify(packet)}`);
    return packet;
  }

  async subscribe(topic: string, qos = 0): Promise<void> {
    this.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic, qos }] });
    await this.next('suback');
  }

  publish(topic: string, payload: string, more: Record<string, unknown> = {}): void {
    this.send({ cmd: 'publish', topic, payload, qos: 0, retain: false, dup: false, ...more });
  }

  async end(): Promise<void> {
    if (this.socket.closed) return;
    this.socket.end(generate({ cmd: 'disconnect' } as Packet, { protocolVersion: this.level }));
    await once(this.socket, 'close');
  }

  async cut(): Promise<void> {
    this.socket.destroy();
    if (!this.socket.closed) await once(this.socket, 'close');
  }
}
