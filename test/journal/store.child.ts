/**
 * A process that holds the journal in a folder and does what its standard input says, until that ends or it is killed:
 *
 *   node test/journal/store.child.ts FOLDER
 */
import { createInterface } from 'node:readline';
import type { StreamPartition, StreamSettings } from '../../src/core/ports/stream-store.ts';
import { StorageError } from '../../src/core/streams/storage-error.ts';
import { openJournalStore } from '../../src/journal/stream-store.ts';
import { type Answer, partitionNames, type Request } from './store-lines.ts';

const [folder] = process.argv.slice(2);
if (folder === undefined) throw new Error('Cannot start: the first argument is the folder');

/** Small segments, so that a kill meets the change from one to the next. */
const settings: StreamSettings = { segmentBytes: 256 * 1024 };
const bytesMax = 512 * 1024;

function say(answer: Answer): void {
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}

const store = openJournalStore({
  directories: [folder],
  freeBytesMin: 0,
  upkeepMs: 50,
  onEvent: (event) => say({ type: 'event', text: JSON.stringify(event) }),
});
const partitions = new Map<string, StreamPartition>();

async function partitionOf(name: string): Promise<StreamPartition> {
  const known = partitions.get(name);
  if (known !== undefined) return known;
  const names = await store.names();
  const partition = names.includes(name) ? await store.open(name) : await store.create(name, settings);
  partitions.set(name, partition);
  return partition;
}

function sayError(number: number, error: unknown): void {
  const code = error instanceof StorageError ? error.code : 'DEFECT';
  say({ type: 'error', number, code, message: error instanceof Error ? error.message : String(error) });
}

function append(number: number, partition: StreamPartition, bytes: Buffer): void {
  partition.append(bytes, ({ error, baseOffset, lastOffset, isDuplicate }) => {
    if (error === null) say({ type: 'append', number, baseOffset, lastOffset, isDuplicate });
    else sayError(number, error);
  });
}

async function answer(request: Request, partition: StreamPartition): Promise<void> {
  const { number } = request;
  switch (request.type) {
    case 'append':
      append(number, partition, Buffer.from(request.bytes, 'base64'));
      return;
    case 'read': {
      const { offset, isolation } = request;
      const { slices, nextOffset } = await partition.read({ offset, bytesMax, isolation });
      say({ type: 'read', number, slices: slices.map((slice) => slice.toString('base64')), nextOffset });
      return;
    }
    case 'places': {
      const { logStartOffset, logEndOffset, lastStableOffset } = await partition.places();
      say({ type: 'places', number, logStartOffset, logEndOffset, lastStableOffset });
      return;
    }
    case 'delete-before':
      say({ type: 'delete-before', number, logStartOffset: await partition.deleteBefore(request.offset) });
  }
}

const lines = createInterface({ input: process.stdin });
lines.on('line', (line) => {
  const request = JSON.parse(line) as Request;
  const known = partitions.get(request.partition);
  // In the order of the lines: an append must not wait for a promise that a later one does not wait for.
  if (known === undefined) {
    sayError(request.number, new Error(`there is no partition "${request.partition}"`));
    return;
  }
  answer(request, known).catch((error: unknown) => sayError(request.number, error));
});
lines.on('close', () => void store.close());

for (const name of partitionNames) await partitionOf(name);
say({ type: 'ready' });
