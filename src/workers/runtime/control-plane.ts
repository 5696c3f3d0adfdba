/**
 * The connection worker's half of the control plane (`core/ports/control-plane.ts`); the hub on the main thread is the
 * other half. Lives on a connection worker; the worker runtime feeds it with the messages of the main thread.
 */
import type { ControlPlane } from '../../core/ports/control-plane.ts';
import { assert } from '../../std/assert.ts';
import type { BroadcastDelivery, WorkerToMain } from '../messages.ts';

export class WorkerControlPlane implements ControlPlane {
  private readonly workerCount: number;
  private readonly post: (message: WorkerToMain) => void;
  private readonly handlers = new Map<string, (fromWorker: number, payload: unknown) => void>();
  private readonly goneHandlers: ((worker: number) => void)[] = [];
  private readonly readyHandlers: ((worker: number) => void)[] = [];
  private readonly pending = new Map<number, () => void>();
  private nextId = 1;

  constructor(workerCount: number, post: (message: WorkerToMain) => void) {
    this.workerCount = workerCount;
    this.post = post;
  }

  broadcast(channel: string, payload: unknown, done: () => void): void {
    if (this.workerCount === 1) {
      done();
      return;
    }
    const id = this.nextId++;
    this.pending.set(id, done);
    this.post({ type: 'broadcast', id, channel, payload });
  }

  onBroadcast(channel: string, handler: (fromWorker: number, payload: unknown) => void): void {
    assert(!this.handlers.has(channel), `one handler per channel: ${channel}`);
    this.handlers.set(channel, handler);
  }

  onWorkerGone(handler: (worker: number) => void): void {
    this.goneHandlers.push(handler);
  }

  onWorkerReady(handler: (worker: number) => void): void {
    this.readyHandlers.push(handler);
  }

  deliver(message: BroadcastDelivery): void {
    const handler = this.handlers.get(message.channel);
    // Every worker runs the same protocols with the same settings, so it has the same channels.
    assert(handler !== undefined, `a channel that is sent to has a handler: ${message.channel}`);
    handler(message.from, message.payload);
    this.post({ type: 'broadcast-handled', delivery: message.delivery });
  }

  done(id: number): void {
    const done = this.pending.get(id);
    assert(done !== undefined, 'a broadcast is done once');
    this.pending.delete(id);
    done();
  }

  workerGone(worker: number): void {
    for (const handler of this.goneHandlers) handler(worker);
  }

  workerReady(worker: number): void {
    for (const handler of this.readyHandlers) handler(worker);
  }
}
