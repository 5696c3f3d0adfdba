/**
 * Entry of the Raft worker's thread. The main thread starts it and sends `start` first; everything the thread does is in
 * `node/raft-runtime.ts`.
 *
 * Its modules are loaded before `start` arrives, so the thread can be started while the configuration is still being read.
 */
import { parentPort } from 'node:worker_threads';
import { whenClosed } from '../core/files/remove-file.ts';
import { createLogger, type RootLogger } from '../observability/log.ts';
import { assert } from '../std/assert.ts';
import type { MainToRaft, RaftFailedMessage, RaftStart, RaftToMain } from './messages.ts';
import { RaftRuntime } from './node/raft-runtime.ts';

const port = parentPort;
assert(port !== null, 'this module is the entry of a worker thread');
let runtime: Promise<RaftRuntime | null> | null = null;
let log: RootLogger | null = null;

const post = (message: RaftToMain): void => port.postMessage(message);

async function start(options: RaftStart): Promise<RaftRuntime | null> {
  log = createLogger({ ...options.log, bindings: { worker: 'raft' } });
  try {
    const started = await RaftRuntime.start(options, log, post);
    post({ type: 'ready', name: started.name, address: started.address });
    return started;
  } catch (error) {
    const { name, message } = error as Error;
    post({ type: 'failed', reason: reasonOf(name), message });
    return null;
  }
}

function reasonOf(name: string): RaftFailedMessage['reason'] {
  if (name === 'CorruptionError') return 'corrupted';
  return name === 'ClusterAddressError' ? 'address' : 'other';
}

async function stop(limitMs: number): Promise<void> {
  const started = await runtime;
  await started?.stop(limitMs);
  log?.flush();
  await whenClosed();
  post({ type: 'stopped' });
  // Calls to other nodes that nobody waits for any more would keep the thread until they time out.
  process.exit();
}

port.on('messageerror', (error) => {
  throw error;
});

port.on('message', (message: MainToRaft) => {
  switch (message.type) {
    case 'start':
      assert(runtime === null, 'the Raft worker is started once');
      runtime = start(message.start);
      break;
    case 'connect':
      void runtime?.then((started) => {
        if (started === null) message.port.close();
        else started.connect(message.port);
      });
      break;
    case 'node-call':
    case 'node-answer':
      void runtime?.then((started) => started?.handleCall(message));
      break;
    case 'stop':
      void stop(message.limitMs);
  }
});
