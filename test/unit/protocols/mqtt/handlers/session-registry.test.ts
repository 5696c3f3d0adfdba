import { expect, it } from 'vitest';
import type { ClaimCallbacks } from '../../../../../src/core/ports/session-directory.ts';
import { createLogger } from '../../../../../src/observability/log.ts';
import type { OpenRequest } from '../../../../../src/protocols/mqtt/durable/open-request.ts';
import { type RegistryOptions, SessionRegistry } from '../../../../../src/protocols/mqtt/handlers/session-registry.ts';

/** A registry whose session directory does what the test says; `stored`: names of stored sessions. */
function registryOf(stored: ReadonlySet<string> | null) {
  const claims: ClaimCallbacks[] = [];
  const logged: string[] = [];
  const options = {
    router: {},
    directory: {
      register: () => undefined,
      release: () => undefined,
      claim: (...[, , , , callbacks]: [string, string, boolean, boolean, ClaimCallbacks]) => claims.push(callbacks),
    },
    access: { onChange: () => undefined },
    metrics: { block: { set: () => undefined, increment: () => undefined } },
    settings: { sharedKeyProperty: '' },
    slots: stored && {
      ...{ use: () => undefined, isSettled: true, sessionCount: 0, own: null },
      has: (id: string) => stored.has(id),
      ownerOf: () => null,
    },
    log: createLogger({ level: 'error', format: 'text', write: (line) => logged.push(line) }),
  };
  return { registry: new SessionRegistry(options as unknown as RegistryOptions), claims, logged };
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
