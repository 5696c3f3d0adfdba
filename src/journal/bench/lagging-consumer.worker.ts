/**
 * A consumer that is far behind: asks the journal's thread where the batches lie, reads the files by itself, and checks each batch, as
 * a connection worker does. A thread of its own; started by `lag-run.ts`.
 */

import { type FileHandle, open } from 'node:fs/promises';
import { parentPort } from 'node:worker_threads';
import { checkBatches } from '../../core/batch/check-batches.ts';
import type { FilePlan } from '../../core/ports/read-plan.ts';
import { assert } from '../../std/assert.ts';
import { toError } from '../../std/errors.ts';
import type { FromConsumer, StartConsumer, ToConsumer } from './consumer-messages.ts';

const port = parentPort;
assert(port !== null, 'the consumer runs in a worker thread');

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

/** Reads all that the plan covers; answers the next offset. */
async function consume(
  plan: FilePlan,
  from: number,
  how: StartConsumer,
  count: (bytes: number) => Promise<void>,
): Promise<number> {
  const { pieceBytes } = how;
  const memory = Buffer.allocUnsafeSlow(pieceBytes);
  const file: FileHandle = await open(plan.path);
  let { position, offset } = plan;
  try {
    while (position < plan.end && !isStopped) {
      const { bytesRead } = await file.read(memory, 0, Math.min(pieceBytes, plan.end - position), position);
      const checked = checkBatches(memory.subarray(0, bytesRead), {
        offset,
        from,
        limit: plan.limit,
        bytesMax: pieceBytes,
        takesOne: true,
        batchBytesMax: plan.batchBytesMax,
        epochs: plan.epochs,
      });
      if (checked.stop === 'fault' || checked.end === 0)
        throw new Error(`no batch at byte ${position} of ${plan.path}`);
      position += checked.end;
      offset = checked.nextOffset;
      await count(checked.end);
    }
  } finally {
    await file.close();
  }
  return offset;
}

async function run(how: StartConsumer): Promise<void> {
  let bytes = 0;
  const startMs = performance.now();
  const count = async (read: number): Promise<void> => {
    bytes += read;
    const dueMs = startMs + (bytes / how.bytesPerS) * 1000;
    const waitMs = dueMs - performance.now();
    if (waitMs > 1) await new Promise((resolve) => setTimeout(resolve, waitMs));
  };
  let error: string | null = null;
  try {
    let offset = 0;
    while (!isStopped) {
      const plan = await locate(offset);
      // At the end of what is cold.
      if (plan === null) break;
      offset = await consume(plan, offset, how, count);
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
    void run(message);
  }
});
