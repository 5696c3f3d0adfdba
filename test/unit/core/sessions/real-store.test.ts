/** Durable sessions over the real journal, on a disk that loses what was not synced. */
import { afterEach, expect, test } from 'vitest';
import { systemContext } from '../../../../src/core/queues/queue-context.ts';
import { DurableSessions } from '../../../../src/core/sessions/durable-sessions.ts';
import type { SessionDelivery, SessionLink } from '../../../../src/core/sessions/online-session.ts';
import { neverExpires } from '../../../../src/core/sessions/session-entry.ts';
import type { SessionError } from '../../../../src/core/sessions/session-error.ts';
import { CrashingStore } from '../../../support/crashing-store.ts';
import { messageOf, TestClient } from './session-world.ts';

const ends: (() => void)[] = [];

afterEach(() => {
  for (const end of ends.splice(0)) end();
});

function open(disks: CrashingStore): Promise<DurableSessions> {
  const context = systemContext({ now: () => Date.now(), monotonic: () => performance.now() });
  const timer = setInterval(() => context.timers.advance(Math.floor(performance.now() / 10)), 10);
  ends.push(() => clearInterval(timer));
  return DurableSessions.open({
    store: disks.store,
    context,
    slot: 0,
    partitions: 2,
    progressMs: 10,
    onWill: (_id, _will, done) => done(),
  });
}

/** What a process does that has died no longer reaches its client. */
class Line implements SessionLink {
  isCut = false;
  readonly #client: TestClient;

  constructor(client: TestClient) {
    this.#client = client;
  }

  hasRoom(): boolean {
    return !this.isCut && this.#client.hasRoom();
  }

  deliver(delivery: SessionDelivery): boolean {
    return this.isCut || this.#client.deliver(delivery);
  }

  release(packetId: number): void {
    if (!this.isCut) this.#client.release(packetId);
  }

  end(error: SessionError): void {
    if (!this.isCut) this.#client.end(error);
  }
}

async function attach(sessions: DurableSessions, client: TestClient): Promise<Line> {
  const line = new Line(client);
  const options = { isClean: false, expiryMs: neverExpires, window: 20, will: null };
  const { session } = await sessions.attach(client.id, options, line);
  client.session = session;
  session.begin();
  return line;
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}

test('sessions over the journal keep acknowledged messages over crashes', async () => {
  const disks = new CrashingStore(7, () => Date.now());
  // Its clients answer in a turn of the real loop.
  const client = new TestClient('c', { world: { context: { defer: (task) => setImmediate(task) } } });
  let sessions = await open(disks);
  let line = await attach(sessions, client);
  await sessions.subscribe(client.online, [{ filter: 'a/#', grade: 2, noLocal: false, detail: 0, identifier: 0 }]);
  const acknowledged = new Set<string>();
  for (let round = 0; round < 4; round += 1) {
    const all = Array.from({ length: 50 }, (_, index) => `${round}-${index}`);
    const stored = all.map(
      (value, index) =>
        new Promise<void>((resolve) => {
          const message = messageOf(`a/${index % 5}`, value, { grade: 2 });
          sessions.publish(message, (error) => {
            if (error === null) acknowledged.add(value);
            resolve();
          });
        }),
    );
    await Promise.all(stored);
    await until(() => client.given.length > 50 * round + 10);
    client.lose();
    line.isCut = true;
    disks.crash(round % 2 === 0 ? 'mixed' : 'kill');
    sessions = await open(disks);
    line = await attach(sessions, client);
  }
  await until(() => client.given.length >= acknowledged.size);
  expect(acknowledged.size).toBe(200);
  expect([...client.values].sort()).toEqual([...acknowledged].sort());
  await sessions.close();
  await disks.close();
});
