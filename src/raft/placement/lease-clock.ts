/**
 * The leader's clock of leases and registered nodes: decides when their time is up, and proposes it. Only the leader's
 * clock counts, and a new leader gives everything its full time again, so nothing ends too early. Pure: the time is given.
 * Thread: the Raft worker; owned by the replica, fed by the state machine.
 */
import type { Command, CommandResult, LeaseId, QueryResult } from '../../core/ports/placement.ts';
import { refuse } from './refusal.ts';
import type { ExpiryListener } from './state-core.ts';

/** An expiry that was proposed and is not applied after so long is proposed again. */
const REPEAT_MS = 1_000;

/** What the clock asks of the state. */
export interface ExpirySource {
  setExpiryListener(listener: ExpiryListener | null): void;
  query(query: { readonly type: 'leases' | 'nodes'; readonly consistency: 'serializable' }): QueryResult;
}

interface Timer {
  readonly kind: 'lease' | 'node';
  readonly lease: LeaseId;
  readonly node: string;
  readonly epoch: number;
  readonly ttlMs: number;
  /** Infinity until the first look at the clock after it was made. */
  deadline: number;
  /** Its end was proposed: it cannot be extended any more. */
  isEnding: boolean;
  isOver: boolean;
}

interface HeapEntry {
  readonly at: number;
  readonly timer: Timer;
}

export class LeaseClock implements ExpiryListener {
  private readonly source: ExpirySource;
  private readonly leases = new Map<LeaseId, Timer>();
  private readonly nodes = new Map<string, Timer>();
  private readonly heap = new DeadlineHeap();
  /** Made since the last look at the clock: their time begins at the next, which can only make it longer. */
  private fresh: Timer[] = [];
  private isLeader = false;

  /** Has itself told of what is granted and registered. */
  constructor(source: ExpirySource) {
    this.source = source;
    source.setExpiryListener(this);
  }

  /** Gives every lease and node its full time from now on. */
  becomeLeader(nowMs: number): void {
    this.isLeader = true;
    this.takeAll();
    this.startFresh(nowMs);
  }

  resign(): void {
    this.isLeader = false;
    this.clear();
  }

  /** `lease` with its full time, or refused with `LEASE_NOT_FOUND`, also when its end is on its way. */
  keepAlive(lease: LeaseId, nowMs: number): CommandResult {
    this.startFresh(nowMs);
    const timer = this.leases.get(lease);
    if (timer === undefined || timer.isEnding) return refuse('LEASE_NOT_FOUND', `There is no lease ${lease}`);
    timer.deadline = nowMs + timer.ttlMs;
    return { type: 'lease', lease, epoch: timer.epoch, ttlMs: timer.ttlMs };
  }

  /** `node`, or refused with `NODE_NOT_FOUND` (also when its time was up) or, for an older incarnation, `NODE_FENCED`. */
  heartbeat(node: string, epoch: number, nowMs: number): CommandResult {
    this.startFresh(nowMs);
    const timer = this.nodes.get(node);
    if (timer === undefined) return refuse('NODE_NOT_FOUND', `The node "${node}" is not in service`);
    if (timer.epoch !== epoch || timer.isEnding) {
      return refuse('NODE_FENCED', `The node "${node}" is in service with the epoch ${timer.epoch}`);
    }
    timer.deadline = nowMs + timer.ttlMs;
    return { type: 'node', node, epoch };
  }

  /** What to propose now: the ends of leases and nodes whose time is up. Empty unless leader. */
  due(nowMs: number): readonly Command[] {
    this.startFresh(nowMs);
    const commands: Command[] = [];
    let entry = this.heap.peek();
    while (entry !== null && entry.at <= nowMs) {
      this.heap.pop();
      const { timer } = entry;
      if (!timer.isOver) {
        if (timer.deadline <= nowMs) {
          timer.isEnding = true;
          timer.deadline = nowMs + REPEAT_MS;
          commands.push(endOf(timer));
        }
        this.heap.push({ at: timer.deadline, timer });
      }
      entry = this.heap.peek();
    }
    return commands;
  }

