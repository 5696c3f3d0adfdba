/**
 * Durable sessions over partitions that only keep buffers: what a message costs on its way into the log with one and with many sessions
 * that want it, what coming back costs among many topics, and what opening many stored sessions costs. `RINGMQ_BENCH_SESSIONS` sets how
 * many are stored for the last one, 1,000,000 say. `native-free-bench/run.ts` collects and runs it.
 */
import { Bench } from 'tinybench';
import type { StreamPartition, StreamStore } from '../src/core/ports/stream-store.ts';
import { systemContext } from '../src/core/queues/queue-context.ts';
import { DurableSessions } from '../src/core/sessions/durable-sessions.ts';
import type { NewMessage } from '../src/core/sessions/message-record.ts';
import type { OnlineSession, SessionLink } from '../src/core/sessions/online-session.ts';
import { neverExpires } from '../src/core/sessions/session-entry.ts';
import { StorageError } from '../src/core/streams/storage-error.ts';
import { BarePartition } from './bare-partition.ts';

const messages = 1000;

class BareStore implements StreamStore {
  readonly adapter = 'bare';
  readonly #partitions = new Map<string, BarePartition>();

  health() {
    return { state: 'ready', reason: '', since: 0 } as const;
  }

  onHealth(): () => void {
    return () => undefined;
  }

  async create(name: string): Promise<StreamPartition> {
    const partition = new BarePartition(name);
    this.#partitions.set(name, partition);
    return partition;
  }

  async open(name: string): Promise<StreamPartition> {
    const known = this.#partitions.get(name);
    if (known === undefined) throw new StorageError('STORAGE_PARTITION_UNKNOWN', `Cannot find "${name}"`);
    return known;
  }

  async remove(name: string): Promise<void> {
    this.#partitions.delete(name);
  }

  async names(): Promise<readonly string[]> {
    return [...this.#partitions.keys()].sort();
  }

  async change(): Promise<void> {
    // Nothing is ever deleted by retention here.
  }

  async settings() {
    return {};
  }

  async close(): Promise<void> {
    this.#partitions.clear();
  }
}

/** Acknowledges at once; `await until(n)` waits for the n-th message. */
class Client implements SessionLink {
  session: OnlineSession | null = null;
  count = 0;
  #wanted = 0;
  #wake: () => void = () => undefined;

  hasRoom(): boolean {
    return true;
  }

