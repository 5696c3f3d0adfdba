/** `KvService`: keys. Thread: the Raft worker; offered by `server.ts`. */
import { type KvServiceServer, KvServiceService } from '../../rpc/generated/ringmq/placement/v1/kv.ts';
import type { ApiContext, ServiceOffer } from './context.ts';
import * as calls from './kv-calls.ts';
import { PipelineHub } from './pipeline.ts';
import { unary } from './unary.ts';

export function offerKv(context: ApiContext): ServiceOffer {
  const { node } = context;
  const hub = new PipelineHub(context);
  const handlers: KvServiceServer = {
    set: unary(context, (request, timeoutMs) => calls.set(node, request, timeoutMs)),
    get: unary(context, (request, timeoutMs) => calls.get(node, request, timeoutMs)),
    delete: unary(context, (request, timeoutMs) => calls.delete(node, request, timeoutMs)),
    exists: unary(context, (request, timeoutMs) => calls.exists(node, request, timeoutMs)),
    range: unary(context, (request, timeoutMs) => calls.range(node, request, timeoutMs)),
    transaction: unary(context, (request, timeoutMs) => calls.transaction(node, request, timeoutMs)),
    compareAndSet: unary(context, (request, timeoutMs) => calls.compareAndSet(node, request, timeoutMs)),
    compact: unary(context, (request, timeoutMs) => calls.compact(node, request, timeoutMs)),
    pipeline: (call) => hub.open(call),
  };
  return { definition: KvServiceService, handlers, leave: () => hub.leave() };
}
