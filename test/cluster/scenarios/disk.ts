/**
 * Disks that are slow, fail or fill up: fdatasync delayed or failing by strace, and a data folder on a small tmpfs, which
 * takes root. What cannot be done here is left out and said.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Cluster, electionTimeoutMs } from '../cluster.ts';
import type { ClusterNode } from '../nodes.ts';
import type { RoundContext, Scenario } from '../rounds.ts';

const LEADER_LIMIT_MS = 15_000;
const FAULT_LIMIT_MS = 10_000;
const TMPFS_MIB = 512;
const RESERVE_BYTES = 16 * 1024 * 1024;
/** The node whose data folder is the small disk. */
const SMALL = 'node-3';

interface Tools {
  readonly hasStrace: boolean;
  /** Null: no small disk can be mounted. */
  readonly smallDisk: string | null;
}

/** Finds out what can be done here; `release` unmounts. */
export function prepareDisk(say: (line: string) => void): { readonly scenario: Scenario; release(): void } {
  const hasStrace = canRun('strace', ['-V']);
  if (!hasStrace) say('without slow and failing fdatasync: strace is not installed');
  const smallDisk = mountSmallDisk();
  if (smallDisk === null) say('without a full disk: a tmpfs cannot be mounted here (it takes root)');
  const tools: Tools = { hasStrace, smallDisk };
  const scenario: Scenario = {
    cluster: {
      size: 3,
      dataOf: (name) => (name === SMALL && smallDisk !== null ? smallDisk : undefined),
      settings: { 'cluster.diskReserveBytes': RESERVE_BYTES },
    },
    // A node that loses its disk says so; the store's own words are no log lines, and take several.
    expectedErrors: [/EIO|ENOSPC|No space left|placement/i, /"time":"".*"message":"( {4}at .*| {2}code: \d+|\})"/],
    obstacle: () => (hasStrace || smallDisk !== null ? null : 'neither strace nor a small disk is at hand'),
    disturb: (context) => disturb(context, tools),
  };
  return {
    scenario,
    release: () => {
      if (smallDisk === null) return;
      execFileSync('umount', [smallDisk]);
      rmSync(smallDisk, { recursive: true, force: true });
    },
  };
}

type Fault = (context: RoundContext, tools: Tools) => Promise<string>;

async function disturb(context: RoundContext, tools: Tools): Promise<string> {
  const faults: Fault[] = [];
  if (tools.hasStrace) faults.push(slowSync, failingSync);
  if (tools.smallDisk !== null) faults.push(lowDisk, fullDisk);
  return faults[context.index % faults.length](context, tools);
}

/** Every sync of one node takes so long that the others are far ahead; it must fall behind, not fall over. */
async function slowSync({ cluster, index, random, leader, follower, note }: RoundContext): Promise<string> {
  const victim = Math.floor(index / 4) % 2 === 0 ? follower : leader.node;
  const delayMs = random.between(20, 400);
  const release = await inject(victim, `fdatasync:delay_enter=${delayMs * 1000}`);
  await sleep(3 * electionTimeoutMs);
  await release();
  note('caught up after slow syncs', await cluster.waitUntilCaughtUp(victim, LEADER_LIMIT_MS));
  return `fdatasync of ${victim.name} took ${delayMs} ms longer`;
}

/** One sync fails: nothing that the node wrote since can be trusted, so it has to stop; a new life finds what is there. */
async function failingSync({ cluster, index, leader, follower, note }: RoundContext): Promise<string> {
  const victim = Math.floor(index / 4) % 2 === 0 ? leader.node : follower;
  const brokenMs = performance.now();
  const release = await inject(victim, 'fdatasync:error=EIO');
  try {
    await waitUntilOutOfService(cluster, victim);
    note('out of service after EIO', performance.now() - brokenMs);
  } finally {
    await release();
  }
  const others = cluster.running.filter((node) => node !== victim);
  await cluster.waitForLeader(LEADER_LIMIT_MS, 0, others);
  await sleep(electionTimeoutMs);
  await startAgain(cluster, victim);
  return `fdatasync of ${victim.name} failed`;
}