  deliver({ packetId }: { readonly packetId: number }): boolean {
    this.count += 1;
    queueMicrotask(() => this.session?.acknowledge(packetId));
    if (this.count === this.#wanted) this.#wake();
    return true;
  }

  release(): void {
    // Grade 2 is not measured here.
  }

  end(): void {
    this.session = null;
  }

  until(count: number): Promise<void> {
    if (this.count >= count) return Promise.resolve();
    this.#wanted = count;
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}

function open(store: StreamStore): Promise<DurableSessions> {
  const context = systemContext({ now: () => Date.now(), monotonic: () => performance.now() });
  setInterval(() => context.timers.advance(Math.floor(performance.now() / 10)), 10).unref();
  return DurableSessions.open({ store, context, slot: 0, onWill: (_id, _will, done) => done() });
}

async function connect(sessions: DurableSessions, id: string, client: Client): Promise<OnlineSession> {
  const options = { isClean: false, expiryMs: neverExpires, window: 1000, will: null };
  const { session } = await sessions.attach(id, options, client);
  client.session = session;
  return session;
}

async function addSessions(
  sessions: DurableSessions,
  count: number,
  filterOf: (index: number) => string,
): Promise<void> {
  const part = 5000;
  for (let from = 0; from < count; from += part) {
    const indexes = Array.from({ length: Math.min(part, count - from) }, (_, at) => from + at);
    await Promise.all(
      indexes.map(async (index) => {
        const session = await connect(sessions, `client-${index}`, new Client());
        const subscription = { filter: filterOf(index), grade: 1, noLocal: false, detail: 0, identifier: 0 } as const;
        await sessions.subscribe(session, [subscription]);
        await sessions.detach(session, null, false);
      }),
    );
  }
}

function messageTo(topic: string): NewMessage {
  const body = Buffer.alloc(64, 'x');
  return { topicBytes: Buffer.from(topic), body, header: Buffer.alloc(0), grade: 1, expiresAtMs: 0, publisher: '' };
}

function publishAll(sessions: DurableSessions, all: readonly NewMessage[]): Promise<void> {
  return new Promise((resolve, reject) => {
    let left = all.length;
    for (const message of all) {
      sessions.publish(message, (error) => {
        left -= 1;
        if (error !== null) reject(error);
        else if (left === 0) resolve();
      });
    }
  });
}

async function addAppend(bench: Bench, count: number): Promise<void> {
  const sessions = await open(new BareStore());
  await addSessions(sessions, count, () => 'site/#');
  const all = Array.from({ length: messages }, (_, at) => messageTo(`site/${at % 100}/state`));
  let rounds = 0;
  bench.add(`sessions: append for ${count} sessions that are away, x${messages}`, async () => {
    await publishAll(sessions, all);
    rounds += 1;
    if (rounds % 100 === 0) await sessions.trim(sessions.runtime.feeds.map(({ tail }) => tail));
  });
}

async function addLive(bench: Bench): Promise<void> {
  const sessions = await open(new BareStore());
  const client = new Client();
  const session = await connect(sessions, 'live', client);
  await sessions.subscribe(session, [{ filter: 'site/#', grade: 1, noLocal: false, detail: 0, identifier: 0 }]);
  session.begin();
  const all = Array.from({ length: messages }, (_, at) => messageTo(`site/${at % 100}/state`));
  let rounds = 0;
  bench.add(`sessions: append, deliver to one that is connected, acknowledge, x${messages}`, async () => {
    const wanted = client.count + messages;
    await publishAll(sessions, all);
    await client.until(wanted);
    rounds += 1;
    if (rounds % 100 === 0) await sessions.trim(sessions.runtime.feeds.map(({ tail }) => tail));
  });
}

async function addResume(bench: Bench, topics: number): Promise<void> {
  const sessions = await open(new BareStore());
  await addSessions(sessions, 1, () => 'site/7/state');
  await addSessions(sessions, 2, () => 'site/#');
  // Ten messages to each topic, and ten for the session.
  for (let round = 0; round < 10; round += 1) {
    const all = Array.from({ length: topics }, (_, at) => messageTo(`site/${at}/state`));
    for (let from = 0; from < topics; from += messages) await publishAll(sessions, all.slice(from, from + messages));
  }
  const positions = sessions.runtime.positionsOf.bind(sessions.runtime);
  const entry = [...sessions.runtime.table.entries()][0];
  const from = positions(entry)[0];
  bench.add(`sessions: come back, 10 messages of one topic among ${topics * 10} of ${topics}`, async () => {
    sessions.runtime.table.setPosition(entry, 0, from);
    const client = new Client();
    const session = await connect(sessions, entry.id, client);
    session.begin();
    await client.until(10);
    await sessions.detach(session, null, false);
  });
}

async function addOpen(bench: Bench, count: number): Promise<void> {
  const store = new BareStore();
  const sessions = await open(store);
  await addSessions(sessions, count, (index) => `site/${index}/command`);
  await sessions.close();
  bench.add(`sessions: open ${count} that are stored (once)`, async () => {
    const opened = await open(store);
    if (opened.size !== count) throw new Error(`Cannot trust the benchmark: ${opened.size} sessions`);
    await opened.close();
  });
}

/** Adds the tasks. */
export default async function suite(options: { smoke: boolean }): Promise<Bench> {
  const bench = new Bench({
    name: 'sessions',
    ...(options.smoke ? { time: 1, iterations: 2, warmup: false } : { time: 500, iterations: 3, warmupTime: 200 }),
  });
  const many = options.smoke ? 100 : 10_000;
  await addAppend(bench, 1);
  await addAppend(bench, many);
  await addLive(bench);
  await addResume(bench, many);
  await addOpen(bench, Number(process.env['RINGMQ_BENCH_SESSIONS'] ?? many));
  return bench;
}
