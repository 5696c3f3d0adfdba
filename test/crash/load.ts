/**
 * Load whose loss shows: numbered messages from a publisher to a subscriber, each on a worker that is known. Used by the
 * crash tests; thread of the test.
 */
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { MqttClient, type default as mqtt } from 'mqtt';
import type { BrokerProcess } from '../support/broker-process.ts';

const arrivalLimitMs = 10_000;

/** Resolves when the condition holds; rejects after a time that no healthy run needs. */
export async function until(condition: () => boolean | Promise<boolean>, limitMs = 15_000): Promise<void> {
  const end = performance.now() + limitMs;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`The condition did not hold within ${limitMs} ms: ${condition}`);
    await sleep(10);
  }
}

/** Brokers in these tests shard by address, so that a client's own address decides which worker it meets. */
export const shardedByAddress = { sharding: 'address-hash' };

/** A connected client; rejects when the broker closes the connection instead. */
export function connect(
  broker: BrokerProcess,
  localAddress: string,
  options: mqtt.IClientOptions = {},
): Promise<MqttClient> {
  const client = new MqttClient(() => net.connect({ port: broker.port(), host: broker.host, localAddress }), {
    protocolVersion: 5,
    protocolId: 'MQTT',
    reconnectPeriod: 0,
    connectTimeout: 5_000,
    ...options,
  });
  return new Promise((resolve, reject) => {
    client.once('connect', () => resolve(client));
    // Later on, too: a test that lets a worker die expects errors, and looks at who was cut by itself.
    client.on('error', reject);
    client.once('close', () => reject(new Error('The connection was closed')));
  });
}

/** For each of the two workers an address of this machine whose clients it gets. */
export async function findAddresses(broker: BrokerProcess): Promise<readonly [string, string]> {
  const found: (string | undefined)[] = [undefined, undefined];
  for (let last = 2; last < 100; last++) {
    const address = `127.0.0.${last}`;
    const client = await connect(broker, address);
    const worker = (await broker.metric('ringmq_connections_open', 'worker="0"')) === 1 ? 0 : 1;
    found[worker] ??= address;
    client.end(true);
    await until(async () => (await broker.metric('ringmq_connections_open')) === 0);
    const [first, second] = found;
    if (first !== undefined && second !== undefined) return [first, second];
  }
  throw new Error('Cannot find an address for each worker');
}

/** Numbered messages of one QoS from one client to another. */
export class Flow {
  sent = 0;
  received = 0;
  readonly faults: string[] = [];
  private running = true;
  /** Resolves when the publisher was cut. */
  private readonly gone: Promise<void>;
  private readonly loop: Promise<void>;
  private readonly publisher: MqttClient;
  private readonly subscriber: MqttClient;

  private constructor(publisher: MqttClient, subscriber: MqttClient, topic: string, qos: 0 | 1) {
    this.publisher = publisher;
    this.subscriber = subscriber;
    for (const client of [publisher, subscriber]) {
      client.on('close', () => {
        if (this.running) this.faults.push('disconnected');
      });
    }
    this.gone = new Promise((resolve) => publisher.once('close', () => resolve()));
    subscriber.on('message', (from, payload) => {
      if (from === topic) this.arrived(Number(payload.toString()));
    });
    this.loop = this.publish(topic, qos);
  }

  static async start(publisher: MqttClient, subscriber: MqttClient, topic: string, qos: 0 | 1): Promise<Flow> {
    await subscriber.subscribeAsync(topic, { qos });
    return new Flow(publisher, subscriber, topic, qos);
  }

  private async publish(topic: string, qos: 0 | 1): Promise<void> {
    while (this.running) {
      // A burst in one turn, so that several are on their way at any time.
      await sleep(2);
      const burst = Array.from({ length: 20 }, () => this.publisher.publishAsync(topic, `${this.sent++}`, { qos }));
      // A client that was cut answers nothing any more, not even with an error.
      const results = await Promise.race([Promise.allSettled(burst), this.gone]);
      if (results !== undefined && !results.some(({ status }) => status === 'rejected')) continue;
      this.faults.push('a publication failed');
      return;
    }
  }

  private arrived(number: number): void {
    if (number !== this.received) this.faults.push(`${this.received} was expected and ${number} came`);
    this.received = number + 1;
  }

  /** Stops without a look at what is lost: one of the two has been cut. */
  abandon(): void {
    this.running = false;
    this.publisher.end(true);
    this.subscriber.end(true);
  }

  /** Stops and waits for what is on its way; answers what went wrong, nothing when every message came in order. */
  async finish(): Promise<readonly string[]> {
    this.running = false;
    await this.loop;
    const limit = performance.now() + arrivalLimitMs;
    while (this.received < this.sent && this.subscriber.connected && performance.now() < limit) await sleep(10);
    if (this.received !== this.sent) this.faults.push(`${this.sent} were sent and ${this.received} arrived`);
    this.publisher.end(true);
    this.subscriber.end(true);
    return this.faults.slice(0, 5);
  }
}
