/**
 * The port through which the connection workers of one node tell each other rare things: members of a group, a
 * setting that changed. It is not for messages: those go over the rings.
 *
 * Thread: each connection worker has its own implementation. Broadcasts of one worker arrive at every other worker in
 * the order in which they were sent; `onWorkerGone` of a worker comes after the last broadcast of that worker.
 */

export interface ControlPlane {
  /**
   * Sends `payload` (structured-cloneable) to every other worker that serves. `done` runs once, when each of them has
   * handled it or died: before `broadcast` returns when there is no other worker, else later. What a worker had
   * broadcast before it handled this has arrived here by then.
   */
  broadcast(channel: string, payload: unknown, done: () => void): void;
  /** Registers the one handler of `channel` on this worker. It has handled the payload when it returns. */
  onBroadcast(channel: string, handler: (fromWorker: number, payload: unknown) => void): void;
  /** Another worker died: everything that it owned is void. It gets a successor with the same index. */
  onWorkerGone(handler: (worker: number) => void): void;
  /**
   * Another worker serves from now on. It got none of the broadcasts sent before this call, so tell it what it must
   * know. A worker that starts hears of every worker that serves already.
   */
  onWorkerReady(handler: (worker: number) => void): void;
}
