/** How a worker leaves the acceptor's turn: it says so and waits until the main thread has noted it. Both adapters. */
import type { MessagePort } from 'node:worker_threads';
import type { WebSocketTransport } from './port.ts';

/** Longer than any pause of a healthy main thread; a main thread that is gone would otherwise be waited for. */
const LEAVE_WAIT_MS_MAX = 5_000;

/** Main side: notes that the worker asked, and wakes it. Sequentially consistent, so the removal before it is visible. */
export function acknowledgeLeave(left: SharedArrayBuffer): void {
  const word = new Int32Array(left);
  Atomics.store(word, 0, 1);
  Atomics.notify(word, 0);
}

/** Worker side: after it resolves, the main thread hands no connection to this worker. */
export async function leave(transport: WebSocketTransport): Promise<void> {
  post(transport.port);
  const word = new Int32Array(transport.left);
  // Pairs with the store in `acknowledgeLeave`: a value of 1 seen here means that main has dropped this worker.
  const wait = Atomics.waitAsync(word, 0, 0, LEAVE_WAIT_MS_MAX);
  if (wait.async) await wait.value;
}

/** The same for a thread that is ending and whose event loop does not turn any more: blocks it. */
export function leaveBlocking(transport: WebSocketTransport): void {
  post(transport.port);
  // As in `leave`.
  Atomics.wait(new Int32Array(transport.left), 0, 0, LEAVE_WAIT_MS_MAX);
}

function post(port: MessagePort): void {
  port.postMessage('leave');
}
