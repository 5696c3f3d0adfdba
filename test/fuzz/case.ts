/** What a fuzz case is: a kind with a name, that plays with the broker on connections of its own. */

import { type ConnectOptions, connectPacket, type Level } from './packets.ts';
import { Random } from './random.ts';
import { type Chunking, chunkings, RawClient, within } from './raw-client.ts';

/** How long the broker waits for a CONNECT, and one that came for its session. */
export const handshakeTimeoutMs = 3_000;

/** How cases reach the broker: WebSocket by `ws`, by uWebSockets.js. */
export type FuzzTransport = 'tcp' | 'ws' | 'uws';

export interface FuzzCase {
  readonly kind: string;
  /** Cases with a larger weight come more often. */
  readonly weight: number;
  run(context: CaseContext): Promise<void>;
}

export interface FuzzTarget {
  readonly port: number;
  readonly transport: FuzzTransport;
}

export class CaseContext {
  readonly random: Random;
  readonly level: Level;
  readonly chunking: Chunking;
  /** Number of the case in its kind, for those that walk through a table. */
  readonly round: number;
  readonly transport: FuzzTransport;
  private readonly port: number;
  private readonly clients: RawClient[] = [];
  /** Says that the broker did wrong. */
  readonly fail: (what: string) => void;

  constructor(random: Random, target: FuzzTarget, round: number, fail: (what: string) => void) {
    this.random = random;
    this.port = target.port;
    this.transport = target.transport;
    this.round = round;
    this.fail = fail;
    this.level = random.pick([3, 4, 4, 5, 5, 5] as const);
    this.chunking = random.pick(chunkings);
  }

  async connect(reads = true): Promise<RawClient> {
    const framing = this.transport === 'tcp' ? null : new Random(this.random.below(0x7fff_ffff));
    const client = await RawClient.connect(this.port, reads, framing);
    this.clients.push(client);
    return client;
  }

  /** A bare TCP connection, whatever the transport is: for cases that break what is below MQTT. */
  async connectBare(reads = true): Promise<RawClient> {
    const client = await RawClient.connect(this.port, reads);
    this.clients.push(client);
    return client;
  }

  /** A connection whose CONNECT was answered; it may have been refused. */
  async connectClient(level: Level, options: ConnectOptions = {}): Promise<RawClient> {
    const client = await this.connect();
    client.send(connectPacket(this.random, level, options));
    await client.waitForBytes(1, 1_000);
    return client;
  }

  async write(client: RawClient, packets: readonly Buffer[]): Promise<void> {
    await client.write(this.random, packets, this.chunking);
  }

  /** Gives the broker a moment, so that what was sent is looked at before the connection ends. */
  async settle(client: RawClient): Promise<void> {
    if (!this.random.oneIn(4)) await client.waitForBytes(client.receivedBytes + 1, this.random.pick([1, 5, 20, 60]));
  }

  /** Ends what the case left open, in one of the ways in which clients end. */
  async leave(): Promise<void> {
    for (const client of this.clients) {
      if (client.isClosed) continue;
      const how = this.random.below(3);
      if (how === 2) client.destroy();
      else client.end(how === 1 ? 'end' : 'reset');
    }
    // An orderly end may take the broker a while; the next case need not wait for it.
    await within(Promise.all(this.clients.map((client) => client.waitForClose(50))), 50);
    for (const client of this.clients) {
      client.destroy();
      if (client.problem !== null) this.fail(`the broker sent a wrong frame: ${client.problem}`);
    }
  }
}
