/**
 * Entry of a connection worker's thread. The main thread starts it and sends `start` first; everything the thread does
 * is in `runtime/worker-runtime.ts`.
 *
 * Its modules are loaded before `start` arrives, so a thread can be started while the configuration is still being read.
 */
import { parentPort } from 'node:worker_threads';
import type { CreateProtocolWorker } from '../core/ports/protocol.ts';
import { createLogger } from '../observability/log.ts';
import { protocols } from '../protocols/registry.ts';
import { assert } from '../std/assert.ts';
import type { MainToWorker, WorkerToMain } from './messages.ts';
import { protocolsInUse } from './runtime/worker-metrics-layout.ts';
import { WorkerRuntime } from './runtime/worker-runtime.ts';
import type { WorkerStart } from './runtime/worker-start.ts';

const createWorkers = new Map<string, CreateProtocolWorker>();
for (const protocol of protocols) createWorkers.set(protocol.name, await protocol.loadWorker());

const port = parentPort;
assert(port !== null, 'this module is the entry of a worker thread');
let runtime: WorkerRuntime | null = null;

const post = (message: WorkerToMain): void => port.postMessage(message);

function start(options: WorkerStart): WorkerRuntime {
  const log = createLogger({ ...options.log, bindings: { worker: options.workerIndex } });
  const inUse = protocolsInUse(protocols, options.listeners);
  return new WorkerRuntime({ start: options, protocols: inUse, createWorkers, log, post });
}

// A socket that cannot be taken over (out of descriptors) or a defect: the count of connections is wrong from here on,
// so the thread ends and its successor begins with none.
port.on('messageerror', (error) => {
  throw error;
});

port.on('message', (message: MainToWorker) => {
  if (message.type === 'start') {
    assert(runtime === null, 'a worker is started once');
    runtime = start(message.start);
    void runtime.open().then(() => post({ type: 'ready' }));
    return;
  }
  assert(runtime !== null, 'a worker is started before it is told anything else');
  runtime.handle(message);
  // The thread ends by itself when nothing is left to do; the last output leaves in the meantime.
  if (message.type === 'stop') port.close();
});
