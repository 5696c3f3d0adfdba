/**
 * The control plane of several workers in one process, with every delivery in the test's hand: broadcasts wait until
 * `deliverOne` or `deliverAll`, in the order that `core/ports/control-plane.ts` promises.
 */
import type { ControlPlane } from '../../src/core/ports/control-plane.ts';

interface Broadcast {
  readonly from: number;
  readonly channel: string;
  readonly payload: unknown;
  readonly targets: Set<number>;
  readonly done: () => void;
  readonly sequence: number;
  /** For each worker that handled it, how many broadcasts there had been. */
  readonly handledAt: Map<number, number>;
}

class Plane implements ControlPlane {
  readonly handlers = new Map<string, (fromWorker: number, payload: unknown) => void>();
  readonly gone: ((worker: number) => void)[] = [];
  readonly ready: ((worker: number) => void)[] = [];
  private readonly hub: ControlPlaneHub;
  private readonly worker: number;

  constructor(hub: ControlPlaneHub, worker: number) {
    this.hub = hub;
    this.worker = worker;
  }

  broadcast(channel: string, payload: unknown, done: () => void): void {
    this.hub.broadcast(this.worker, channel, payload, done);
  }

  onBroadcast(channel: string, handler: (fromWorker: number, payload: unknown) => void): void {
    this.handlers.set(channel, handler);
  }

  onWorkerGone(handler: (worker: number) => void): void {
    this.gone.push(handler);
  }

  onWorkerReady(handler: (worker: number) => void): void {
    this.ready.push(handler);
  }
}

export class ControlPlaneHub {
  /** Deliver within `broadcast`, as if every worker answered at once. */
  isImmediate = true;
  private readonly planes = new Map<number, Plane>();
  private pending: Broadcast[] = [];
  private sequence = 0;

  /** The plane of a new worker; its predecessor's is void. */
  add(worker: number): ControlPlane {
    const plane = new Plane(this, worker);
    this.planes.set(worker, plane);
    return plane;
  }

  /** Tells the others, and the worker of the others, that it serves. */
  ready(worker: number): void {
    for (const [other, plane] of this.planes) {
      if (other === worker) continue;
      for (const handler of plane.ready) handler(worker);
      for (const handler of this.planes.get(worker)?.ready ?? []) handler(other);
    }
  }

  /** What the worker sent arrives first, then the news of its death. */
  remove(worker: number): void {
    this.planes.delete(worker);
    this.deliverAll();
    for (const plane of this.planes.values()) for (const handler of plane.gone) handler(worker);
  }

  broadcast(from: number, channel: string, payload: unknown, done: () => void): void {
    const targets = new Set([...this.planes.keys()].filter((worker) => worker !== from));
    const sequence = this.sequence++;
    this.pending.push({
      from,
      channel,
      payload: structuredClone(payload),
      targets,
      done,
      sequence,
      handledAt: new Map(),
    });
    if (this.isImmediate) this.deliverAll();
  }

  get pendingCount(): number {
    return this.pending.length;
  }

  /** Delivers the oldest broadcast that `worker` has not seen; false when there is none. */
  deliverTo(worker: number): boolean {
    const broadcast = this.pending.find(({ targets }) => targets.has(worker));
    if (broadcast === undefined) return false;
    this.handle(broadcast, worker);
    this.finish();
    return true;
  }

  private handle(broadcast: Broadcast, worker: number): void {
    broadcast.targets.delete(worker);
    this.planes.get(worker)?.handlers.get(broadcast.channel)?.(broadcast.from, broadcast.payload);
    broadcast.handledAt.set(worker, this.sequence);
  }

  /** What the others had sent before they handled it arrives before its sender hears that it is done. */
  private deliverEarlier({ from, handledAt }: Broadcast): void {
    for (const other of [...this.pending]) {
      const isEarlier = other.sequence < (handledAt.get(other.from) ?? 0);
      if (isEarlier && other.targets.has(from)) this.handle(other, from);
    }
  }

  deliverAll(): void {
    for (const worker of [...this.planes.keys()]) while (this.deliverTo(worker));
    this.finish();
  }

  private finish(): void {
    for (let first = this.pending[0]; first !== undefined; first = this.pending[0]) {
      for (const worker of first.targets) if (!this.planes.has(worker)) first.targets.delete(worker);
      if (first.targets.size > 0) return;
      this.deliverEarlier(first);
      this.pending.shift();
      first.done();
    }
  }
}
