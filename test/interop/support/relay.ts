/**
 * A TCP relay in front of the broker for one client whose library cannot be told to misbehave: it cuts the connection, lets both sides
 * wait for each other, or leaves out acknowledgements. Without the latter the bytes may be of any transport. Thread of the test.
 */
import { once } from 'node:events';
import net, { type AddressInfo, type Socket } from 'node:net';

const puback = 4;
const pubcomp = 7;

export class Relay {
  readonly port: number;
  /** Resolves when an acknowledgement was left out; at once when none is to be. */
  readonly leftOut: Promise<void>;
  private markLeftOut!: () => void;
  private readonly server: net.Server;
  private readonly sockets: Socket[] = [];
  private isSilent = false;

  private constructor(server: net.Server, acks: boolean) {
    this.server = server;
    this.leftOut = new Promise((resolve) => {
      this.markLeftOut = resolve;
      if (acks) resolve();
    });
    this.port = (server.address() as AddressInfo).port;
  }

  /** With `acks` false PUBACK and PUBCOMP of the client do not reach the broker; the client must speak MQTT over TCP then. */
  static async open(brokerPort: number, acks: boolean): Promise<Relay> {
    const server = net.createServer((client) => relay.take(client, brokerPort, acks));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const relay = new Relay(server, acks);
    return relay;
  }

  private take(client: Socket, brokerPort: number, acks: boolean): void {
    const upstream = net.connect({ port: brokerPort, host: '127.0.0.1', noDelay: true });
    client.setNoDelay();
    this.sockets.push(client, upstream);
    const filter = acks ? null : new AcknowledgementFilter(this.markLeftOut);
    client.on('data', (chunk: Buffer) => upstream.write(filter === null ? chunk : filter.take(chunk)));
    upstream.on('data', (chunk: Buffer) => client.write(chunk));
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      // What it means that a side has ended is for the other side to say.
      from.on('error', () => undefined);
      from.on('end', () => to.end());
      from.on('close', () => to.destroySoon());
    }
    if (this.isSilent) this.silence();
  }

  /** Both sides lose the connection, without a word of the protocol. */
  cut(): void {
    for (const socket of this.sockets) socket.destroy();
  }

  /** From now on nothing is read from either side; the connections stay. */
  silence(): void {
    this.isSilent = true;
    for (const socket of this.sockets) socket.pause();
  }

  close(): void {
    this.cut();
    this.server.close();
  }
}

/** Cuts the client's bytes into packets and leaves some out. */
class AcknowledgementFilter {
  private rest: Buffer = Buffer.alloc(0);
  private readonly onLeftOut: () => void;

  constructor(onLeftOut: () => void) {
    this.onLeftOut = onLeftOut;
  }

  take(chunk: Buffer): Buffer {
    this.rest = this.rest.length === 0 ? chunk : Buffer.concat([this.rest, chunk]);
    const kept: Buffer[] = [];
    for (let end = packetEnd(this.rest); end > 0 && end <= this.rest.length; end = packetEnd(this.rest)) {
      const packet = this.rest.subarray(0, end);
      this.rest = this.rest.subarray(end);
      const type = (packet[0] ?? 0) >> 4;
      if (type === puback || type === pubcomp) this.onLeftOut();
      else kept.push(packet);
    }
    return Buffer.concat(kept);
  }
}

/** Offset after the first packet, 0 when its length is not there yet. */
function packetEnd(bytes: Buffer): number {
  let length = 0;
  for (let at = 1; at < Math.min(bytes.length, 5); at++) {
    const byte = bytes[at] ?? 0;
    length += (byte & 0x7f) * 128 ** (at - 1);
    if (byte < 0x80) return at + 1 + length;
  }
  return 0;
}
