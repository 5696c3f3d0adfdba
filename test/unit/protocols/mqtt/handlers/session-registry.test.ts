import { expect, it, vi } from 'vitest';
import type { ClaimCallbacks } from '../../../../../src/core/ports/session-directory.ts';
import { SessionError } from '../../../../../src/core/sessions/session-error.ts';
import { createLogger } from '../../../../../src/observability/log.ts';
import type { OpenRequest } from '../../../../../src/protocols/mqtt/durable/open-request.ts';
import { type RegistryOptions, SessionRegistry } from '../../../../../src/protocols/mqtt/handlers/session-registry.ts';
import type { Link } from '../../../../../src/protocols/mqtt/state/session.ts';

/** A registry whose session directory does what the test says; `stored`: names of stored sessions. */
function registryOf(stored: ReadonlySet<string> | null) {
  const claims: ClaimCallbacks[] = [];
  const logged: string[] = [];
  const released: string[] = [];
  const opening = Promise.withResolvers<never>();
  const options = {
    router: {},
    directory: {
      register: () => undefined,
      release: (_scope: string, name: string) => released.push(name),
      claim: (...[, , , , callbacks]: [string, string, boolean, boolean, ClaimCallbacks]) => claims.push(callbacks),
    },
    access: { onChange: () => undefined },
    metrics: { block: { set: () => undefined, increment: () => undefined } },
    settings: { sharedKeyProperty: '' },
    slots: stored && {
      ...{ use: () => undefined, isSettled: true, sessionCount: 0, own: null },
      subscriptionCounts: { subscriptions: 0, shared: 0, subscribers: 0 },
      has: (id: string) => stored.has(id),
      ownerOf: () => null,
      bringHome: async () => undefined,
      open: () => opening.promise,
    },
    log: createLogger({ level: 'error', format: 'text', write: (line) => logged.push(line) }),
  };
  return { registry: new SessionRegistry(options as unknown as RegistryOptions), claims, logged, released, opening };
}

const request = {
  ...{ clientId: 'c', clean: false, expiryS: 0, inflightMax: 10, will: null, permissions: null },
  link: { connection: { closed: false } },
} as unknown as OpenRequest;

it('open() gives a new session in place of one that has expired on its way from another worker', () => {
  const { registry, claims, logged } = registryOf(new Set());
  const presents: boolean[] = [];
  registry.open(request, {
    opened: (_session, isPresent) => presents.push(isPresent),
    refused: () => presents.push(true),
  });
  // It was installed, and its time was over before the former owner had said the rest.
  claims[0]?.granted({ state: { flights: [] } });
  expect(presents).toEqual([false]);
  expect(logged).toEqual([]);
});

it('open() reports a session that nobody has installed', () => {
  const { registry, claims, logged } = registryOf(null);
  registry.open(request, { opened: () => undefined, refused: () => undefined });
  claims[0]?.granted({ state: { flights: [] } });
  expect(logged.join()).toContain('it was not installed');
});

it('open() keeps the name for the next client of this worker when one has gone that waited for its session', async () => {
  const { registry, claims, released, opening } = registryOf(new Set());
  const answers: string[] = [];
  for (const closed of [true, false]) {
    const link = { connection: { closed } };
    registry.open({ ...request, expiryS: 60, link } as unknown as OpenRequest, {
      opened: () => answers.push('opened'),
      refused: () => answers.push(closed ? 'gone' : 'refused'),
    });
  }
  // The second one is granted at once, since the worker has the name already.
  for (const { granted } of claims) granted({ state: undefined });
  await vi.waitFor(() => expect(answers).toEqual(['gone']));
  expect(released).toEqual([]);
  opening.reject(new SessionError('SESSION_LIMIT', 'too many'));
  await vi.waitFor(() => expect(answers).toEqual(['gone', 'refused']));
  expect(released).toEqual(['c']);
});

it('closed() keeps the name for the next client of this worker, which was granted it already', async () => {
  const { registry, claims, released } = registryOf(new Set());
  const answers: string[] = [];
  // The first one has gone. The second waits behind it and gets a session that ends with its connection, the third waits for the disk.
  for (const [closed, expiryS] of [
    [true, 60],
    [false, 0],
    [false, 60],
  ] as const) {
    const link = { connection: { closed }, end: () => undefined } as unknown as Link;
    registry.open(
      { ...request, expiryS, link },
      {
        opened: (session) => {
          answers.push('opened');
          registry.closed(session, link, true);
        },
        refused: () => answers.push('gone'),
      },
    );
  }
  for (const { granted } of claims) granted({ state: undefined });
  await vi.waitFor(() => expect(answers).toEqual(['gone', 'opened']));
  expect(released).toEqual([]);
});
