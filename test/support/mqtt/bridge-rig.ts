/** Brokers with bridges between them, and clients that note what they get. Thread of the test. */
import mqtt, { type IClientOptions, type IClientPublishOptions, type MqttClient } from 'mqtt';
import { BrokerProcess } from '../broker-process.ts';

export interface Noted {
  readonly topic: string;
  readonly text: string;
  readonly qos: number;
  readonly retain: boolean;
  readonly dup: boolean;
  readonly via: readonly string[];
}

/** Longest wait for what must come; only a failing test waits that long. */
const waitLimitMs = 15_000;

/** Polls until `isTrue` answers true. */
export async function eventually(what: string, isTrue: () => boolean | Promise<boolean>): Promise<void> {
  const limit = performance.now() + waitLimitMs;
  while (!(await isTrue())) {
    if (performance.now() > limit) throw new Error(`This never came true: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A client of MQTT.js on a broker. */
export class NotingClient {
  readonly client: MqttClient;
  readonly noted: Noted[] = [];
  /** Texts of messages whose publication was acknowledged. */
  readonly acknowledged = new Set<string>();

  private constructor(client: MqttClient) {
    this.client = client;
    client.on('error', () => undefined);
    client.on('message', (topic, payload, { qos, retain, dup, properties }) => {
      const given = properties?.userProperties?.['ringmq-via'] ?? [];
      const via = typeof given === 'string' ? [given] : given;
      this.noted.push({ topic, text: payload.toString(), qos, retain, dup, via });
    });
  }

  static async connect(port: number, options: IClientOptions = {}): Promise<NotingClient> {
    const given: IClientOptions = { host: '127.0.0.1', port, protocolVersion: 5, reconnectPeriod: 0, ...options };
    return new NotingClient(await mqtt.connectAsync(given));
  }

  async subscribe(filter: string, qos: 0 | 1 | 2 = 2): Promise<this> {
    await this.client.subscribeAsync(filter, { qos, rap: true });
    return this;
  }

  async publish(topic: string, text: string, options: IClientPublishOptions = { qos: 1 }): Promise<void> {
    await this.client.publishAsync(topic, text, options);
    this.acknowledged.add(text);
  }

  /** Publishes one after the other with some under way, until `count` are acknowledged or the connection ends. */
  async stream(topic: string, prefix: string, count: number, qos: 1 | 2): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    let next = 0;
    let left = count;
    const more = (): void => {
      if (next >= count) return;
      const text = `${prefix}-${next++}`;
      this.client.publish(topic, text, { qos }, (error) => {
        left -= 1;
        // The connection has ended.
        if (error !== null && error !== undefined) return;
        this.acknowledged.add(text);
        if (left === 0) resolve();
        else more();
      });
    };
    this.client.once('close', () => resolve());
    for (let index = 0; index < 32; index++) more();
    await promise;
  }

  texts(): string[] {
    return this.noted.map(({ text }) => text);
  }

  async received(count: number): Promise<readonly Noted[]> {
    await eventually(`${count} messages, of which there are ${this.noted.length}`, () => this.noted.length >= count);
    return this.noted;
  }

  /** Every one of `texts` came. */
  async receivedAll(texts: Iterable<string>): Promise<void> {
    const wanted = [...texts];
    await eventually('every acknowledged message', () => {
      const got = new Set(this.texts());
      return wanted.every((text) => got.has(text));
    });
  }

  end(): void {
    this.client.end(true);
  }
}

/** A broker with these bridges. */
export function startWithBridges(
  bridges: readonly object[],
  options: Parameters<typeof BrokerProcess.start>[0] = {},
): Promise<BrokerProcess> {
  return BrokerProcess.start({ ...options, settings: { 'mqtt.bridges': bridges, ...options.settings } });
}

/** Resolves when the bridge `name` of `broker` is in `state`. */
export async function bridgeIs(broker: BrokerProcess, name: string, state: string): Promise<void> {
  await eventually(`bridge ${name} is ${state}`, async () => (await bridgeOf(broker, name))?.state === state);
}

export async function bridgeOf(broker: BrokerProcess, name: string): Promise<Record<string, unknown> | undefined> {
  const response = await fetch(`http://127.0.0.1:${broker.port('http')}/api/v1/bridges`);
  const { bridges } = (await response.json()) as { bridges: Record<string, unknown>[] };
  return bridges.find((each) => each.name === name);
}
