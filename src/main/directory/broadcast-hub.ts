/**
 * The main thread's half of the control plane: passes a worker's broadcast to all others and tells it when all of
 * them have handled it. Lives on the main thread; the broker feeds it with messages and deaths.
 */
import type { BroadcastHandled, BroadcastRequest, MainToWorker } from '../../workers/messages.ts';

/** How a hub reaches workers. */
export interface WorkerPost {
  /** Indexes of the workers that serve now. */
  liveWorkers(): readonly number[];
  /** Sends to a worker that serves; a message to any other is dropped. */
  post(worker: number, message: MainToWorker): void;
}

interface Delivery {
  readonly from: number;
  readonly id: number;
  readonly waitingFor: Set<number>;
}

export class BroadcastHub {
  private readonly workers: WorkerPost;
  private readonly deliveries = new Map<number, Delivery>();
  private nextDelivery = 1;

  constructor(workers: WorkerPost) {
    this.workers = workers;
  }

  handle(from: number, message: BroadcastRequest | BroadcastHandled): void {
    if (message.type === 'broadcast') this.send(from, message);
    else this.acknowledge(message.delivery, from);
  }

  /** A dead worker has nothing to acknowledge and nobody to be told. */
  workerGone(worker: number): void {
    for (const [key, delivery] of this.deliveries) {
      if (delivery.from === worker) this.deliveries.delete(key);
      else this.acknowledge(key, worker);
    }
  }

  /** Broadcasts that are still waiting for a worker. */
  get pendingCount(): number {
    return this.deliveries.size;
  }

  private send(from: number, message: BroadcastRequest): void {
    const targets = this.workers.liveWorkers().filter((worker) => worker !== from);
    if (targets.length === 0) {
      this.workers.post(from, { type: 'broadcast-done', id: message.id });
      return;
    }
    const key = this.nextDelivery++;
    this.deliveries.set(key, { from, id: message.id, waitingFor: new Set(targets) });
    const { channel, payload } = message;
    for (const target of targets) {
      this.workers.post(target, { type: 'broadcast-delivery', delivery: key, from, channel, payload });
    }
  }

  private acknowledge(key: number, worker: number): void {
    const delivery = this.deliveries.get(key);
    if (delivery === undefined) return; // Its sender died meanwhile.
    delivery.waitingFor.delete(worker);
    if (delivery.waitingFor.size > 0) return;
    this.deliveries.delete(key);
    this.workers.post(delivery.from, { type: 'broadcast-done', id: delivery.id });
  }
}
