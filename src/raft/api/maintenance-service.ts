/** `MaintenanceService`: state of one node, backup. Thread: the Raft worker; offered by `server.ts`. */
import { createHash } from 'node:crypto';
import type { ServerWritableStream } from '@grpc/grpc-js';
import {
  type BackupRequest,
  type BackupResponse,
  type MaintenanceServiceServer,
  MaintenanceServiceService,
} from '../../rpc/generated/ringmq/placement/v1/maintenance.ts';
import { rpcStatus } from '../../rpc/status.ts';
import type { BackupProvider, BackupSource } from './backup-provider.ts';
import type { ApiContext, ServiceOffer } from './context.ts';
import { fromStatus } from './convert.ts';
import { CallFailure, toFailure } from './failure.ts';
import { toStatus, unary } from './unary.ts';

type BackupCall = ServerWritableStream<BackupRequest, BackupResponse>;

export function offerMaintenance(context: ApiContext): ServiceOffer {
  const { node, version, backup } = context;
  const handlers: MaintenanceServiceServer = {
    status: unary(context, async () => ({ version, group: fromStatus(node.status()) })),
    backup: (call) => {
      void streamBackup(context, backup, call);
    },
  };
  return { definition: MaintenanceServiceService, handlers };
}

async function streamBackup(context: ApiContext, provider: BackupProvider | null, call: BackupCall): Promise<void> {
  const room = new Room(call);
  let source: BackupSource | null = null;
  try {
    if (provider === null) {
      throw new CallFailure(rpcStatus.UNIMPLEMENTED, 'UNIMPLEMENTED', 'Cannot make a backup: this node has no state');
    }
    source = await provider.openBackup();
    await writeBackup(source, room);
    call.end();
  } catch (error) {
    if (!room.isGone) call.emit('error', toStatus(context, toFailure(error, context.onDefect)));
  } finally {
    source?.close();
  }
}

async function writeBackup(source: BackupSource, room: Room): Promise<void> {
  const { clusterId, index, term, revision } = source;
  await room.write({ part: { $case: 'header', value: { clusterId, index, term, revision } } });
  const digest = createHash('sha256');
  let chunkCount = 0;
  let byteCount = 0;
  for (;;) {
    const chunk = await source.next();
    if (chunk === null || room.isGone) break;
    digest.update(chunk);
    chunkCount++;
    byteCount += chunk.length;
    await room.write({ part: { $case: 'chunk', value: chunk } });
    // Other work of the thread comes in between, also when the reader keeps up.
    await new Promise((resolve) => setImmediate(resolve));
  }
  await room.write({ part: { $case: 'end', value: { chunkCount, byteCount, sha256: digest.digest() } } });
}

/** Writes while there is room; one chunk waits at a time. */
class Room {
  isGone = false;
  private readonly call: BackupCall;
  private wake: (() => void) | null = null;

  constructor(call: BackupCall) {
    this.call = call;
    call.on('drain', () => this.wake?.());
    for (const event of ['cancelled', 'close', 'error']) {
      call.on(event, () => {
        this.isGone = true;
        this.wake?.();
      });
    }
  }

  async write(response: BackupResponse): Promise<void> {
    if (this.isGone || this.call.write(response)) return;
    await new Promise<void>((resolve) => {
      this.wake = resolve;
    });
    this.wake = null;
  }
}
