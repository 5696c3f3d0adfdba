/**
 * The placement centre of this node from the moment the port is open: while there is no group yet, calls are refused as
 * long as they would be without a leader. Thread: the Raft worker.
 */
import {
  type GroupStatus,
  type LeaseId,
  PlacementError,
  type PlacementNode,
  type Query,
  type Watcher,
  type WatchRequest,
} from '../../core/ports/placement.ts';
import type { LocalPlacementNode } from '../replica/placement-node.ts';
import type { RaftCounts } from './raft-metrics.ts';

type Execute = PlacementNode['execute'];

export class NodeSwitch implements PlacementNode {
  private readonly replica: string;
  private readonly counts: RaftCounts;
  private node: LocalPlacementNode | null = null;

  constructor(replica: string, counts: RaftCounts) {
    this.replica = replica;
    this.counts = counts;
  }

  /** There is a group from now on. */
  connect(node: LocalPlacementNode): void {
    this.node = node;
  }

  execute(...parameters: Parameters<Execute>): ReturnType<Execute> {
    this.counts.proposals++;
    return counted(
      this.ready((node) => node.execute(...parameters)),
      () => this.counts.proposalsFailed++,
    );
  }

  query(query: Query, options: { readonly timeoutMs: number }): ReturnType<PlacementNode['query']> {
    this.counts.reads++;
    return counted(
      this.ready((node) => node.query(query, options)),
      () => this.counts.readsFailed++,
    );
  }

  watch(request: WatchRequest, watcher: Watcher): { cancel(): void } {
    if (this.node !== null) return this.node.watch(request, watcher);
    queueMicrotask(() => watcher.onEnd({ code: 'STOPPED', compactedRevision: 0 }));
    return { cancel: () => undefined };
  }

  keepAlive(lease: LeaseId, options: { readonly timeoutMs: number }): ReturnType<PlacementNode['keepAlive']> {
    return this.ready((node) => node.keepAlive(lease, options));
  }

  heartbeat(
    name: string,
    epoch: number,
    options: { readonly timeoutMs: number },
  ): ReturnType<PlacementNode['heartbeat']> {
    return this.ready((node) => node.heartbeat(name, epoch, options));
  }

  status(): GroupStatus {
    return this.node?.status() ?? { ...unfoundedStatus, replica: this.replica };
  }

  addLearner(member: Parameters<PlacementNode['addLearner']>[0]): Promise<GroupStatus> {
    return this.ready((node) => node.addLearner(member));
  }

  promote(replica: string): Promise<GroupStatus> {
    return this.ready((node) => node.promote(replica));
  }

  remove(replica: string): Promise<GroupStatus> {
    return this.ready((node) => node.remove(replica));
  }

  transferLeadership(replica: string): Promise<GroupStatus> {
    return this.ready((node) => node.transferLeadership(replica));
  }

  private ready<T>(call: (node: LocalPlacementNode) => Promise<T>): Promise<T> {
    if (this.node !== null) return call(this.node);
    return Promise.reject(new PlacementError('NO_LEADER', 'The node does not belong to a group yet'));
  }
}

function counted<T>(result: Promise<T>, failed: () => void): Promise<T> {
  // A branch of its own: whoever called handles the rejection.
  result.catch(failed);
  return result;
}

const unfoundedStatus: GroupStatus = {
  clusterId: '',
  replica: '',
  leader: null,
  role: 'follower',
  term: 0,
  commitIndex: 0,
  appliedIndex: 0,
  lastIndex: 0,
  firstIndex: 0,
  revision: 0,
  compactedRevision: 0,
  logBytes: 0,
  stateBytes: 0,
  members: [],
  fault: null,
};
