/** `ringmq sub`: subscribes and prints with mosquitto_sub's flags. Main thread of the command's process; called by `cli/main.ts`. */
import type { IPublishPacket, MqttClient } from 'mqtt';
import { describeOptions, type OptionSpec, type ParsedArguments, parseArguments } from '../arguments.ts';
import { connectClient, endClient, toCliError } from '../client/connection.ts';
import { compileFormat, formatPlain, type MessageFormatter } from '../client/format.ts';
import { type ClientSettings, connectionOptions, readClientSettings, readQos } from '../client/options.ts';
import { matchesFilter } from '../client/topic-filter.ts';
import type { Command } from '../command.ts';
import { CliError, EXIT_FAILED, EXIT_OK, EXIT_TIMEOUT, UsageError } from '../exit-codes.ts';
import type { CliIo } from '../io.ts';

const options: readonly OptionSpec[] = [
  { long: 'topic', short: 't', value: 'FILTER', help: 'topic filter; may be repeated' },
  { long: 'qos', short: 'q', value: 'QOS', help: 'highest quality of service (0)' },
  { long: 'count', short: 'C', value: 'COUNT', help: 'end after COUNT messages' },
  { long: 'timeout', short: 'W', value: 'SECONDS', help: 'end after SECONDS with status 27' },
  { long: 'format', short: 'F', value: 'FORMAT', help: 'output format: %t topic, %p payload, %j JSON, …' },
  { long: 'pretty', help: 'indent the JSON of %j' },
  { long: 'verbose', short: 'v', help: 'print the topic before the payload' },
  { long: 'no-eol', short: 'N', help: 'no end of line after the payload' },
  { long: 'no-retained', short: 'R', help: 'do not print retained messages' },
  {
    long: 'filter-out',
    short: 'T',
    value: 'FILTER',

    help: 'do not print what matches; may be repeated',
  },
  {
    long: 'unsubscribe',
    short: 'U',
    value: 'FILTER',

    help: 'unsubscribe from it first; may be repeated',
  },
  { long: 'retained-only', help: 'print retained messages and end at the first other one' },
  { long: 'retain-as-published', help: 'MQTT 5: keep the retain flag as it was published' },
  { long: 'remove-retained', help: 'delete the retained messages that come' },
  { long: 'exit-after-subscribe', short: 'E', help: 'end when the broker has confirmed the subscriptions' },
  ...connectionOptions,
];

export const sub: Command = {
  summary: 'subscribe and print messages',
  help: () => `Usage: ringmq sub -t FILTER [-t FILTER ...] [OPTIONS]\n\n${describeOptions(options)}\n`,
  run,
};

interface SubscribeSettings {
  readonly filters: readonly string[];
  readonly unsubscribe: readonly string[];
  readonly filtersOut: readonly string[];
  readonly qos: 0 | 1 | 2;
  /** 0 for no end. */
  readonly count: number;
  /** 0 for no end. */
  readonly timeoutMs: number;
  readonly skipsRetained: boolean;
  readonly retainedOnly: boolean;
  readonly retainAsPublished: boolean;
  readonly removesRetained: boolean;
  readonly endsAfterSubscribe: boolean;
  readonly format: MessageFormatter;
}

async function run(argv: readonly string[], io: CliIo): Promise<number> {
  const parsed = parseArguments(argv, options);
  const settings = readClientSettings(parsed, 'sub');
  const wanted = readSubscribeSettings(parsed, settings);
  const listener = new Listener(settings, wanted, io);
  const removeStop = io.onStop(() => listener.finish(EXIT_OK));
  try {
    return await listener.run();
  } finally {
    removeStop();
  }
}

function readSubscribeSettings(parsed: ParsedArguments, settings: ClientSettings): SubscribeSettings {
  const filters = parsed.texts('topic');
  if (settings.urlTopic !== undefined) filters.push(settings.urlTopic);
  const unsubscribe = parsed.texts('unsubscribe');
  if (filters.length === 0 && unsubscribe.length === 0)
    throw new UsageError('Cannot subscribe: expected a topic filter (-t)');
  if (parsed.has('retained-only') && parsed.has('no-retained'))
    throw new UsageError('Cannot use -R and --retained-only together');
  if (parsed.has('retain-as-published') && !settings.isVersion5) {
    throw new UsageError('Cannot use --retain-as-published: expected -V mqttv5');
  }
  const endOfLine = parsed.has('no-eol') ? '' : '\n';
  const format = parsed.text('format');
  return {
    filters,
    unsubscribe,
    filtersOut: parsed.texts('filter-out'),
    qos: readQos(parsed, 'qos'),
    count: parsed.integer('count', 0, 1),
    timeoutMs: parsed.number('timeout', 0, 0.001, 2_000_000) * 1000,
    skipsRetained: parsed.has('no-retained'),
    retainedOnly: parsed.has('retained-only'),
    retainAsPublished: parsed.has('retain-as-published'),
    removesRetained: parsed.has('remove-retained'),
    endsAfterSubscribe: parsed.has('exit-after-subscribe'),
    format:
      format === undefined
        ? formatPlain(parsed.has('verbose'), endOfLine)
        : compileFormat(format, endOfLine, parsed.has('pretty')),
  };
}

