/**
 * Nodes of a cluster as far as names of sessions go: real hubs, real halves of the workers, a real placement state, and owners that keep their
 * sessions in memory. Calls between nodes, and those to the placement centre, can be made to fail.
 */

import { PlacementError, type PlacementNode } from '../../../src/core/ports/placement.ts';
import type {
  SessionArriving,
  SessionDeparting,
  SessionMoves,
  SessionNames,
  SessionOwner,
} from '../../../src/core/ports/session-directory.ts';
import { NodePlane } from '../../../src/main/directory/node-plane.ts';
import { SessionDirectoryHub } from '../../../src/main/directory/session-directory-hub.ts';
import { NodeCalls } from '../../../src/main/placement/node-calls.ts';
import { createLogger } from '../../../src/observability/log.ts';
import type { MainToRaft } from '../../../src/raft/messages.ts';
import type { MainToWorker, WorkerToMain } from '../../../src/workers/messages.ts';
import { WorkerSessionDirectory } from '../../../src/workers/runtime/session-directory.ts';
import { PlacementMachine } from '../placement-machine.ts';

export const scope = 'toy';

/** One placement centre for all nodes of a test. */
export class TestPlacement {
  readonly machine = new PlacementMachine();
  writes = 0;
  /** Nobody leads. */
  isDown = false;

  get node(): PlacementNode {
    const later = async <T>(work: () => T): Promise<T> => {
      await new Promise((resolve) => setImmediate(resolve));
      if (this.isDown) throw new PlacementError('NO_LEADER', 'Nobody leads');
      const result = work();
      setImmediate(() => this.machine.runDeferred());
      return result;
    };
    const refuse = (): never => {
      throw new PlacementError('MEMBERSHIP_REFUSED', 'not here');
    };
    return {
      execute: (command) =>
        later(() => {
          this.writes += 1;
          return this.machine.run(command);
        }),
      query: (query) => later(() => this.machine.query(query)),
      watch: (request, watcher) => this.machine.state.watch(request, watcher),
      ...{ keepAlive: refuse, heartbeat: refuse, status: refuse, addLearner: refuse, promote: refuse },
      ...{ remove: refuse, transferLeadership: refuse },
    };
  }

  register(node: string): number {
    const addresses: readonly (readonly [string, string])[] = [];
    const given = { addresses, roles: ['broker'], rack: '', ttlMs: 10_000 };
    const result = this.machine.run({ type: 'node-register', node, ...given });
    return result.type === 'node' ? result.epoch : 0;
  }

  expire(node: string, epoch: number): void {
    this.machine.run({ type: 'node-expire', node, epoch });
  }
}

/** A session of a test: what waits for it. */
export interface ToySession {
  readonly parts: string[];
  isLasting: boolean;
  isMoving: boolean;
  /** Of the move that brought it, while nobody has said that it is at home. */
  arrival: number;
}

export class ToyOwner implements SessionOwner, SessionMoves {
  readonly sessions = new Map<string, ToySession>();
  readonly calls: string[] = [];

  get moves(): SessionMoves {
    return this;
  }

  yieldSession(name: string): unknown {
    return this.sessions.get(name)?.parts;
  }

  releaseSession(name: string): unknown {
    this.sessions.delete(name);
    return undefined;
  }

  discardSession(name: string): void {
    this.calls.push(`discard ${name}`);
    this.sessions.delete(name);
  }

  keepSession(name: string): void {
    this.calls.push(`keep ${name}`);
    const session = this.sessions.get(name);
    if (session !== undefined) session.isMoving = false;
  }

  dropCopy(name: string): void {
    this.calls.push(`drop ${name}`);
    this.sessions.delete(name);
  }

  names(): SessionNames {
    const all = [...this.sessions];
    const of = (isLasting: boolean) => all.filter(([, each]) => each.isLasting === isLasting).map(([name]) => name);
    return { lasting: of(true), live: of(false) };
  }

  async depart(name: string): Promise<SessionDeparting | null> {
    this.calls.push(`depart ${name}`);
    const session = this.sessions.get(name);
    if (session === undefined) return null;
    if (!session.isLasting) {
      this.sessions.delete(name);
      return null;
    }
    session.isMoving = true;
    const left = [...session.parts];
    return {
      next: async () => {
        const part = left.shift();
        return part === undefined ? null : Buffer.from(part);
      },
    };
  }

  departed(name: string): void {
    this.calls.push(`departed ${name}`);
    this.sessions.delete(name);
  }

  async arrive(name: string): Promise<SessionArriving> {
    const parts: string[] = [];
    return {
      take: async (part) => void parts.push(Buffer.from(part).toString()),
      finish: async (epoch) => void this.sessions.set(name, { parts, isLasting: true, isMoving: true, arrival: epoch }),
      abort: () => void this.calls.push(`abort ${name}`),
    };
  }

  settleArrival(name: string, epoch: number | null): void {
    const session = this.sessions.get(name);
    if (session === undefined || session.arrival === 0) return;
    if (epoch !== null && session.arrival !== epoch) {
      this.sessions.delete(name);
      return;
    }
    session.arrival = 0;
    session.isMoving = false;
  }
}

export interface NodeOptions {
  readonly workers?: number;
  readonly ownerLostAfterMs?: number;
}