/** Nearly full: writes are refused before the disk is full, and come back with the room. */
async function lowDisk({ cluster, random }: RoundContext, { smallDisk }: Tools): Promise<string> {
  const victim = smallNode(cluster);
  const ballast = fill(smallDisk ?? '', Math.floor(RESERVE_BYTES * random.share()));
  await sleep(3 * electionTimeoutMs);
  rmSync(ballast);
  await sleep(electionTimeoutMs);
  if (!victim.isRunning || ((await cluster.status(victim))?.fault ?? undefined) !== undefined) {
    await startAgain(cluster, victim);
    return `${victim.name} had little room on its disk, and went out of service`;
  }
  await cluster.waitUntilCaughtUp(victim, LEADER_LIMIT_MS);
  return `${victim.name} had little room on its disk`;
}

/** Full at once, so that no reserve helps: the node may go, the cluster may not. */
async function fullDisk({ cluster }: RoundContext, { smallDisk }: Tools): Promise<string> {
  const victim = smallNode(cluster);
  const ballast = fill(smallDisk ?? '', 0);
  await sleep(3 * electionTimeoutMs);
  const others = cluster.running.filter((node) => node !== victim);
  await cluster.waitForLeader(LEADER_LIMIT_MS, 0, others.length === 2 ? undefined : others);
  rmSync(ballast);
  await startAgain(cluster, victim);
  return `the disk of ${victim.name} was full`;
}

function smallNode(cluster: Cluster): ClusterNode {
  const node = cluster.nodes.find(({ name }) => name === SMALL);
  if (node === undefined) throw new Error(`There is no ${SMALL}`);
  return node;
}

async function startAgain(cluster: Cluster, node: ClusterNode): Promise<void> {
  await node.kill();
  await node.start();
  await cluster.waitUntilCaughtUp(node, LEADER_LIMIT_MS);
}

/** It has ended, or says that it does not vote any more. */
async function waitUntilOutOfService(cluster: Cluster, node: ClusterNode): Promise<void> {
  await cluster.until(FAULT_LIMIT_MS, `${node.name} serves on after a failed sync`, async () => {
    if (!node.isRunning) return true;
    const status = await cluster.status(node);
    return status?.fault !== undefined ? true : null;
  });
}

/** Has strace tamper with the system calls of a process; resolves when it does, with the way to let go. */
async function inject(node: ClusterNode, what: string): Promise<() => Promise<void>> {
  const [call] = what.split(':');
  const flags = ['-f', '-p', `${node.pid}`, '-e', `trace=${call}`, '-e', `inject=${what}`, '-o', '/dev/null'];
  const strace = spawn('strace', flags, { stdio: ['ignore', 'ignore', 'pipe'] });
  const exited = once(strace, 'exit');
  let said = '';
  const attached = Promise.withResolvers<void>();
  strace.stderr.on('data', (chunk: Buffer) => {
    said += chunk;
    if (said.includes('attached')) attached.resolve();
  });
  void exited.then(() => attached.reject(new Error(`Cannot tamper with ${node.name}: ${said.trim()}`)));
  await attached.promise;
  return async () => {
    strace.kill('SIGINT');
    await exited;
  };
}

/** Writes a file that leaves about `leaveBytes`; answers its path. */
function fill(folder: string, leaveBytes: number): string {
  const { bavail, bsize } = statfsSync(folder);
  const path = join(folder, 'ballast');
  try {
    writeFileSync(path, Buffer.alloc(Math.max(0, bavail * bsize - leaveBytes)));
  } catch (error) {
    // The node took the last bytes meanwhile: it is as full as it can be.
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  }
  return path;
}

function mountSmallDisk(): string | null {
  const folder = mkdtempSync(join(tmpdir(), 'ringmq-small-disk-'));
  if (canRun('mount', ['-t', 'tmpfs', '-o', `size=${TMPFS_MIB}m`, 'ringmq-test', folder])) return folder;
  rmSync(folder, { recursive: true });
  return null;
}

function canRun(program: string, flags: readonly string[]): boolean {
  try {
    execFileSync(program, flags, { stdio: 'ignore' });
    return true;
  } catch {
    // Not installed, or not allowed: the same to the caller.
    return false;
  }
}
