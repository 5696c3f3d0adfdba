/**
 * Reads what an earlier owner has written down of its batches: which messages are written, and which batch of each target may be there
 * or not. Thread: the owner of the service, at its start.
 */

import type { StreamPartition } from '../ports/stream-store.ts';
import { readAllRecords } from '../transactions/internal-stream.ts';
import { decodeIntent, type Intent, storedKind } from './stored-message.ts';

export interface IntentReplay {
  /** Source → numbers of its messages that intents name. */
  readonly fired: ReadonlyMap<number, ReadonlySet<number>>;
  /** Target → the newest intent, when it was not taken back: its batch may be there or not. All before it are there. */
  readonly newest: ReadonlyMap<string, Intent>;
  /** Source → offset of the first record that names its messages. */
  readonly first: ReadonlyMap<number, number>;
}

/** Takes the values of an intent log in their order. */
export class IntentCollector implements IntentReplay {
  readonly fired = new Map<number, Set<number>>();
  readonly newest = new Map<string, Intent>();
  readonly first = new Map<number, number>();

  take(value: Buffer, offset: number): void {
    const kind = value[0];
    if (kind !== storedKind.intent && kind !== storedKind.void) return;
    const intent = decodeIntent(value);
    const numbers = this.fired.get(intent.source) ?? new Set<number>();
    this.fired.set(intent.source, numbers);
    if (!this.first.has(intent.source)) this.first.set(intent.source, offset);
    if (kind === storedKind.intent) {
      for (const number of intent.numbers) numbers.add(number);
      this.newest.set(intent.target, intent);
      return;
    }
    for (const number of intent.numbers) numbers.delete(number);
    this.newest.delete(intent.target);
  }
}

/** Rejects with StorageError. */
export async function readIntents(partition: StreamPartition): Promise<IntentReplay> {
  const collector = new IntentCollector();
  await readAllRecords(partition, ({ value, offset }) => {
    if (value !== null) collector.take(value, offset);
  });
  return collector;
}
