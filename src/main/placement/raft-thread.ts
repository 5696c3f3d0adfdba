/**
 * The one life of the Raft worker, as the main thread sees it. Created by the placement host, or by `main.ts` ahead of it
 * so that it loads its modules while the main thread still reads the configuration.
 */
import type { MessagePort } from 'node:worker_threads';
import type { MainToRaft, RaftToMain } from '../../raft/messages.ts';
import { raftWorkerUrl } from '../../raft/worker-url.ts';
import { WorkerLife } from '../supervision/worker-life.ts';

/** Less than the default of 48: what the state keeps until its next flush is copied by every collection, and writes wait for that. */
const resourceLimits = { maxYoungGenerationSizeMb: 32 };

export class RaftThread extends WorkerLife<MainToRaft, RaftToMain> {
  constructor() {
    super(raftWorkerUrl, 'ringmq raft worker', resourceLimits);
  }

  /** Gives the thread the other end of a client's port. */
  connect(port: MessagePort): void {
    this.post({ type: 'connect', port }, [port]);
  }
}
