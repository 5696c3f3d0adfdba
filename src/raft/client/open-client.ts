/**
 * The placement centre on a thread that reads much: writes and linearizable reads over the port, serializable reads
 * straight from the store. Thread: any but the Raft worker; the port's other end is with the Raft worker, which must have
 * started. Loads the store's library, so threads that seldom read take a `PlacementClient` without a reader.
 */
import type { MessagePort } from 'node:worker_threads';
import { PlacementReader } from '../placement/placement-reader.ts';
import { PlacementClient } from './placement-client.ts';

/** `stateFolder`: see `node/storage.ts`. */
export function openPlacementClient(port: MessagePort, stateFolder: string): PlacementClient {
  return new PlacementClient(port, PlacementReader.open({ path: stateFolder }));
}
