/** Calls on broker nodes, topics and partitions. Any thread; part of `PlacementClient`. */
import {
  type ChangeIsrRequest,
  ClusterServiceService,
  type CreateTopicRequest,
  type Node,
  type NodeReport,
  type Partition,
  type RegisterNodeRequest,
  type RegisterNodeResponse,
} from '../generated/ringmq/placement/v1/cluster.ts';
import type { GroupStatus } from '../generated/ringmq/placement/v1/group.ts';
import { type CallOptions, present, type ReadOptions, toConsistency } from './call-options.ts';
import type { Caller } from './caller.ts';
import type { Method } from './connection.ts';
import { nextRequestId } from './request-id.ts';

/** The client gives every write its request id. */
type WithoutId<T> = Omit<T, 'requestId'>;

function withId<T>(request: T): T & { readonly requestId: Uint8Array } {
  return { ...request, requestId: nextRequestId() };
}

/** Broker nodes, topics and partitions. */
export class Cluster {
  private readonly caller: Caller;
  private readonly timeoutMs: number;

  constructor(caller: Caller, timeoutMs: number) {
    this.caller = caller;
    this.timeoutMs = timeoutMs;
  }

  async status(options: CallOptions = {}): Promise<GroupStatus> {
    const { group } = await this.run(ClusterServiceService.clusterStatus, {}, true, options);
    return present(group);
  }

  async nodes({ consistency, ...options }: ReadOptions = {}): Promise<readonly Node[]> {
    const request = { consistency: toConsistency(consistency) };
    return (await this.run(ClusterServiceService.nodeList, request, true, options)).nodes;
  }

  /** The epoch that comes back fences all earlier incarnations of the node. */
  registerNode(request: WithoutId<RegisterNodeRequest>, options: CallOptions = {}): Promise<RegisterNodeResponse> {
    return this.run(ClusterServiceService.registerNode, withId(request), true, options);
  }

  async heartbeat(node: string, epoch: number, options: CallOptions = {}): Promise<void> {
    await this.run(ClusterServiceService.heartbeat, { node, epoch }, true, options);
  }

  async unregisterNode(node: string, epoch: number, options: CallOptions = {}): Promise<void> {
    await this.run(ClusterServiceService.unregisterNode, withId({ node, epoch }), true, options);
  }

  async report(node: string, epoch: number, report: NodeReport, options: CallOptions = {}): Promise<void> {
    await this.run(ClusterServiceService.reportMonitor, withId({ node, epoch, report }), true, options);
  }

  async createTopic(request: WithoutId<CreateTopicRequest>, options: CallOptions = {}): Promise<readonly Partition[]> {
    return (await this.run(ClusterServiceService.createTopic, withId(request), true, options)).partitions;
  }

  async deleteTopic(tenant: string, topic: string, options: CallOptions = {}): Promise<void> {
    await this.run(ClusterServiceService.deleteTopic, withId({ tenant, topic }), true, options);
  }

  /** Of one topic; of all of the tenant's when `topic` is ''. */
  async partitions(
    tenant: string,
    topic = '',
    { consistency, ...options }: ReadOptions = {},
  ): Promise<readonly Partition[]> {
    const request = { tenant, topic, consistency: toConsistency(consistency) };
    return (await this.run(ClusterServiceService.listPartitions, request, true, options)).partitions;
  }

  async changeIsr(request: WithoutId<ChangeIsrRequest>, options: CallOptions = {}): Promise<Partition> {
    const { partition } = await this.run(ClusterServiceService.changeIsr, withId(request), true, options);
    return present(partition);
  }

  private run<Request, Response>(
    method: Method<Request, Response>,
    request: Request,
    isHarmless: boolean,
    { timeoutMs = this.timeoutMs }: CallOptions,
  ): Promise<Response> {
    return this.caller.call(method, request, timeoutMs, isHarmless);
  }
}
