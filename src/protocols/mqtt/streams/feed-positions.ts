/**
 * Where subscriptions to streams go on, for sessions that outlive their connection: a cursor for each partition, in a group for each
 * subscription. Thread: one connection worker.
 */
import { createHash } from 'node:crypto';
import type { Cursors, OffsetCommit } from '../../../core/ports/cursors.ts';
import { QueueError } from '../../../core/queues/queue-error.ts';

const groupBytesMax = 512;

/** Name of the group of cursors, as administrators see it. */
export function feedGroup(tenant: string, clientId: string, path: string): string {
  const name = `mqtt:${tenant}:${clientId}:${path}`;
  if (Buffer.byteLength(name) <= groupBytesMax) return name;
  return `mqtt:${tenant}:${createHash('sha256').update(name).digest('hex')}`;
}

/** Offsets by name of the partition, of those that have one. Rejects with the errors of the services. */
export async function readPositions(
  cursors: Cursors,
  group: string,
  partitions: readonly string[],
): Promise<ReadonlyMap<string, number>> {
  const found = new Map<string, number>();
  for (const { stream, cursor } of await cursors.fetch(group, partitions))
    if (cursor !== null) found.set(stream, cursor.offset);
  return found;
}

/** Resolves when it is durable. */
export function storePositions(cursors: Cursors, group: string, positions: ReadonlyMap<string, number>): Promise<void> {
  const commits: OffsetCommit[] = Array.from(positions, ([stream, offset]) => ({ stream, offset }));
  return commits.length === 0 ? Promise.resolve() : cursors.commit(group, null, commits);
}

/** Nobody will go on there. A group that is not there is gone. */
export async function forgetPositions(cursors: Cursors, group: string): Promise<void> {
  try {
    await cursors.deleteGroup(group);
  } catch (error) {
    if (!(error instanceof QueueError) || !error.code.includes('UNKNOWN')) throw error;
  }
}
