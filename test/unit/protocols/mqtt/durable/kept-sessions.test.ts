/** What becomes of stored sessions when a slot is opened: older copies, names, and what has to be in memory. */
import { describe, expect, it } from 'vitest';
import type { DurableSessions } from '../../../../../src/core/sessions/durable-sessions.ts';
import { createLogger } from '../../../../../src/observability/log.ts';
import { KeptSessions, type KeptSessionsOptions } from '../../../../../src/protocols/mqtt/durable/kept-sessions.ts';
import { Session } from '../../../../../src/protocols/mqtt/state/session.ts';

/** A slot with these sessions: name → epoch; and filters of them. */
class TestService {
  readonly removed: string[] = [];
  /** Those that came from another node, and are not confirmed. */
  readonly arriving = new Set<string>();
  private readonly epochs: Map<string, number>;
  private readonly filters: ReadonlyMap<string, readonly string[]>;

  constructor(epochs: Record<string, number>, filters: Record<string, readonly string[]> = {}) {
    this.epochs = new Map(Object.entries(epochs));
    this.filters = new Map(Object.entries(filters));
  }

  ids(): string[] {
    return [...this.epochs.keys()];
  }

  has(id: string): boolean {
    return this.epochs.has(id);
  }

  epochOf(id: string): number {
    return this.epochs.get(id) ?? 0;
  }

  isArriving(id: string): boolean {
    return this.arriving.has(id);
  }

  contentOf(): null {
    return null;
  }

  subscriptionsOf(id: string): readonly object[] {
    const filters = this.filters.get(id) ?? [];
    return filters.map((filter) => ({ filter, grade: 0, noLocal: false, detail: 1, identifier: 0, since: [] }));
  }

  async remove(id: string): Promise<void> {
    this.removed.push(id);
    this.epochs.delete(id);
  }
}

function open(services: readonly TestService[], service: TestService): Promise<[string[], Map<string, string[]>]> {
  const found: string[] = [];
  const inMemory = new Map<string, string[]>();
  const options = {
    slots: {
      use: () => undefined,
      ownerOf: (id: string) => services.find((each) => each.has(id)) ?? null,
    },
    groups: { reopened: () => undefined },
    live: {
      find: () => undefined,
      create: (id: string) => {
        inMemory.set(id, []);
        return new Session(id, 10, true);
      },
      addSubscription: (session: Session, path: string) => inMemory.get(session.clientId)?.push(path),
      claimExclusive: () => undefined,
      found: (ids: readonly string[], epochs: readonly number[]) =>
        found.push(...ids.map((id, at) => `${id}:${epochs[at]}`)),
    },
    log: createLogger({ level: 'error', format: 'text', write: () => undefined }),
  };
  const kept = new KeptSessions(options as unknown as KeptSessionsOptions);
  return kept.opened(service as unknown as DurableSessions).then(() => [found, inMemory]);
}

describe('KeptSessions', () => {
  it('opened() makes names and epochs known', async () => {
    const service = new TestService({ a: 3, b: 5 });
    expect((await open([], service))[0]).toEqual(['a:3', 'b:5']);
  });

  it('opened() removes the older one of two copies on this worker', async () => {
    const own = new TestService({ a: 4, b: 2, c: 1 });
    const former = new TestService({ a: 3, b: 3, d: 1 });
    expect((await open([own], former))[0]).toEqual(['b:3', 'd:1']);
    expect([own.removed, former.removed]).toEqual([['b'], ['a']]);
  });

  it('opened() brings into memory what is shared or exclusive, and nothing else', async () => {
    const filters = { plain: ['t', '$SYS/#'], alone: ['$exclusive/t'], many: ['t', '$queue/t'] };
    const service = new TestService({ plain: 1, alone: 1, many: 1 }, filters);
    const [, inMemory] = await open([], service);
    expect([...inMemory.keys()]).toEqual(expect.arrayContaining(['alone']));
    expect(inMemory.has('plain')).toBe(false);
    expect(inMemory.get('alone')).toEqual(['$exclusive/t']);
  });

  it('opened() leaves alone what came from another node and may not be at home here', async () => {
    const service = new TestService({ alone: 1 }, { alone: ['$exclusive/t'] });
    service.arriving.add('alone');
    const [found, inMemory] = await open([], service);
    expect(found).toEqual(['alone:1']);
    expect(inMemory.size).toBe(0);
  });
});
