/** `ClusterService`: broker nodes, topics, partitions. Thread: the Raft worker; offered by `server.ts`. */
import type { Command, CommandResult, Query } from '../../core/ports/placement.ts';
import { type ClusterServiceServer, ClusterServiceService } from '../../rpc/generated/ringmq/placement/v1/cluster.ts';
import type { ApiContext, ServiceOffer } from './context.ts';
import { fromNode, fromStatus } from './convert.ts';
import { expectAccepted, expectResult, invalidField } from './failure.ts';
import { readConsistency, readRequestId, requirePositive, requireText } from './fields.ts';
import { unary } from './unary.ts';

export function offerCluster(context: ApiContext): ServiceOffer {
  const { node } = context;
  const execute = (command: Command, id: Uint8Array, timeoutMs: number): Promise<CommandResult> =>
    node.execute(command, { requestId: readRequestId(id), timeoutMs });
  const query = (each: Query, timeoutMs: number) => node.query(each, { timeoutMs });

  const handlers: ClusterServiceServer = {
    registerNode: unary(context, async (request, timeoutMs) => {
      const { roles, rack } = request;
      const command: Command = {
        type: 'node-register',
        node: requireText(request.node, 'node'),
        addresses: request.addresses.map(({ listener, address }, i) => [
          requireText(listener, `addresses[${i}].listener`),
          requireText(address, `addresses[${i}].address`),
        ]),
        roles,
        rack,
        ttlMs: requirePositive(request.ttlMs, 'ttl_ms'),
      };
      return expectResult(await execute(command, request.requestId, timeoutMs), 'node');
    }),
    heartbeat: unary(context, async (request, timeoutMs) => {
      requireText(request.node, 'node');
      const { epoch } = request;
      expectAccepted(await node.heartbeat(request.node, requirePositive(epoch, 'epoch'), { timeoutMs }));
      return { epoch };
    }),
    unregisterNode: unary(context, async (request, timeoutMs) => {
      const name = requireText(request.node, 'node');
      const epoch = requirePositive(request.epoch, 'epoch');
      const result = await execute({ type: 'node-unregister', node: name, epoch }, request.requestId, timeoutMs);
      return { revision: expectResult(result, 'done').revision };
    }),
    nodeList: unary(context, async (request, timeoutMs) => {
      const consistency = readConsistency(request.consistency);
      const { revision, nodes } = expectResult(await query({ type: 'nodes', consistency }, timeoutMs), 'nodes');
      return { revision, nodes: nodes.map(fromNode) };
    }),
    clusterStatus: unary(context, async () => ({ group: fromStatus(node.status()) })),
    reportMonitor: unary(context, async (request, timeoutMs) => {
      const { report } = request;
      if (report === undefined) throw invalidField('report', 'it is missing');
      const name = requireText(request.node, 'node');
      const epoch = requirePositive(request.epoch, 'epoch');
      expectAccepted(await execute({ type: 'node-report', node: name, epoch, report }, request.requestId, timeoutMs));
      return {};
    }),
    createTopic: unary(context, async (request, timeoutMs) => {
      const command: Command = {
        type: 'topic-create',
        tenant: requireText(request.tenant, 'tenant'),
        topic: requireText(request.topic, 'topic'),
        partitions: requirePositive(request.partitions, 'partitions'),
        replicationFactor: requirePositive(request.replicationFactor, 'replication_factor'),
      };
      return { partitions: expectResult(await execute(command, request.requestId, timeoutMs), 'topic').partitions };
    }),
    deleteTopic: unary(context, async (request, timeoutMs) => {
      const tenant = requireText(request.tenant, 'tenant');
      const topic = requireText(request.topic, 'topic');
      const result = await execute({ type: 'topic-delete', tenant, topic }, request.requestId, timeoutMs);
      return { revision: expectResult(result, 'done').revision };
    }),
    listPartitions: unary(context, async (request, timeoutMs) => {
      const tenant = requireText(request.tenant, 'tenant');
      const consistency = readConsistency(request.consistency);
      const result = await query({ type: 'partitions', tenant, topic: request.topic, consistency }, timeoutMs);
      const { revision, partitions } = expectResult(result, 'partitions');
      return { revision, partitions };
    }),
    changeIsr: unary(context, async (request, timeoutMs) => {
      const command: Command = {
        type: 'isr-change',
        tenant: requireText(request.tenant, 'tenant'),
        topic: requireText(request.topic, 'topic'),
        partition: request.partition,
        node: requireText(request.node, 'node'),
        nodeEpoch: request.nodeEpoch,
        leaderEpoch: request.leaderEpoch,
        partitionEpoch: request.partitionEpoch,
        isr: request.isr,
      };
      return { partition: expectResult(await execute(command, request.requestId, timeoutMs), 'partition').partition };
    }),
  };
  return { definition: ClusterServiceService, handlers };
}
