/** What `sub` prints for a message: payload, `-v`, or a `-F` format with mosquitto's sequences. Pure but for the clock given. */
import type { IPublishPacket } from 'mqtt';
import { UsageError } from '../exit-codes.ts';

/** Prints one message; `receivedAt` is when it arrived. Returns bytes, since payloads need not be text. */
export type MessageFormatter = (packet: IPublishPacket, receivedAt: Date) => Buffer;

type Field = (packet: IPublishPacket, receivedAt: Date, isPretty: boolean) => string | Buffer;

const escapes = new Map([
  ['\\', '\\'],
  ['0', '\0'],
  ['a', '\x07'],
  ['e', '\x1b'],
  ['n', '\n'],
  ['r', '\r'],
  ['t', '\t'],
  ['v', '\v'],
]);

const fields = new Map<string, Field>([
  ['%', () => '%'],
  ['A', (packet) => text(packet.properties?.topicAlias)],
  ['C', (packet) => text(packet.properties?.contentType)],
  ['D', (packet) => packet.properties?.correlationData ?? ''],
  ['E', (packet) => text(packet.properties?.messageExpiryInterval)],
  [
    'F',
    (packet) =>
      packet.properties?.payloadFormatIndicator === undefined
        ? ''
        : text(Number(packet.properties.payloadFormatIndicator)),
  ],
  ['I', (_packet, at) => isoTime(at, false)],
  ['j', (packet, at, isPretty) => jsonMessage(packet, at, false, isPretty)],
  ['J', (packet, at, isPretty) => jsonMessage(packet, at, true, isPretty)],
  ['l', (packet) => text(bytesOf(packet).length)],
  ['m', (packet) => text(packet.messageId ?? 0)],
  [
    'P',
    (packet) =>
      userProperties(packet)
        .map(([name, value]) => `${name}:${value}`)
        .join(' '),
  ],
  ['p', (packet) => bytesOf(packet)],
  ['q', (packet) => text(packet.qos)],
  ['R', (packet) => text(packet.properties?.responseTopic)],
  ['r', (packet) => (packet.retain ? '1' : '0')],
  ['S', (packet) => text(packet.properties?.subscriptionIdentifier)],
  ['t', (packet) => packet.topic],
  ['U', (_packet, at) => `${Math.floor(at.getTime() / 1000)}.${String(at.getMilliseconds()).padStart(3, '0')}000000`],
  ['x', (packet) => bytesOf(packet).toString('hex')],
  ['X', (packet) => bytesOf(packet).toString('hex').toUpperCase()],
]);

/** `@` sequences: the strftime letters that people use in logs. Local time, as mosquitto_sub prints it. */
const times = new Map<string, (at: Date) => string>([
  ['@', () => '@'],
  ['Y', (at) => text(at.getFullYear())],
  ['m', (at) => two(at.getMonth() + 1)],
  ['d', (at) => two(at.getDate())],
  ['H', (at) => two(at.getHours())],
  ['M', (at) => two(at.getMinutes())],
  ['S', (at) => two(at.getSeconds())],
  ['N', (at) => `${String(at.getMilliseconds()).padStart(3, '0')}000000`],
  ['s', (at) => text(Math.floor(at.getTime() / 1000))],
  ['F', (at) => isoTime(at, true).slice(0, 10)],
  ['T', (at) => isoTime(at, true).slice(11, 19)],
  ['z', (at) => zone(at)],
]);

/** Zero padding, left alignment, minimum width, maximum width. */
const sequence = /%([0-]*)(\d*)(?:\.(\d+))?([A-Za-z%])|@(.)|\\(.)/gs;

/** The payload alone, or `topic payload`. */
export function formatPlain(withTopic: boolean, endOfLine: string): MessageFormatter {
  return (packet) => {
    const payload = bytesOf(packet);
    const head = withTopic ? `${packet.topic} ${payload.length === 0 ? '(null)' : ''}` : '';
    return Buffer.concat([Buffer.from(head), payload, Buffer.from(endOfLine)]);
  };
}

/** Compiles a `-F` format; throws `UsageError` for a sequence that it does not know. */
export function compileFormat(format: string, endOfLine: string, isPretty: boolean): MessageFormatter {
  const parts: Field[] = [];
  let position = 0;
  for (const match of format.matchAll(sequence)) {
    const literal = format.slice(position, match.index);
    if (literal !== '') parts.push(() => literal);
    parts.push(compileSequence(match));
    position = match.index + match[0].length;
  }
  const rest = format.slice(position);
  if (/%$/.test(rest)) throw new UsageError('Cannot use -F: incomplete sequence at its end');
  parts.push(() => rest + endOfLine);
  return (packet, at) =>
    Buffer.concat(
      parts.map((part) => {
        const value = part(packet, at, isPretty);
        return typeof value === 'string' ? Buffer.from(value) : value;
      }),
    );
}

