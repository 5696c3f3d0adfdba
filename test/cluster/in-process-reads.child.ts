/**
 * Reads of the placement centre by another thread of the same process, as the broker's own threads do them, for `npm run
 * bench:kv`: a node without a cluster port, filled with keys, read as fast as answers come. A program of its own; prints
 * one line of JSON.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Consistency, PlacementNode } from '../../src/core/ports/placement.ts';
import { PlacementHost } from '../../src/main/placement/placement-host.ts';
import { createLogger } from '../../src/observability/log.ts';

const KEYS = 1000;
const VALUE_BYTES = 256;
const IN_FLIGHT = 100;
const TIMEOUT_MS = 5000;

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '3' } } });

function keyOf(index: number): Buffer {
  return Buffer.from(`${index % KEYS}`.padStart(8, '0'));
}

async function fill(node: PlacementNode): Promise<void> {
  const value = Buffer.alloc(VALUE_BYTES, 97);
  const writes = Array.from({ length: KEYS }, (_, index) => {
    const set = { type: 'set', key: keyOf(index), value, lease: 0, returnPrevious: false } as const;
    const command = { type: 'transaction', compares: [], success: [set], failure: [] } as const;
    return node.execute(command, { requestId: null, timeoutMs: TIMEOUT_MS });
  });
  for (const { type } of await Promise.all(writes)) {
    if (type !== 'transaction') throw new Error(`Cannot fill the keys: ${type}`);
  }
}

/** Reads a second, each of which found its key. */
async function measure(node: PlacementNode, consistency: Consistency, seconds: number): Promise<number> {
  const range = { end: null, limit: 1, isReverse: false, keysOnly: false, countOnly: false } as const;
  const startMs = performance.now();
  const endMs = startMs + seconds * 1000;
  let reads = 0;
  const reader = async (first: number): Promise<void> => {
    for (let index = first; performance.now() < endMs; index += IN_FLIGHT) {
      const query = { type: 'range', key: keyOf(index), ...range, consistency } as const;
      const result = await node.query(query, { timeoutMs: TIMEOUT_MS });
      if (result.type !== 'range' || result.items.length !== 1) throw new Error('A key was not found');
      reads++;
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, (_, index) => reader(index)));
  return Math.round((reads * 1000) / (performance.now() - startMs));
}

async function waitForLeader(host: PlacementHost): Promise<void> {
  for (let i = 0; host.problem() !== null; i++) {
    if (i === 1000) throw new Error(`Cannot read: ${host.problem()}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const folder = mkdtempSync(join(tmpdir(), 'ringmq-in-process-'));
const host = new PlacementHost({
  start: {
    folder: join(folder, 'placement'),
    cluster: {
      address: null,
      advertise: null,
      join: [],
      joinAs: 'voter',
      name: 'bench',
      peers: new Map(),
      tickMs: 50,
      diskReserveBytes: 0,
      insecure: false,
      tls: null,
      joinToken: null,
    },
    log: { level: 'error', format: 'text' },
    version: '',
  },
  stallLimitMs: 60_000,
  log: createLogger({ level: 'error', format: 'text' }),
  failed: (reason) => {
    throw new Error(`The placement centre failed: ${reason}`);
  },
});
try {
  await host.start(undefined);
  await waitForLeader(host);
  const { client } = host;
  await fill(client);
  const seconds = Number(values.seconds);
  const perS = await measure(client, 'serializable', seconds);
  const linearizablePerS = await measure(client, 'linearizable', seconds);
  process.stdout.write(`${JSON.stringify({ perS, linearizablePerS })}\n`);
} finally {
  await host.stop(5000);
  rmSync(folder, { recursive: true, force: true });
}
