/** How the consensus core counts an entry against its limits. Raft worker. */
import type { Entry } from './types.ts';

/** Estimate of what an entry weighs beside its data, on the wire and in memory: keeps empty entries from being free. */
const overheadBytes = 32;

export function entryBytes(entry: { readonly data: Uint8Array }): number {
  return entry.data.length + overheadBytes;
}

export function totalBytes(entries: readonly Entry[]): number {
  let bytes = 0;
  for (const entry of entries) bytes += entryBytes(entry);
  return bytes;
}
