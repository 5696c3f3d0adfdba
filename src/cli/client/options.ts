/** Flags that `pub` and `sub` share, named as mosquitto's tools name them, and what they mean to MQTT.js. Main thread. */
import { readFileSync } from 'node:fs';
import type { IClientOptions } from 'mqtt';
import { type OptionSpec, type ParsedArguments, toNumber } from '../arguments.ts';
import { UsageError } from '../exit-codes.ts';
import { countPropertyValues, type PropertySets, readProperties } from './properties.ts';

export const connectionOptions: readonly OptionSpec[] = [
  { long: 'host', short: 'h', value: 'HOST', help: 'broker to connect to (localhost)' },
  { long: 'port', short: 'p', value: 'PORT', help: 'its port (1883, or 8883 with TLS)' },
  { long: 'url', short: 'L', value: 'URL', help: 'mqtt(s)://[user[:password]@]host[:port]/topic' },
  { long: 'unix', value: 'PATH', help: 'connect through a Unix domain socket' },
  { long: 'id', short: 'i', value: 'ID', help: 'client id' },
  { long: 'id-prefix', short: 'I', value: 'PREFIX', help: 'client id: PREFIX with the process id after it' },
  { long: 'username', short: 'u', value: 'NAME', help: 'user name' },
  { long: 'pw', short: 'P', value: 'PASSWORD', help: 'password' },
  {
    long: 'protocol-version',
    short: 'V',
    value: 'VERSION',
    help: 'mqttv31, mqttv311 (default), mqttv5; or 31, 311, 5',
  },
  { long: 'keepalive', short: 'k', value: 'SECONDS', help: 'keep-alive (60)' },
  { long: 'disable-clean-session', short: 'c', help: 'keep the session of this client id (needs -i)' },
  {
    long: 'session-expiry-interval',
    short: 'x',
    value: 'SECONDS',
    help: 'MQTT 5: life of the session after the connection; -1 for ever',
  },
  {
    long: 'property',
    short: 'D',
    value: 'COMMAND NAME VALUE',

    countValues: countPropertyValues,
    help: 'MQTT 5 property, such as -D publish user-property a b',
  },
  { long: 'will-topic', value: 'TOPIC', help: 'topic of the will' },
  { long: 'will-payload', value: 'TEXT', help: 'payload of the will (empty)' },
  { long: 'will-qos', value: 'QOS', help: 'QoS of the will (0)' },
  { long: 'will-retain', help: 'the will is retained' },
  { long: 'cafile', value: 'FILE', help: 'trusted certificates; turns TLS on' },
  { long: 'cert', value: 'FILE', help: 'client certificate' },
  { long: 'key', value: 'FILE', help: 'private key of the certificate' },
  { long: 'insecure', help: 'do not check who the server is' },
  { long: 'tls-alpn', value: 'PROTOCOL', help: 'protocol name to offer in ALPN; turns TLS on' },
  { long: 'tls-use-os-certs', help: 'TLS with the certificates that Node trusts' },
  { long: 'max-inflight', short: 'M', value: 'COUNT', help: 'unacknowledged QoS 1 and 2 messages (20)' },
  { long: 'nodelay', help: 'accepted for mosquitto users: always on' },
  { long: 'debug', short: 'd', help: 'show packets on standard error' },
  { long: 'quiet', help: 'no error messages' },
  { long: 'help', help: 'this text' },
];

export interface ClientSettings {
  readonly mqtt: IClientOptions;
  readonly properties: PropertySets;
  readonly isVersion5: boolean;
  /** From `-L`, without the leading slash. */
  readonly urlTopic: string | undefined;
  readonly maxInFlight: number;
  readonly isDebug: boolean;
  readonly isQuiet: boolean;
  /** For messages: where the connection goes. */
  readonly address: string;
}

const versions = new Map<string, 3 | 4 | 5>([
  ['mqttv31', 3],
  ['31', 3],
  ['3.1', 3],
  ['mqttv311', 4],
  ['311', 4],
  ['3.1.1', 4],
  ['mqttv5', 5],
  ['5', 5],
]);

const NEVER_EXPIRES = 0xffffffff;

/** Turns parsed flags into settings of one client; throws `UsageError` for what contradicts itself. */
export function readClientSettings(parsed: ParsedArguments, verb: string): ClientSettings {
  if (parsed.positionals.length > 0)
    throw new UsageError(`Cannot use "${parsed.positionals[0]}": expected options only`);
  const version = versions.get((parsed.text('protocol-version') ?? 'mqttv311').toLowerCase());
  if (version === undefined) {
    throw new UsageError(`Cannot use -V "${parsed.text('protocol-version')}": expected mqttv31, mqttv311 or mqttv5`);
  }
  if (version !== 5 && (parsed.has('property') || parsed.has('session-expiry-interval'))) {
    throw new UsageError('Cannot use -D or -x with this protocol version: expected -V mqttv5');
  }
  const properties = readProperties(parsed.tuples('property'));
  const target = readTarget(parsed);
  const mqtt: IClientOptions = {
    ...target.mqtt,
    ...readIdentity(parsed, verb),
    ...readTls(parsed),
    protocolVersion: version,
    protocolId: version === 3 ? 'MQIsdp' : 'MQTT',
    keepalive: parsed.integer('keepalive', 60, 0, 65535),
    reconnectPeriod: 0,
    // Commands end with an error themselves; a queue without a connection would only hide it.
    queueQoSZero: true,
    ...readWill(parsed, properties),
  };
  if (version === 5) mqtt.properties = { ...properties.connect, ...readSessionExpiry(parsed) };
  return {
    mqtt,
    properties,
    isVersion5: version === 5,
    urlTopic: target.topic,
    maxInFlight: parsed.integer('max-inflight', 20, 1, 65535),
    isDebug: parsed.has('debug'),
    isQuiet: parsed.has('quiet'),
    address: target.address,
  };
}