  /** `result` with the time that its leases have left. */
  withRemaining(result: QueryResult, nowMs: number): QueryResult {
    if (result.type !== 'leases' || !this.isLeader) return result;
    this.startFresh(nowMs);
    const leases = result.leases.map((info) => {
      const timer = this.leases.get(info.lease);
      if (timer === undefined) return info;
      return { ...info, remainingMs: timer.isEnding ? 0 : Math.max(timer.deadline - nowMs, 0) };
    });
    return { ...result, leases };
  }

  onGranted(lease: LeaseId, epoch: number, ttlMs: number): void {
    if (!this.isLeader) return;
    const timer = newTimer('lease', lease, '', epoch, ttlMs);
    this.leases.set(lease, timer);
    this.fresh.push(timer);
  }

  onLeaseEnded(lease: LeaseId): void {
    const timer = this.leases.get(lease);
    if (timer === undefined) return;
    timer.isOver = true;
    this.leases.delete(lease);
  }

  onRegistered(node: string, epoch: number, ttlMs: number): void {
    if (!this.isLeader) return;
    this.onNodeEnded(node);
    const timer = newTimer('node', 0, node, epoch, ttlMs);
    this.nodes.set(node, timer);
    this.fresh.push(timer);
  }

  onNodeEnded(node: string): void {
    const timer = this.nodes.get(node);
    if (timer === undefined) return;
    timer.isOver = true;
    this.nodes.delete(node);
  }

  onReset(): void {
    if (this.isLeader) this.takeAll();
  }

  private takeAll(): void {
    this.clear();
    const leases = this.source.query({ type: 'leases', consistency: 'serializable' });
    if (leases.type === 'leases') {
      for (const { lease, epoch, ttlMs } of leases.leases) this.onGranted(lease, epoch, ttlMs);
    }
    const nodes = this.source.query({ type: 'nodes', consistency: 'serializable' });
    if (nodes.type !== 'nodes') return;
    for (const { node, epoch, ttlMs, state } of nodes.nodes) {
      if (state === 'in-service') this.onRegistered(node, epoch, ttlMs);
    }
  }

  private clear(): void {
    this.leases.clear();
    this.nodes.clear();
    this.heap.clear();
    this.fresh = [];
  }

  private startFresh(nowMs: number): void {
    if (this.fresh.length === 0) return;
    const { fresh } = this;
    this.fresh = [];
    for (const timer of fresh) {
      if (timer.isOver) continue;
      timer.deadline = nowMs + timer.ttlMs;
      this.heap.push({ at: timer.deadline, timer });
    }
  }
}

function newTimer(kind: Timer['kind'], lease: LeaseId, node: string, epoch: number, ttlMs: number): Timer {
  return { kind, lease, node, epoch, ttlMs, deadline: Number.POSITIVE_INFINITY, isEnding: false, isOver: false };
}

function endOf({ kind, lease, node, epoch }: Timer): Command {
  return kind === 'lease' ? { type: 'lease-expire', lease, epoch } : { type: 'node-expire', node, epoch };
}

/** The earliest first. A deadline that moves back keeps its entry, which is put right when its time comes. */
class DeadlineHeap {
  private readonly entries: HeapEntry[] = [];

  peek(): HeapEntry | null {
    return this.entries[0] ?? null;
  }

  clear(): void {
    this.entries.length = 0;
  }

  push(entry: HeapEntry): void {
    const { entries } = this;
    let index = entries.length;
    entries.push(entry);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (entries[parent].at <= entry.at) break;
      entries[index] = entries[parent];
      index = parent;
    }
    entries[index] = entry;
  }

  pop(): void {
    const { entries } = this;
    const last = entries.pop();
    if (last === undefined || entries.length === 0) return;
    let index = 0;
    while (true) {
      let child = index * 2 + 1;
      if (child >= entries.length) break;
      if (child + 1 < entries.length && entries[child + 1].at < entries[child].at) child++;
      if (entries[child].at >= last.at) break;
      entries[index] = entries[child];
      index = child;
    }
    entries[index] = last;
  }
}
