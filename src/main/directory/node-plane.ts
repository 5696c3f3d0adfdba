/**
 * What a node shares with the other nodes of its cluster beside metadata: names of sessions, and names that one session holds. While the node
 * is alone there is nothing of it, and nothing of it is loaded. Main thread; owned by the broker.
 */
import type { GroupStatus, PlacementNode } from '../../core/ports/placement.ts';
import type { Logger } from '../../observability/log.ts';
import type { NamesToMain } from '../../workers/messages.ts';
import type { NodeCalls } from '../placement/node-calls.ts';
import type { WorkerPost } from './broadcast-hub.ts';
import type { ClusterNodes } from './cluster-nodes.ts';
import type { NodeNames } from './node-names.ts';
import type { NodeSessions, NodeWaits } from './node-sessions.ts';
import type { SessionDirectoryHub } from './session-directory-hub.ts';

export interface NodePlaneOptions {
  readonly workers: WorkerPost;
  readonly hub: SessionDirectoryHub;
  placement(): PlacementNode;
  readonly calls: NodeCalls;
  /** Name of this node; '' before the placement centre has started. */
  node(): string;
  nodeEpoch(): number;
  readonly ownerLostAfterMs: number;
  /** Others than the usual ones. */
  readonly waits?: NodeWaits;
  readonly log: Logger;
}

interface Parts {
  readonly nodes: ClusterNodes;
  readonly sessions: NodeSessions;
  readonly names: NodeNames;
}

export class NodePlane {
  private readonly options: NodePlaneOptions;
  private isAlone = true;
  private members: readonly string[] = [];
  private parts: Parts | null = null;
  /** Resolves when the node has its neighbours in view. */
  private beginning: Promise<void> | null = null;
  /** Workers that have not said yet what they have. */
  private readonly asked = new Set<number>();
  private begun: PromiseWithResolvers<void> | null = null;
  /** The workers can be asked. */
  private isOpen = false;
  private isStopped = false;
  /** Incarnation of this node when the status was told last; 0 before it was registered. */
  private knownEpoch = 0;

  constructor(options: NodePlaneOptions) {
    this.options = options;
    options.hub.onOwned = (worker) => this.answered(worker);
  }

  /** The Raft worker says who is in the group. */
  statusChanged({ members }: GroupStatus): void {
    this.members = members.map(({ name }) => name);
    this.lookAtEpoch();
    for (const name of this.parts?.nodes.setMembers(this.members) ?? []) this.parts?.sessions.memberCame(name);
    if (this.isOpen) void this.look();
  }

  /** All workers serve, and know their stored sessions. Resolves when clients may come. */
  async open(): Promise<void> {
    this.isOpen = true;
    await this.look();
  }

  /** A worker serves from now on. */
  workerReady(worker: number): void {
    if (!this.isAlone) this.options.workers.post(worker, { type: 'nodes-changed', isAlone: false });
  }

  workerGone(worker: number): void {
    this.answered(worker);
    this.parts?.names.workerGone(worker);
  }

  handle(worker: number, message: NamesToMain): void {
    const { name, owner } = message;
    if (message.type === 'let-name') {
      this.parts?.names.letGo(worker, name, owner);
      return;
    }
    const { request } = message;
    const answer = (isGranted: boolean): void =>
      this.options.workers.post(worker, { type: 'name-held', request, isGranted });
    if (this.parts === null) answer(this.isAlone);
    else void this.parts.names.hold(worker, name, owner).then(answer);
  }

  stop(): void {
    this.isStopped = true;
    this.parts?.sessions.close();
    this.parts?.names.close();
    this.begun?.resolve();
  }

  /** Registering changes the status, so that this is asked in time. */
  private lookAtEpoch(): void {
    const epoch = this.options.nodeEpoch();
    if (epoch === 0 || epoch === this.knownEpoch) return;
    if (this.knownEpoch !== 0) this.parts?.names.renew();
    this.knownEpoch = epoch;
  }

  private async look(): Promise<void> {
    const isAlone = this.members.length <= 1;
    if (this.isStopped || isAlone === this.isAlone) {
      await this.beginning;
      return;
    }
    // A cluster that has shrunk to one node keeps its records until that node starts anew: it may well grow again.
    if (isAlone) return;
    this.isAlone = false;
    this.beginning = this.begin();
    await this.beginning;
  }

  private async begin(): Promise<void> {
    const { workers, hub, calls, ownerLostAfterMs, log } = this.options;
    const [{ ClusterNodes: Nodes }, { NodeSessions: Sessions, nodeWaits }, { NodeNames: Names }] = await Promise.all([
      import('./cluster-nodes.ts'),
      import('./node-sessions.ts'),
      import('./node-names.ts'),
    ]);
    const placement = this.options.placement();
    const node = this.options.node();
    const nodeEpoch = (): number => this.options.nodeEpoch();
    const nodes = new Nodes(placement, node);
    nodes.setMembers(this.members);
    const waits = this.options.waits ?? nodeWaits;
    const shared = { placement, nodes, node, nodeEpoch, log };
    const sessions = new Sessions({ ...shared, calls, hub, ownerLostAfterMs, waits });
    const names = new Names({ ...shared, takeMs: waits.takeMs });
    this.parts = { nodes, sessions, names };
    this.begun = Promise.withResolvers<void>();
    for (const worker of workers.liveWorkers()) {
      this.asked.add(worker);
      workers.post(worker, { type: 'nodes-changed', isAlone: false });
    }
    hub.setNodes(sessions);
    if (this.asked.size > 0) await this.begun.promise;
    log.debug('sessions are shared with other nodes', { members: this.members.length });
    sessions.begin();
  }

  private answered(worker: number): void {
    this.asked.delete(worker);
    if (this.asked.size === 0) this.begun?.resolve();
  }
}