export class TestNode {
  readonly name: string;
  readonly owners: ToyOwner[];
  readonly directories: WorkerSessionDirectory[];
  readonly hub: SessionDirectoryHub;
  readonly plane: NodePlane;
  readonly calls: NodeCalls;
  readonly placement: TestPlacement;
  readonly logged: string[] = [];
  nodeEpoch: number;
  /** The process lives, and its network works. */
  isUp = true;
  messageCount = 0;
  /** Called before a call of another node is answered. */
  beforeCall: (subject: string) => void = () => undefined;
  #members: readonly string[] = [];

  constructor(name: string, network: Map<string, TestNode>, placement: TestPlacement, options: NodeOptions = {}) {
    const { workers = 1, ownerLostAfterMs = 0 } = options;
    this.name = name;
    this.placement = placement;
    this.nodeEpoch = placement.register(name);
    network.set(name, this);
    const live = Array.from({ length: workers }, (_, index) => index);
    const post = {
      liveWorkers: () => live,
      post: (worker: number, message: MainToWorker) => {
        const copy = structuredClone(message);
        setImmediate(() => this.#toWorker(worker, copy));
      },
    };
    this.hub = new SessionDirectoryHub(post);
    this.owners = live.map(() => new ToyOwner());
    this.directories = live.map((worker) => {
      const send = (message: WorkerToMain): void => {
        this.messageCount += 1;
        const copy = structuredClone(message);
        setImmediate(() => this.#toMain(worker, copy));
      };
      const directory = new WorkerSessionDirectory(workers, { catchUp: () => undefined }, send);
      directory.register(scope, this.owners[worker]);
      return directory;
    });
    this.calls = new NodeCalls((message) => setImmediate(() => this.#send(network, message)));
    const log = createLogger({ level: 'warn', format: 'json', write: (line) => void this.logged.push(line) });
    this.plane = new NodePlane({
      workers: post,
      hub: this.hub,
      placement: () => placement.node,
      calls: this.calls,
      node: () => name,
      nodeEpoch: () => this.nodeEpoch,
      ownerLostAfterMs,
      waits: { takeMs: 400, silenceMs: 300 },
      log,
    });
  }

  /** All workers serve, and know what is stored. */
  async open(members: readonly string[]): Promise<void> {
    this.setMembers(members);
    for (const [worker, owner] of this.owners.entries()) {
      const { lasting } = owner.names();
      this.directories[worker].announce(
        scope,
        lasting,
        lasting.map(() => 1),
      );
    }
    await this.turn();
    for (const worker of this.owners.keys()) this.hub.resumed(worker);
    this.hub.beginningEnds();
    await this.plane.open();
  }

  setMembers(members: readonly string[]): void {
    this.#members = members;
    const shape = { isLeader: false, matchIndex: 0, isReachable: null, role: 'voter', address: '' } as const;
    const status = { members: this.#members.map((name) => ({ ...shape, name, replica: name })) };
    this.plane.statusChanged(status as unknown as Parameters<NodePlane['statusChanged']>[0]);
  }

  /** A client comes; answers what its session has, or `refused`. */
  connect(name: string, options: { worker?: number; discard?: boolean; isLasting?: boolean } = {}): Promise<string> {
    const { worker = 0, discard = false, isLasting = true } = options;
    const owner = this.owners[worker];
    return new Promise((resolve) => {
      this.directories[worker].claim(scope, name, discard, isLasting, {
        install: (state) => {
          owner.sessions.set(name, { parts: state as string[], isLasting, isMoving: false, arrival: 0 });
          return 1;
        },
        granted: () => {
          if (discard) owner.sessions.delete(name);
          const session = owner.sessions.get(name) ?? { parts: [], isLasting, isMoving: false, arrival: 0 };
          owner.sessions.set(name, session);
          resolve(session.isMoving ? 'moving' : session.parts.join(' '));
        },
        refused: () => resolve('refused'),
      });
    });
  }

  hold(name: string, owner: string, worker = 0): Promise<boolean> {
    return new Promise((resolve) => this.directories[worker].hold(name, owner, resolve));
  }

  async turn(count = 20): Promise<void> {
    for (let at = 0; at < count; at += 1) await new Promise((resolve) => setImmediate(resolve));
  }

  stop(): void {
    this.plane.stop();
    this.calls.close();
  }

  #toMain(worker: number, message: WorkerToMain): void {
    if (message.type === 'hold-name' || message.type === 'let-name') this.plane.handle(worker, message);
    else this.hub.handle(worker, message as Parameters<SessionDirectoryHub['handle']>[1]);
  }

  #toWorker(worker: number, message: MainToWorker): void {
    this.directories[worker].handle(message as Parameters<WorkerSessionDirectory['handle']>[0]);
  }

  /** What the Raft workers do. */
  #send(network: Map<string, TestNode>, message: MainToRaft): void {
    if (message.type === 'node-call') {
      const other = network.get(message.node);
      other?.beforeCall(message.subject);
      if (other === undefined || !other.isUp || !this.isUp) {
        this.calls.handle({ type: 'node-answer', id: message.id, body: null, problem: 'it does not answer' });
        return;
      }
      other.calls.handle({ ...message, node: this.name, id: message.id * 1_000 + this.name.charCodeAt(0) });
    } else if (message.type === 'node-answer') {
      const other = [...network.values()].find(({ name }) => name.charCodeAt(0) === message.id % 1_000);
      if (this.isUp) other?.calls.handle({ ...message, id: Math.floor(message.id / 1_000) });
    }
  }
}
