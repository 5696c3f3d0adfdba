/** `LeaseService`: leases. Thread: the Raft worker; offered by `server.ts`. */
import { randomInt } from 'node:crypto';
import type { ServerDuplexStream } from '@grpc/grpc-js';
import type { LeaseInfo } from '../../core/ports/placement.ts';
import {
  type LeaseKeepAliveRequest,
  type LeaseKeepAliveResponse,
  type LeaseServiceServer,
  LeaseServiceService,
} from '../../rpc/generated/ringmq/placement/v1/lease.ts';
import type { ApiContext, ServiceOffer } from './context.ts';
import { fromLease } from './convert.ts';
import { expectResult, refusedFailure, toCallError, toFailure } from './failure.ts';
import { readConsistency, readRequestId, requirePositive } from './fields.ts';
import { unary } from './unary.ts';

/** What `randomInt` can draw at most; the rest of the 53 bits is left to clients that choose themselves. */
const leaseIdEnd = 2 ** 48 - 1;

type KeepAliveStream = ServerDuplexStream<LeaseKeepAliveRequest, LeaseKeepAliveResponse>;

export function offerLeases(context: ApiContext): ServiceOffer {
  const { node } = context;
  const streams = new Set<KeepAliveStream>();
  const handlers: LeaseServiceServer = {
    grant: unary(context, async (request, timeoutMs) => {
      const ttlMs = requirePositive(request.ttlMs, 'ttl_ms');
      const lease = request.lease === 0 ? randomInt(1, leaseIdEnd) : request.lease;
      const command = { type: 'lease-grant', lease, ttlMs } as const;
      const requestId = readRequestId(request.requestId);
      return expectResult(await node.execute(command, { requestId, timeoutMs }), 'lease');
    }),
    revoke: unary(context, async (request, timeoutMs) => {
      const command = { type: 'lease-revoke', lease: requirePositive(request.lease, 'lease') } as const;
      const requestId = readRequestId(request.requestId);
      const { revision } = expectResult(await node.execute(command, { requestId, timeoutMs }), 'done');
      return { revision };
    }),
    get: unary(context, async (request, timeoutMs) => {
      const lease = requirePositive(request.lease, 'lease');
      const consistency = readConsistency(request.consistency);
      const result = expectResult(await node.query({ type: 'lease', lease, consistency }, { timeoutMs }), 'leases');
      const found: LeaseInfo | undefined = result.leases[0];
      if (found === undefined) {
        const message = `Cannot find lease "${lease}": it has ended or never was`;
        throw refusedFailure({ type: 'refused', code: 'LEASE_NOT_FOUND', message });
      }
      return { revision: result.revision, lease: fromLease(found) };
    }),
    list: unary(context, async (request, timeoutMs) => {
      const consistency = readConsistency(request.consistency);
      const result = expectResult(await node.query({ type: 'leases', consistency }, { timeoutMs }), 'leases');
      return { revision: result.revision, leases: result.leases.map(fromLease) };
    }),
    keepAlive: (call) => {
      streams.add(call);
      serveKeepAlive(context, call, () => streams.delete(call));
    },
  };
  const leave = (): void => {
    for (const call of streams) if (!call.writableEnded) call.end();
  };
  return { definition: LeaseServiceService, handlers, leave };
}

async function keepAlive({ node, limits, onDefect }: ApiContext, lease: number): Promise<LeaseKeepAliveResponse> {
  try {
    const options = { timeoutMs: limits.callTimeoutMsMax };
    const { epoch, ttlMs } = expectResult(await node.keepAlive(requirePositive(lease, 'lease'), options), 'lease');
    return { lease, epoch, remainingMs: Math.round(ttlMs), error: undefined };
  } catch (error) {
    return { lease, epoch: 0, remainingMs: 0, error: toCallError(toFailure(error, onDefect)) };
  }
}

/** One answer for each message, in any order; read no further while too many wait. */
function serveKeepAlive(context: ApiContext, call: KeepAliveStream, onOver: () => void): void {
  const { keepAlivesMax } = context.limits;
  let inProgress = 0;
  let isEnding = false;
  call.on('data', ({ lease }: LeaseKeepAliveRequest) => {
    inProgress++;
    if (inProgress === keepAlivesMax) call.pause();
    void keepAlive(context, lease).then((answer) => {
      inProgress--;
      if (!call.cancelled && !call.writableEnded) call.write(answer);
      if (inProgress === keepAlivesMax - 1) call.resume();
      if (isEnding && inProgress === 0 && !call.writableEnded) call.end();
    });
  });
  call.on('end', () => {
    isEnding = true;
    if (inProgress === 0 && !call.writableEnded) call.end();
  });
  call.on('cancelled', onOver);
  call.on('close', onOver);
  call.on('error', onOver);
}
