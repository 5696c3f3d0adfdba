/**
 * Settings of the limits of clients: part of the section `limits`, and what no single one of them can be wrong about alone.
 * Main thread; part of the node's schema.
 */
import type { ClientLimitSettings } from '../core/limits/limit-settings.ts';
import { choice, integer, list, optional, section, text } from '../core/settings/schema-builders.ts';
import { formatPath, type SettingPath } from './json-schema.ts';
import type { Origin, Problems } from './source.ts';

const countMax = 1_000_000_000;
const rateMax = 1_000_000_000_000;
const zero = (maximum: number, description: string) =>
  integer({ description: `${description} 0 is no limit.`, default: 0, minimum: 0, maximum });
const own = (maximum: number, description: string) =>
  optional(integer({ description: `${description} 0 is no limit; absent: that of the default.`, minimum: 0, maximum }));
const names = (what: string, description: string, minLength: number) =>
  list(text({ description: what, minLength, maxLength: 1_024 }), { description, default: [], maxItems: 10_000 });

const words = {
  connections: 'Clients, told apart by their client id, that may be connected at once.',
  connectRate: 'Clients that may connect per second; others are refused.',
  publishRate: 'Messages that may be published per second.',
  publishBytes: 'Bytes of publications per second.',
  subscriptions: 'Subscriptions of all sessions.',
};

const tenants = section(
  {
    default: section(
      {
        connectionsMax: zero(countMax, words.connections),
        connectRatePerS: zero(1_000_000, words.connectRate),
        publishRatePerS: zero(countMax, words.publishRate),
        publishBytesPerS: zero(rateMax, words.publishBytes),
        subscriptionsMax: zero(countMax, words.subscriptions),
      },
      { description: 'Of each tenant for which `named` says nothing else.' },
    ),
    named: list(
      section(
        {
          name: text({ description: 'Name of the tenant.', minLength: 1, maxLength: 1_024 }),
          connectionsMax: own(countMax, words.connections),
          connectRatePerS: own(1_000_000, words.connectRate),
          publishRatePerS: own(countMax, words.publishRate),
          publishBytesPerS: own(rateMax, words.publishBytes),
          subscriptionsMax: own(countMax, words.subscriptions),
        },
        { description: 'Limits of one tenant.' },
      ),
      { description: 'Tenants with other limits than the default.', default: [], maxItems: 1_000 },
    ),
  },
  { description: 'What the clients of a tenant may use together, on all workers of the node.' },
);

const clientClass = section(
  {
    tenants: names('Name of a tenant.', 'Tenants that it is about. Empty: all.', 1),
    users: names(
      'Name of a user; the empty name is the anonymous user.',
      'Users that it is about. Empty: everybody.',
      0,
    ),
    listeners: names('Name of a listener.', 'Listeners that it is about. Empty: all.', 1),
    publishRatePerS: zero(countMax, 'Messages that each client may publish per second.'),
    publishBurst: integer({
      description: 'Messages that may come at once within the rate; 0 takes as many as in one second.',
      default: 0,
      minimum: 0,
      maximum: countMax,
    }),
    publishBytesPerS: zero(rateMax, 'Bytes of publications of each client per second.'),
    packetBytesMax: zero(268_435_460, 'Largest packet, bytes, where that of the protocol is larger.'),
    subscriptionsMax: zero(countMax, 'Subscriptions of each session, where those of the protocol are more.'),
    inflightMax: zero(65_535, 'Messages on their way to each client, where those of the protocol are more.'),
  },
  { description: 'Limits of each client of a class. All of tenants, users and listeners must fit.' },
);

/** The keys that the section `limits` has of this. */
export const clientLimitProperties = {
  addressAcceptRatePerS: zero(
    1_000_000,
    'New connections per second from one address, or from one network of 64 bits with IPv6; others are refused.',
  ),
  addressAcceptBurst: integer({
    description: 'New connections of one address that may come at once within the rate; 0: as many as in one second.',
    default: 0,
    minimum: 0,
    maximum: 1_000_000,
  }),
  addressConnectionsMax: zero(countMax, 'Clients of one address (with IPv6 of 64 bits) that may be connected at once.'),
  userConnectionsMax: zero(countMax, 'Clients of one user that may be connected at once.'),
  memoryBytesMax: integer({
    description:
      'Resident memory of the process beyond which new connections are refused, bytes. 0: nine tenths of what the process may have.',
    default: 0,
    minimum: 0,
    maximum: Number.MAX_SAFE_INTEGER,
  }),
  publishExceeded: choice(['slow', 'disconnect'], {
    description:
      'What happens to a client that publishes faster than it may: it is read slower, or disconnected with the reason.',
    default: 'slow',
  }),
  tenants,
  clients: list(clientClass, {
    description: 'Classes of clients with limits of their own; the first that fits a client holds.',
    default: [],
    maxItems: 1_000,
  }),
};

/** What the limits say against each other and against the listeners. */
export function checkClientLimits(
  { tenants, clients, addressAcceptBurst, addressAcceptRatePerS }: ClientLimitSettings,
  listeners: readonly { readonly name: string }[],
  originOf: (path: SettingPath) => Origin,
  problems: Problems,
): void {
  const refuse = (path: SettingPath, why: string): void => {
    problems.add(originOf(['limits', ...path]), `Cannot use "${formatPath(['limits', ...path])}": ${why}`);
  };
  if (addressAcceptRatePerS === 0 && addressAcceptBurst > 0)
    refuse(['addressAcceptBurst'], 'there is no "addressAcceptRatePerS" that it could belong to');
  for (const [index, { name }] of tenants.named.entries()) {
    const isFirst = tenants.named.findIndex((other) => other.name === name) === index;
    if (!isFirst) refuse(['tenants', 'named', index, 'name'], `there are limits of tenant "${name}" before it`);
  }
  for (const [index, each] of clients.entries()) {
    for (const [position, name] of each.listeners.entries()) {
      if (listeners.some((listener) => listener.name === name)) continue;
      refuse(['clients', index, 'listeners', position], `there is no listener "${name}"`);
    }
    if (each.publishRatePerS === 0 && each.publishBurst > 0)
      refuse(['clients', index, 'publishBurst'], 'there is no "publishRatePerS" that it could belong to');
  }
}
