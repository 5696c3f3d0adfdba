/** MQTT 5 properties of `-D COMMAND NAME VALUE`, in the form that MQTT.js takes them. Main thread; called by `options.ts`. */
import type { IClientOptions, IClientPublishOptions, IClientSubscribeProperties } from 'mqtt';
import { nearestName, toNumber } from '../arguments.ts';
import { UsageError } from '../exit-codes.ts';

type ConnectProperties = NonNullable<IClientOptions['properties']>;
type WillProperties = NonNullable<NonNullable<IClientOptions['will']>['properties']>;
type PublishProperties = NonNullable<IClientPublishOptions['properties']>;
type SubscribeProperties = NonNullable<IClientSubscribeProperties['properties']>;

/** The properties of each packet that a command sends; absent where none was given. */
export interface PropertySets {
  connect?: ConnectProperties;
  publish?: PublishProperties;
  subscribe?: SubscribeProperties;
  unsubscribe?: SubscribeProperties;
  disconnect?: Record<string, unknown>;
  will?: WillProperties;
}

type Kind = 'number' | 'flag' | 'text' | 'binary' | 'pair';

interface PropertyRule {
  readonly key: string;
  readonly kind: Kind;
  readonly max: number;
  /** Packets that may carry it (MQTT 5, 2.2.2.2). */
  readonly commands: readonly (keyof PropertySets)[];
}

const messages = ['publish', 'will'] as const;
const everywhere = ['connect', 'publish', 'subscribe', 'unsubscribe', 'disconnect', 'will'] as const;
const U16 = 0xffff;
const U32 = 0xffffffff;

const rules = new Map<string, PropertyRule>([
  ['payload-format-indicator', { key: 'payloadFormatIndicator', kind: 'flag', max: 1, commands: messages }],
  ['message-expiry-interval', { key: 'messageExpiryInterval', kind: 'number', max: U32, commands: messages }],
  ['content-type', { key: 'contentType', kind: 'text', max: 0, commands: messages }],
  ['response-topic', { key: 'responseTopic', kind: 'text', max: 0, commands: messages }],
  ['correlation-data', { key: 'correlationData', kind: 'binary', max: 0, commands: messages }],
  ['topic-alias', { key: 'topicAlias', kind: 'number', max: U16, commands: ['publish'] }],
  ['will-delay-interval', { key: 'willDelayInterval', kind: 'number', max: U32, commands: ['will'] }],
  [
    'subscription-identifier',
    { key: 'subscriptionIdentifier', kind: 'number', max: 268435455, commands: ['subscribe'] },
  ],
  [
    'session-expiry-interval',
    { key: 'sessionExpiryInterval', kind: 'number', max: U32, commands: ['connect', 'disconnect'] },
  ],
  ['receive-maximum', { key: 'receiveMaximum', kind: 'number', max: U16, commands: ['connect'] }],
  ['maximum-packet-size', { key: 'maximumPacketSize', kind: 'number', max: U32, commands: ['connect'] }],
  ['topic-alias-maximum', { key: 'topicAliasMaximum', kind: 'number', max: U16, commands: ['connect'] }],
  ['request-problem-information', { key: 'requestProblemInformation', kind: 'flag', max: 1, commands: ['connect'] }],
  ['request-response-information', { key: 'requestResponseInformation', kind: 'flag', max: 1, commands: ['connect'] }],
  ['authentication-method', { key: 'authenticationMethod', kind: 'text', max: 0, commands: ['connect'] }],
  ['authentication-data', { key: 'authenticationData', kind: 'binary', max: 0, commands: ['connect'] }],
  ['user-property', { key: 'userProperties', kind: 'pair', max: 0, commands: everywhere }],
]);

/** How many arguments `-D` takes: a user property has a name and a value. */
export function countPropertyValues(following: readonly string[]): number {
  return following[1] === 'user-property' ? 4 : 3;
}

/** Reads all `-D` tuples; throws `UsageError` for an unknown property or one that its packet cannot carry. */
export function readProperties(tuples: readonly (readonly string[])[]): PropertySets {
  const sets = new Map<string, Record<string, unknown>>();
  for (const [command, name, ...values] of tuples) {
    const rule = rules.get(name);
    if (rule === undefined) {
      const near = nearestName(name, [...rules.keys()]);
      throw new UsageError(
        `Cannot use -D "${name}": unknown property${near === undefined ? '' : `; did you mean ${near}?`}`,
      );
    }
    if (!(rule.commands as readonly string[]).includes(command)) {
      throw new UsageError(`Cannot use -D "${command} ${name}": expected it on ${rule.commands.join(' or ')}`);
    }
    const set = sets.get(command) ?? {};
    sets.set(command, set);
    setProperty(set, name, rule, values);
  }
  return Object.fromEntries(sets);
}

function setProperty(set: Record<string, unknown>, name: string, rule: PropertyRule, values: readonly string[]): void {
  const [value, second] = values;
  if (rule.kind === 'text') set[rule.key] = value;
  else if (rule.kind === 'binary') set[rule.key] = Buffer.from(value);
  else if (rule.kind === 'pair') addUserProperty(set, value, second);
  else {
    const number = toNumber(`-D ${name}`, value, 0, rule.max);
    set[rule.key] = rule.kind === 'flag' ? number === 1 : number;
  }
}

/** MQTT.js wants an object here; without a prototype no name can do harm. */
function addUserProperty(set: Record<string, unknown>, name: string, value: string): void {
  set.userProperties ??= Object.create(null);
  const pairs = set.userProperties as Record<string, string | string[]>;
  const known = pairs[name];
  pairs[name] = known === undefined ? value : [known, value].flat();
}
