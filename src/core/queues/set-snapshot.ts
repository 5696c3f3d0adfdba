/**
 * Writes all that an acknowledgement set knows as operations, so that everything before can be forgotten. Thread: the owner of the set;
 * called when its records have grown.
 */
import { type EntryTable, nothing } from './entry-table.ts';
import { stateNumber } from './message-state.ts';
import type { Burial, SetRecordWriter } from './set-records.ts';

export interface SnapshotPlaces {
  /** Read position of each partition. */
  readonly positions: readonly number[];
  readonly deathSequence: number;
  readonly deathEpoch: number;
  readonly burial: Burial | null;
}

export function writeSnapshot(writer: SetRecordWriter, table: EntryTable, places: SnapshotPlaces): void {
  writer.clear();
  writer.snapshot();
  for (const [partition, position] of places.positions.entries()) {
    const first = table.firstOf(partition);
    const floor = first === nothing ? position : table.offset[first];
    writer.reset(partition, floor);
    writePartition(writer, table, partition, floor, position);
  }
  writer.buried(places.deathSequence, places.deathEpoch);
  if (places.burial !== null) writer.bury(places.burial);
}

/** Runs of messages that are alike, and the settled ranges between them. */
function writePartition(
  writer: SetRecordWriter,
  table: EntryTable,
  partition: number,
  floor: number,
  position: number,
): void {
  let end = floor;
  for (let slot = table.firstOf(partition); slot !== nothing; ) {
    const first = table.offset[slot];
    const { count, firstFailure } = table;
    const head = slot;
    let length = 0;
    while (slot !== nothing && table.offset[slot] === first + length && isAlike(table, head, slot)) {
      length += 1;
      slot = table.nextByOffset[slot];
    }
    if (first > end) writer.skip(partition, end, first - end);
    writer.return(partition, first, length, count[head], dueOf(table, head), firstFailure[head]);
    end = first + length;
  }
  if (position > end) writer.skip(partition, end, position - end);
}

function dueOf(table: EntryTable, slot: number): number {
  return table.state[slot] === stateNumber.delayed ? table.due[slot] : 0;
}

function isAlike(table: EntryTable, one: number, other: number): boolean {
  return (
    table.count[one] === table.count[other] &&
    table.firstFailure[one] === table.firstFailure[other] &&
    dueOf(table, one) === dueOf(table, other)
  );
}
