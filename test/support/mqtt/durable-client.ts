/** A broker of which several lives have one data folder, and clients of durable sessions that answer by hand. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach } from 'vitest';
import { BrokerProcess, type BrokerProcessOptions } from '../broker-process.ts';
import type { AnyPacket } from './mqtt-host.ts';
import { RawClient, type RawConnect } from './raw-client.ts';

export class DurableBroker {
  process: BrokerProcess;
  private readonly data: string;
  private readonly clients: RawClient[] = [];
  private options: BrokerProcessOptions;

  private constructor(data: string, options: BrokerProcessOptions, process: BrokerProcess) {
    this.data = data;
    this.options = options;
    this.process = process;
  }

  static async start(options: BrokerProcessOptions = {}): Promise<DurableBroker> {
    const data = mkdtempSync(join(tmpdir(), 'ringmq-durable-'));
    return new DurableBroker(data, options, await BrokerProcess.start({ ...options, data }));
  }

  async connect(options?: RawConnect): Promise<RawClient> {
    return this.keep(await RawClient.connect(this.process.port(), options));
  }

  async tryConnect(options?: RawConnect): Promise<RawClient> {
    return this.keep(await RawClient.tryConnect(this.process.port(), options));
  }

  private keep(client: RawClient): RawClient {
    this.clients.push(client);
    return client;
  }

  /** kill -9, and the next life over the same data. */
  async restart(options: BrokerProcessOptions = this.options): Promise<void> {
    await this.process.kill();
    this.options = options;
    this.process = await BrokerProcess.start({ ...options, data: this.data });
  }

  /** Ends everything. Throws when the last life logged errors. */
  async end(): Promise<void> {
    for (const { socket } of this.clients) socket.destroy();
    const errors = this.process.unexpectedErrors;
    await this.process.kill();
    rmSync(this.data, { recursive: true, force: true });
    if (errors.length > 0) throw new Error(`The broker logged errors:\n${errors.join('\n')}`);
  }
}

/** Starts brokers for a test at a time; they end behind it. */
export function useDurableBroker(): (options?: BrokerProcessOptions) => Promise<DurableBroker> {
  const started: DurableBroker[] = [];
  afterEach(async () => {
    for (const broker of started.splice(0)) await broker.end();
  });
  return async (options) => {
    const broker = await DurableBroker.start(options);
    started.push(broker);
    return broker;
  };
}

/** A session that outlives its connection. */
export function lasting(clientId: string, more: RawConnect & { readonly expiry?: number } = {}): RawConnect {
  const { expiry = 600, properties, ...others } = more;
  return { level: 5, clean: false, clientId, ...others, properties: { sessionExpiryInterval: expiry, ...properties } };
}

/** Publishes with QoS 1 or 2, and waits for the end of the exchange. */
export async function publishStored(client: RawClient, topic: string, payload: string, qos = 1): Promise<AnyPacket> {
  client.publish(topic, payload, { qos });
  if (qos === 1) return client.packet('puback');
  const pubrec = await client.packet('pubrec');
  client.send({ cmd: 'pubrel', messageId: pubrec.messageId });
  return client.packet('pubcomp');
}

export function payloadsOf(packets: readonly AnyPacket[]): string[] {
  return packets.filter(({ cmd }) => cmd === 'publish').map(({ payload }) => String(payload));
}
