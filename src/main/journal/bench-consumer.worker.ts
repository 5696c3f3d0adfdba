/**
 * A consumer that is far behind: asks the journal's thread where the batches lie and reads them with what every client of the store
 * reads with, `PlanReader`, at the pace that the journal's thread finds. A thread of its own; started by `bench-lag.ts`.
 */

import { parentPort, workerData } from 'node:worker_threads';
import type { FilePlan } from '../../core/ports/read-plan.ts';
import { assert } from '../../std/assert.ts';
import { toError } from '../../std/errors.ts';
import { ColdGate } from '../../workers/storage/client/cold-gate.ts';
import { PlanReader } from '../../workers/storage/client/plan-reader.ts';
import type { ConsumerData, FromConsumer, ToConsumer } from './bench-consumer-messages.ts';

const bytesMax = 1024 * 1024;

const port = parentPort;
assert(port !== null, 'the consumer runs in a worker thread');
const { coldPace, line } = workerData as ConsumerData;
const reader = new PlanReader(new ColdGate(coldPace, line));

let isStopped = true;
let onPlan: (plan: FilePlan | null) => void = () => undefined;

function post(message: FromConsumer): void {
  port?.postMessage(message);
}

function locate(offset: number): Promise<FilePlan | null> {
  return new Promise((resolve) => {
    onPlan = resolve;
    post({ type: 'locate', offset });
  });
}

async function run(): Promise<void> {
  let bytes = 0;
  let error: string | null = null;
  try {
    let offset = 0;
    while (!isStopped) {
      const plan = await locate(offset);
      // At the end of what is cold.
      if (plan === null) break;
      const answer = await reader.read(plan, { offset, bytesMax });
      if (answer === null || answer.bytes === 0) throw new Error(`no batch of offset ${offset} in ${plan.path}`);
      offset = answer.nextOffset;
      bytes += answer.bytes;
    }
  } catch (thrown) {
    error = toError(thrown).message;
  }
  post({ type: 'stopped', bytes, error });
}

port.on('message', (message: ToConsumer) => {
  if (message.type === 'plan') onPlan(message.plan);
  else if (message.type === 'stop') isStopped = true;
  else {
    isStopped = false;
    void run();
  }
});