function compileSequence(match: RegExpMatchArray): Field {
  const [whole, flags, width, precision, letter, timeLetter, escaped] = match;
  if (escaped !== undefined) {
    const literal = escapes.get(escaped);
    if (literal === undefined) throw new UsageError(`Cannot use -F sequence "${whole}": unknown`);
    return () => literal;
  }
  if (timeLetter !== undefined) {
    const time = times.get(timeLetter);
    if (time === undefined) throw new UsageError(`Cannot use -F sequence "${whole}": unknown`);
    return (_packet, at) => time(at);
  }
  const field = fields.get(letter);
  if (field === undefined) throw new UsageError(`Cannot use -F sequence "${whole}": unknown`);
  if (flags === '' && width === '' && precision === undefined) return field;
  return (packet, at, isPretty) => {
    const value = field(packet, at, isPretty);
    const cut = precision === undefined ? value.toString() : value.toString().slice(0, Number(precision));
    if (flags.includes('-')) return cut.padEnd(Number(width));
    return cut.padStart(Number(width), flags.includes('0') ? '0' : ' ');
  };
}

/** The JSON of `%j` (payload as text) and `%J` (payload that is JSON itself). */
function jsonMessage(packet: IPublishPacket, at: Date, isJsonPayload: boolean, isPretty: boolean): string {
  const payload = bytesOf(packet);
  const message = new Map<string, unknown>([
    ['tst', isoTime(at, true)],
    ['topic', packet.topic],
    ['qos', packet.qos],
    ['retain', packet.retain ? 1 : 0],
    ['payloadlen', payload.length],
  ]);
  if (packet.qos > 0) message.set('mid', packet.messageId);
  const properties = jsonProperties(packet);
  if (properties.length > 0) message.set('properties', Object.fromEntries(properties));
  message.set('payload', isJsonPayload ? parsePayload(payload) : payload.length === 0 ? null : payload.toString());
  return JSON.stringify(Object.fromEntries(message), undefined, isPretty ? 2 : undefined);
}

function jsonProperties(packet: IPublishPacket): [string, unknown][] {
  const properties = packet.properties;
  if (properties === undefined) return [];
  const pairs = userProperties(packet);
  const known: [string, unknown][] = [
    ['content-type', properties.contentType],
    ['correlation-data', properties.correlationData?.toString('hex').toUpperCase()],
    ['message-expiry-interval', properties.messageExpiryInterval],
    [
      'payload-format-indicator',
      properties.payloadFormatIndicator === undefined ? undefined : Number(properties.payloadFormatIndicator),
    ],
    ['response-topic', properties.responseTopic],
    ['subscription-identifier', properties.subscriptionIdentifier],
    ['topic-alias', properties.topicAlias],
    ['user-properties', pairs.length === 0 ? undefined : pairs.map(([name, value]) => ({ [name]: value }))],
  ];
  return known.filter(([, value]) => value !== undefined);
}

function userProperties(packet: IPublishPacket): [string, string][] {
  const pairs = packet.properties?.userProperties;
  if (pairs === undefined) return [];
  return Object.entries(pairs).flatMap(([name, value]) => [value].flat().map((one): [string, string] => [name, one]));
}

function parsePayload(payload: Buffer): unknown {
  try {
    return JSON.parse(payload.toString());
  } catch {
    // `%J` of something that is not JSON shows the text, so that one bad message does not end a long run.
    return payload.toString();
  }
}

function bytesOf(packet: IPublishPacket): Buffer {
  return typeof packet.payload === 'string' ? Buffer.from(packet.payload) : packet.payload;
}

function text(value: unknown): string {
  return value === undefined ? '' : String(value);
}

function two(value: number): string {
  return String(value).padStart(2, '0');
}

function zone(at: Date): string {
  const minutes = -at.getTimezoneOffset();
  const size = Math.abs(minutes);
  return `${minutes < 0 ? '-' : '+'}${two(Math.floor(size / 60))}${two(size % 60)}`;
}

function isoTime(at: Date, withMicroseconds: boolean): string {
  const date = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  const fraction = withMicroseconds ? `.${String(at.getMilliseconds()).padStart(3, '0')}000` : '';
  return `${date}T${time}${fraction}${zone(at)}`;
}
