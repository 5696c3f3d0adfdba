/**
 * The placement centre on a thread that reads: writes and linearizable reads over the port, serializable reads straight from
 * the store. Thread: any but the Raft worker; the port's other end is with the Raft worker. The store's library is loaded when
 * serializable reads turn out not to be rare.
 */
import type { MessagePort } from 'node:worker_threads';
import { PlacementClient } from './placement-client.ts';

/** `stateFolder`: see `node/storage.ts`. */
export function openPlacementClient(port: MessagePort, stateFolder: string): PlacementClient {
  return new PlacementClient(port, async () => {
    const { PlacementReader } = await import('../placement/placement-reader.ts');
    return PlacementReader.open({ path: stateFolder });
  });
}
