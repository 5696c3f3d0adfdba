/** Assertions: a broken invariant stops the thread, which is then replaced. Always on, on every thread. */

/** Throws `AssertionError` when `condition` is false. Never use it for input from outside. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** A broken invariant: a defect in RingMQ, never the fault of a client. */
export class AssertionError extends Error {
  override readonly name = 'AssertionError';
}
