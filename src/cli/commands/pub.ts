/** `ringmq pub`: publishes with mosquitto_pub's flags. Main thread of the command's process; called by `cli/main.ts`. */
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { buffer } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ErrorWithReasonCode, IClientPublishOptions, MqttClient } from 'mqtt';
import { describeOptions, type OptionSpec, type ParsedArguments, parseArguments } from '../arguments.ts';
import { connectClient, endClient } from '../client/connection.ts';
import { type ClientSettings, connectionOptions, readClientSettings, readQos } from '../client/options.ts';
import type { Command } from '../command.ts';
import { EXIT_FAILED, EXIT_OK, UsageError } from '../exit-codes.ts';
import type { CliIo } from '../io.ts';

const options: readonly OptionSpec[] = [
  { long: 'topic', short: 't', value: 'TOPIC', help: 'topic to publish to' },
  { long: 'message', short: 'm', value: 'TEXT', help: 'the payload' },
  { long: 'file', short: 'f', value: 'FILE', help: 'the payload is the content of FILE' },
  { long: 'stdin-file', short: 's', help: 'the payload is all of standard input' },
  { long: 'stdin-line', short: 'l', help: 'one message for each line of standard input' },
  { long: 'null-message', short: 'n', help: 'an empty payload' },
  { long: 'qos', short: 'q', value: 'QOS', help: 'quality of service (0)' },
  { long: 'retain', short: 'r', help: 'the broker keeps the message' },
  { long: 'repeat', value: 'COUNT', help: 'publish this many times (1)' },
  { long: 'repeat-delay', value: 'SECONDS', help: 'time between them (0)' },
  ...connectionOptions,
];

const sources = ['message', 'file', 'stdin-file', 'stdin-line', 'null-message'] as const;

export const pub: Command = {
  summary: 'publish messages',
  help: () =>
    `Usage: ringmq pub -t TOPIC {-m TEXT | -f FILE | -l | -s | -n} [OPTIONS]\n\n${describeOptions(options)}\n`,
  run,
};

async function run(argv: readonly string[], io: CliIo): Promise<number> {
  const parsed = parseArguments(argv, options);
  const settings = readClientSettings(parsed, 'pub');
  const topic = readTopic(parsed, settings);
  const source = readSource(parsed);
  const qos = readQos(parsed, 'qos');
  const repeat = parsed.integer('repeat', 1, 1);
  const delayMs = parsed.number('repeat-delay', 0) * 1000;
  // Read before connecting: a missing file must not leave a connection behind.
  const payload = source === 'stdin-line' ? undefined : await readPayload(parsed, source, io);

  const { client } = await connectClient(settings, io);
  const outbox = new Outbox(client, settings, topic, { qos, retain: parsed.has('retain') }, io);
  const removeStop = io.onStop(() => outbox.stop());
  try {
    if (payload !== undefined) await publishRepeatedly(outbox, payload, repeat, delayMs);
    else await publishLines(outbox, io);
    await outbox.drained();
  } finally {
    removeStop();
    await endClient(client, settings);
  }
  return outbox.failed === 0 ? EXIT_OK : EXIT_FAILED;
}

function readTopic(parsed: ParsedArguments, settings: ClientSettings): string {
  const topic = parsed.text('topic') ?? settings.urlTopic;
  if (topic === undefined || topic === '') throw new UsageError('Cannot publish: expected a topic (-t)');
  if (/[+#]/.test(topic)) throw new UsageError(`Cannot publish to "${topic}": a topic has no wildcards (+ or #)`);
  return topic;
}

function readSource(parsed: ParsedArguments): (typeof sources)[number] {
  const given = sources.filter((name) => parsed.has(name));
  if (given.length !== 1) throw new UsageError('Cannot publish: expected exactly one of -m, -f, -l, -s and -n');
  return given[0];
}

async function readPayload(parsed: ParsedArguments, source: (typeof sources)[number], io: CliIo): Promise<Buffer> {
  if (source === 'message') return Buffer.from(parsed.text('message') ?? '');
  if (source === 'null-message') return Buffer.alloc(0);
  if (source === 'stdin-file') return buffer(io.stdin);
  const path = parsed.text('file') ?? '';
  try {
    return readFileSync(path);
  } catch (error) {
    throw new UsageError(`Cannot read "${path}": ${(error as Error).message}`);
  }
}

async function publishRepeatedly(outbox: Outbox, payload: Buffer, repeat: number, delayMs: number): Promise<void> {
  for (let i = 0; i < repeat && !outbox.isStopped; i++) {
    if (i > 0 && delayMs > 0) await sleep(delayMs);
    await outbox.publish(payload);
  }
}

async function publishLines(outbox: Outbox, io: CliIo): Promise<void> {
  const lines = createInterface({ input: io.stdin, crlfDelay: Number.POSITIVE_INFINITY });
  outbox.onStop = () => lines.close();
  for await (const line of lines) {
    await outbox.publish(line);
    if (outbox.isStopped) break;
  }
}

/** Keeps at most `maxInFlight` messages without an answer, so that a long input does not pile up in memory. */
class Outbox {
  /** Messages that the broker refused, or whose connection broke. */
  failed = 0;
  isStopped = false;
  onStop: () => void = () => undefined;
  private inFlight = 0;
  private waiting: (() => void) | null = null;
  private readonly client: MqttClient;
  private readonly settings: ClientSettings;
  private readonly topic: string;
  private readonly publishOptions: IClientPublishOptions;
  private readonly io: CliIo;

  constructor(
    client: MqttClient,
    settings: ClientSettings,
    topic: string,
    publishOptions: IClientPublishOptions,
    io: CliIo,
  ) {
    this.client = client;
    this.settings = settings;
    this.topic = topic;
    this.io = io;
    this.publishOptions = publishOptions;
    if (settings.properties.publish !== undefined) this.publishOptions.properties = settings.properties.publish;
    client.on('error', (error) => this.warn(error.message));
    client.on('close', () => this.breakOff());
  }

  async publish(payload: Buffer | string): Promise<void> {
    while (this.inFlight >= this.settings.maxInFlight && !this.isStopped) await this.nextAnswer();
    if (this.isStopped) return;
    this.inFlight++;
    this.client.publish(this.topic, payload, this.publishOptions, (error, packet) => {
      this.inFlight--;
      const code = packet !== undefined && 'reasonCode' in packet ? (packet.reasonCode ?? 0) : 0;
      if (error) this.fail(error);
      else if (code >= 0x80) this.fail(new Error(`reason code ${code}`));
      this.wake();
    });
  }

  async drained(): Promise<void> {
    while (this.inFlight > 0 && !this.isStopped) await this.nextAnswer();
  }

  stop(): void {
    this.isStopped = true;
    this.onStop();
    this.wake();
  }

  private breakOff(): void {
    if (!this.client.disconnecting && !this.isStopped) {
      this.failed += Math.max(1, this.inFlight);
      this.warn('Cannot publish: connection lost');
    }
    this.stop();
  }

  private fail(error: Error | ErrorWithReasonCode): void {
    if (this.isStopped) return;
    this.failed++;
    this.warn(`Cannot publish to "${this.topic}": ${error.message}`);
  }

  private warn(text: string): void {
    if (!this.settings.isQuiet) this.io.err(`ringmq: ${text}\n`);
  }

  private nextAnswer(): Promise<void> {
    return new Promise((resolve) => {
      this.waiting = resolve;
    });
  }

  private wake(): void {
    this.waiting?.();
    this.waiting = null;
  }
}