/** One run of `sub`: waits for the first of end by count, time-out, signal and failure. */
class Listener {
  private readonly settings: ClientSettings;
  private readonly wanted: SubscribeSettings;
  private readonly io: CliIo;
  private readonly done = Promise.withResolvers<number>();
  private client: MqttClient | null = null;
  private isFinished = false;
  private printed = 0;

  constructor(settings: ClientSettings, wanted: SubscribeSettings, io: CliIo) {
    this.settings = settings;
    this.wanted = wanted;
    this.io = io;
  }

  async run(): Promise<number> {
    const timer = this.wanted.timeoutMs === 0 ? undefined : setTimeout(() => this.timeOut(), this.wanted.timeoutMs);
    // A time-out or a signal must also end an attempt to connect.
    this.start().catch((error: unknown) => this.done.reject(error));
    try {
      return await this.done.promise;
    } finally {
      clearTimeout(timer);
      if (this.client !== null) await endClient(this.client, this.settings);
    }
  }

  finish(exitCode: number): void {
    this.isFinished = true;
    this.done.resolve(exitCode);
  }

  private async start(): Promise<void> {
    const { client } = await connectClient(this.settings, this.io, (packet) => this.onMessage(packet));
    this.client = client;
    if (this.isFinished) return endClient(client, this.settings);
    // Connected once: from here on a lost connection is made again, as mosquitto_sub does.
    client.options.reconnectPeriod = 1000;
    client.on('error', (error) => this.done.reject(toCliError(error, this.settings.address)));
    client.on('offline', () => this.warn('connection lost, connecting again'));
    await this.subscribe(client);
    if (this.wanted.endsAfterSubscribe) this.finish(EXIT_OK);
  }

  private async subscribe(client: MqttClient): Promise<void> {
    const { wanted, settings } = this;
    if (wanted.unsubscribe.length > 0) {
      const properties = settings.properties.unsubscribe;
      await client.unsubscribeAsync([...wanted.unsubscribe], properties === undefined ? {} : { properties });
    }
    if (wanted.filters.length === 0) return this.finish(EXIT_OK);
    const { subscribe } = settings.properties;
    const refused = await new Promise<string[]>((resolve, reject) => {
      const request = {
        qos: wanted.qos,
        rap: wanted.retainAsPublished,
        ...(subscribe === undefined ? {} : { properties: subscribe }),
      };
      client.subscribe([...wanted.filters], request, (error, _granted, suback) => {
        // MQTT.js makes an error of a refusal; SUBACK tells which filters it was.
        if (suback === undefined) reject(new CliError(`Cannot subscribe: ${error?.message ?? 'no answer'}`));
        else resolve(wanted.filters.filter((_filter, i) => Number(suback.granted[i] ?? 0x80) >= 0x80));
      });
    });
    for (const filter of refused) this.warn(`Cannot subscribe to "${filter}": refused by the broker`);
    if (refused.length === wanted.filters.length)
      throw new CliError('Cannot subscribe: all filters were refused', EXIT_FAILED);
  }

  private onMessage(packet: IPublishPacket): void {
    const { wanted } = this;
    if (this.isFinished) return;
    if (wanted.retainedOnly && !packet.retain) {
      this.finish(EXIT_OK);
      return;
    }
    if (wanted.skipsRetained && packet.retain) return;
    if (wanted.filtersOut.some((filter) => matchesFilter(filter, packet.topic))) return;
    if (wanted.removesRetained && packet.retain) this.client?.publish(packet.topic, '', { qos: 1, retain: true });
    this.io.out(wanted.format(packet, new Date()));
    if (++this.printed === wanted.count) this.finish(EXIT_OK);
  }

  private timeOut(): void {
    this.warn('Timed out');
    this.finish(EXIT_TIMEOUT);
  }

  private warn(text: string): void {
    if (!this.settings.isQuiet) this.io.err(`ringmq: ${text}\n`);
  }
}
