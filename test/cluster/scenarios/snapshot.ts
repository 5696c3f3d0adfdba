/**
 * A large state goes to a new node as a snapshot while writes go on; the longest pause of a write is what users feel.
 * Needs about ten times the size of the state on the disk.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { PlacementClient } from '../../../src/rpc/client/placement-client.ts';
import { Cluster } from '../cluster.ts';
import type { RunResult } from '../rounds.ts';

const VALUE_BYTES = 64 * 1024;
const IN_FLIGHT = 16;
const WRITES_PER_S = 200;
const JOIN_LIMIT_MS = 15 * 60_000;
const SETTLE_MS = 3000;

export interface SnapshotOptions {
  readonly stateMib: number;
  readonly say: (line: string) => void;
}

export async function snapshot({ stateMib, say }: SnapshotOptions): Promise<RunResult> {
  const problems: string[] = [];
  const durations = new Map<string, number[]>();
  const cluster = await Cluster.start({ size: 3, spares: 1 });
  const servers = cluster.nodes.slice(0, 3).map(({ address }) => address);
  const client = await PlacementClient.create({ servers, timeoutMs: 30_000 });
  try {
    const keys = Math.ceil((stateMib * 1024 * 1024) / VALUE_BYTES);
    const fillMs = await timed(() => fill(client, keys, say));
    durations.set('fill', [fillMs]);
    const calm = await writeFor(client, () => sleep(SETTLE_MS));
    durations.set('write latency before', calm.latencies);
    const joiner = cluster.nodes[3];
    const busy = await writeFor(client, async () => {
      const joinMs = await timed(async () => {
        await joiner.start();
        await cluster.waitForVoters(4, JOIN_LIMIT_MS);
      });
      durations.set('join until it votes', [joinMs]);
    });
    durations.set('write latency during the snapshot', busy.latencies);
    await cluster.waitUntilCaughtUp(joiner, JOIN_LIMIT_MS);
    problems.push(...busy.failures, ...(await compare(cluster, keys)));
    const status = await cluster.status(joiner);
    const mib = ((status?.stateBytes ?? 0) / 1024 / 1024).toFixed(0);
    say(`${stateMib} MiB of values are ${mib} MiB of state; the new node has firstIndex ${status?.firstIndex}`);
    say(
      `worst write: ${Math.max(...calm.latencies).toFixed(0)} ms before, ${Math.max(...busy.latencies).toFixed(0)} ms during the snapshot`,
    );
    // A new node that got every entry from the log would have index 1.
    if ((status?.firstIndex ?? 0) <= 1) problems.push('The new node got the log and no snapshot: nothing was tried');
    return { rounds: 1, operations: keys + busy.latencies.length, uniqueWrites: keys, problems, durations };
  } finally {
    client.close();
    await cluster.destroy();
  }
}

async function fill(client: PlacementClient, keys: number, say: (line: string) => void): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < keys) {
      const index = next++;
      if (index % Math.ceil(keys / 10) === 0) say(`filling: ${Math.round((index / keys) * 100)} %`);
      await client.set(keyOf(index), bytesOf(index));
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, worker));
}

/** Small writes at a fixed rate until `work` is done. Latency counts from the time when a write was due. */
async function writeFor(
  client: PlacementClient,
  work: () => Promise<unknown>,
): Promise<{ readonly latencies: number[]; readonly failures: readonly string[] }> {
  const latencies: number[] = [];
  const failures: string[] = [];
  const pending = new Set<Promise<void>>();
  let isOver = false;
  const startMs = performance.now();
  let sent = 0;
  const sendDue = (): void => {
    for (; startMs + (sent * 1000) / WRITES_PER_S <= performance.now(); sent++) {
      const dueMs = startMs + (sent * 1000) / WRITES_PER_S;
      const one: Promise<void> = client.set(`small/${sent % 100}`, `${sent}`).then(
        () => void latencies.push(performance.now() - dueMs),
        (error: unknown) => void failures.push(`A write failed: ${String(error)}`),
      );
      pending.add(one);
      void one.then(() => pending.delete(one));
    }
  };
  const timer = setInterval(() => {
    if (!isOver) sendDue();
  }, 2);
  try {
    await work();
  } finally {
    isOver = true;
    clearInterval(timer);
    await Promise.all(pending);
  }
  return { latencies, failures };
}

/** The new node must hold what was written, byte for byte; a sample of it is read there. */
async function compare(cluster: Cluster, keys: number): Promise<string[]> {
  const problems: string[] = [];
  const client = await cluster.observer(cluster.nodes[3]);
  for (let index = 0; index < keys; index += Math.max(1, Math.floor(keys / 500))) {
    const { item } = await client.get(keyOf(index), { consistency: 'serializable', timeoutMs: 30_000 });
    if (item === undefined || Buffer.compare(item.value, bytesOf(index)) !== 0) {
      problems.push(`The new node has ${item === undefined ? 'no' : 'another'} value of ${keyOf(index)}`);
    }
  }
  return problems;
}

function keyOf(index: number): string {
  return `large/${`${index}`.padStart(8, '0')}`;
}

function bytesOf(index: number): Buffer {
  return Buffer.alloc(VALUE_BYTES, `${index} `);
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now();
  await work();
  return performance.now() - startMs;
}