/** Reads QoS 0 to 2 of `long`. */
export function readQos(parsed: ParsedArguments, long: string): 0 | 1 | 2 {
  return parsed.integer(long, 0, 0, 2) as 0 | 1 | 2;
}

function readTarget(parsed: ParsedArguments): { mqtt: IClientOptions; topic: string | undefined; address: string } {
  const usesTls = ['cafile', 'cert', 'tls-alpn', 'tls-use-os-certs', 'insecure'].some((name) => parsed.has(name));
  const unix = parsed.text('unix');
  if (unix !== undefined) {
    return { mqtt: { protocol: 'mqtt+unix', unixSocket: true, path: unix }, topic: undefined, address: unix };
  }
  const url = parsed.text('url');
  if (url !== undefined) return readUrl(url, usesTls);
  const host = parsed.text('host') ?? 'localhost';
  const port = parsed.integer('port', usesTls ? 8883 : 1883, 1, 65535);
  return { mqtt: { protocol: usesTls ? 'mqtts' : 'mqtt', host, port }, topic: undefined, address: `${host}:${port}` };
}

function readUrl(text: string, usesTls: boolean): { mqtt: IClientOptions; topic: string | undefined; address: string } {
  if (!URL.canParse(text)) throw new UsageError(`Cannot use -L "${text}": expected mqtt(s)://host[:port]/topic`);
  const url = new URL(text);
  if (url.protocol !== 'mqtt:' && url.protocol !== 'mqtts:') {
    throw new UsageError(`Cannot use -L "${text}": expected mqtt:// or mqtts://`);
  }
  const isTls = usesTls || url.protocol === 'mqtts:';
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const port = url.port === '' ? (isTls ? 8883 : 1883) : Number(url.port);
  const mqtt: IClientOptions = { protocol: isTls ? 'mqtts' : 'mqtt', host, port };
  if (url.username !== '') mqtt.username = decodeURIComponent(url.username);
  if (url.password !== '') mqtt.password = decodeURIComponent(url.password);
  // Taken from the text: to a URL `#` and `?` mean something else, and a lone `#` at the end is dropped.
  const topic = /^[^/]*\/\/[^/]*\/(.*)$/s.exec(text)?.[1] ?? '';
  return { mqtt, topic: topic === '' ? undefined : topic, address: `${host}:${port}` };
}

function readIdentity(parsed: ParsedArguments, verb: string): IClientOptions {
  const id = parsed.text('id');
  const prefix = parsed.text('id-prefix');
  if (id !== undefined && prefix !== undefined) throw new UsageError('Cannot use -i and -I together');
  const isKept = parsed.has('disable-clean-session');
  if (isKept && id === undefined && prefix === undefined)
    throw new UsageError('Cannot use -c: expected a client id (-i)');
  const random = Math.floor(Math.random() * 0x100000000).toString(16);
  const identity: IClientOptions = {
    clientId: id ?? (prefix === undefined ? `ringmq-${verb}-${random}` : `${prefix}${process.pid}`),
    clean: !isKept,
  };
  const username = parsed.text('username');
  const password = parsed.text('pw');
  if (username !== undefined) identity.username = username;
  if (password !== undefined) identity.password = password;
  return identity;
}

function readSessionExpiry(parsed: ParsedArguments): { sessionExpiryInterval?: number } {
  const text = parsed.text('session-expiry-interval');
  if (text === undefined) return parsed.has('disable-clean-session') ? { sessionExpiryInterval: NEVER_EXPIRES } : {};
  if (text === '∞' || text === '-1') return { sessionExpiryInterval: NEVER_EXPIRES };
  return { sessionExpiryInterval: toNumber('-x', text, 0, NEVER_EXPIRES) };
}

function readWill(parsed: ParsedArguments, properties: PropertySets): IClientOptions {
  const topic = parsed.text('will-topic');
  if (topic === undefined) {
    const orphan = ['will-payload', 'will-qos', 'will-retain'].find((name) => parsed.has(name));
    if (orphan !== undefined) throw new UsageError(`Cannot use --${orphan}: expected --will-topic with it`);
    return {};
  }
  const will: NonNullable<IClientOptions['will']> = {
    topic,
    payload: Buffer.from(parsed.text('will-payload') ?? ''),
    qos: readQos(parsed, 'will-qos'),
    retain: parsed.has('will-retain'),
  };
  if (properties.will !== undefined) will.properties = properties.will;
  return { will };
}

function readTls(parsed: ParsedArguments): IClientOptions {
  const tls: IClientOptions = {};
  const caFile = parsed.text('cafile');
  const certFile = parsed.text('cert');
  const keyFile = parsed.text('key');
  const alpn = parsed.text('tls-alpn');
  if ((certFile === undefined) !== (keyFile === undefined))
    throw new UsageError('Cannot use --cert or --key alone: expected both');
  if (caFile !== undefined) tls.ca = readFile(caFile);
  if (certFile !== undefined) tls.cert = readFile(certFile);
  if (keyFile !== undefined) tls.key = readFile(keyFile);
  if (alpn !== undefined) tls.ALPNProtocols = [alpn];
  if (parsed.has('insecure')) tls.rejectUnauthorized = false;
  return tls;
}

function readFile(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new UsageError(`Cannot read "${path}": ${(error as Error).message}`);
  }
}
