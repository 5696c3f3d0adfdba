/** `KvService`: keys. Thread: the Raft worker; offered by `server.ts`. */
import type { ServerDuplexStream } from '@grpc/grpc-js';
import {
  type KvServiceServer,
  KvServiceService,
  type PipelineRequest,
  type PipelineResponse,
} from '../../rpc/generated/ringmq/placement/v1/kv.ts';
import type { ApiContext, ServiceOffer } from './context.ts';
import * as calls from './kv-calls.ts';
import type { PipelineHub } from './pipeline.ts';
import { unary } from './unary.ts';

export function offerKv(context: ApiContext, hub: PipelineHub): ServiceOffer {
  const { node } = context;
  const handlers: KvServiceServer = {
    set: unary(context, (request, timeoutMs) => calls.set(node, request, timeoutMs)),
    get: unary(context, (request, timeoutMs) => calls.get(node, request, timeoutMs)),
    delete: unary(context, (request, timeoutMs) => calls.delete(node, request, timeoutMs)),
    exists: unary(context, (request, timeoutMs) => calls.exists(node, request, timeoutMs)),
    range: unary(context, (request, timeoutMs) => calls.range(node, request, timeoutMs)),
    transaction: unary(context, (request, timeoutMs) => calls.transaction(node, request, timeoutMs)),
    compareAndSet: unary(context, (request, timeoutMs) => calls.compareAndSet(node, request, timeoutMs)),
    compact: unary(context, (request, timeoutMs) => calls.compact(node, request, timeoutMs)),
    pipeline: (call) => openPipeline(hub, call),
  };
  return { definition: KvServiceService, handlers };
}

function openPipeline(hub: PipelineHub, call: ServerDuplexStream<PipelineRequest, PipelineResponse>): void {
  const pipeline = hub.open({
    write: (response) => call.write(response),
    get isWritable() {
      return !call.writableEnded;
    },
    end: () => call.end(),
    pause: () => call.pause(),
    resume: () => call.resume(),
  });
  call.on('data', (request: PipelineRequest) => pipeline.take(request));
  call.on('end', () => pipeline.end());
  call.on('drain', () => pipeline.drain());
  for (const event of ['cancelled', 'close', 'error']) call.on(event, () => pipeline.over());
}
