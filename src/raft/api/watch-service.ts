/** `WatchService`: what happens to keys, as a stream. Thread: the Raft worker; offered by `server.ts`. */
import type { ServerWritableStream } from '@grpc/grpc-js';
import type { WatchEvent as PortEvent, WatchBatch, Watcher } from '../../core/ports/placement.ts';
import {
  type WatchEvent,
  WatchEventType,
  type WatchRequest,
  type WatchResponse,
  type WatchServiceServer,
  WatchServiceService,
} from '../../rpc/generated/ringmq/placement/v1/watch.ts';
import { type RpcStatus, rpcStatus, trailerKeys } from '../../rpc/status.ts';
import type { ApiContext, ServiceOffer } from './context.ts';
import { CallFailure, refusals, toFailure } from './failure.ts';
import { requireKey } from './fields.ts';
import { toStatus } from './unary.ts';

type WatchCall = ServerWritableStream<WatchRequest, WatchResponse>;
type EndReason = Parameters<Watcher['onEnd']>[0];

export function offerWatches(context: ApiContext): ServiceOffer {
  const open = new Set<WatchStream>();
  const handlers: WatchServiceServer = {
    watch: (call) => {
      try {
        requireKey(call.request.key);
        if (open.size >= context.limits.watchesMax) {
          throw new CallFailure(rpcStatus.RESOURCE_EXHAUSTED, 'OVERLOADED', 'Cannot watch: too many watches are open');
        }
        const stream: WatchStream = new WatchStream(context, call, () => open.delete(stream));
        open.add(stream);
        stream.start();
      } catch (error) {
        call.emit('error', toStatus(context, toFailure(error, context.onDefect)));
      }
    },
  };
  const leave = (): void => {
    for (const stream of [...open]) stream.onEnd({ code: 'STOPPED', compactedRevision: 0 });
  };
  return { definition: WatchServiceService, handlers, leave };
}

class WatchStream implements Watcher {
  private readonly context: ApiContext;
  private readonly call: WatchCall;
  private readonly onOver: () => void;
  private isOver = false;
  private cancelWatch: (() => void) | null = null;
  /** Lets the batch that waits for room go on. */
  private wake: (() => void) | null = null;

  constructor(context: ApiContext, call: WatchCall, onOver: () => void) {
    this.context = context;
    this.call = call;
    this.onOver = onOver;
    call.on('drain', () => this.goOn());
    for (const event of ['cancelled', 'close', 'error']) call.on(event, () => this.over());
  }

  start(): void {
    const { key, end, fromRevision, withPrevious } = this.call.request;
    // The headers say that the watch was accepted, long before the first event.
    this.call.sendMetadata(new this.context.grpc.Metadata());
    const { cancel } = this.context.node.watch({ key, end: end ?? null, fromRevision, withPrevious }, this);
    if (this.isOver) cancel();
    else this.cancelWatch = cancel;
  }

  async onBatch(batch: WatchBatch): Promise<void> {
    for (const response of split(batch, this.context.limits.answerBytesMax)) {
      if (this.isOver) return;
      if (this.call.write(response)) continue;
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
  }

  onEnd({ code, compactedRevision }: EndReason): void {
    if (this.isOver) return;
    const status = toStatus(this.context, new CallFailure(statusOf(code), code, messageOf(code, compactedRevision)));
    status.metadata.set(trailerKeys.compactedRevision, String(compactedRevision));
    this.over();
    this.call.emit('error', status);
  }

  private over(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.cancelWatch?.();
    this.goOn();
    this.onOver();
  }

  private goOn(): void {
    const { wake } = this;
    this.wake = null;
    wake?.();
  }
}

function statusOf(code: EndReason['code']): RpcStatus {
  if (code === 'STOPPED') return rpcStatus.UNAVAILABLE;
  if (code === 'SLOW_WATCHER') return rpcStatus.RESOURCE_EXHAUSTED;
  return refusals[code].status;
}

function messageOf(code: EndReason['code'], compactedRevision: number): string {
  if (code === 'STOPPED') return 'Cannot watch: the node stops';
  if (code === 'SLOW_WATCHER') return 'Cannot watch: events come faster than they are taken';
  if (code === 'COMPACTED') return `Cannot watch: history is gone up to revision ${compactedRevision}`;
  return `Cannot watch: ${code}`;
}

/** Cuts a batch into messages of about `bytesMax`; all but the last say that they are a part. */
export function* split({ revision, events }: WatchBatch, bytesMax: number): Generator<WatchResponse> {
  let part: WatchEvent[] = [];
  let bytes = 0;
  for (const event of events) {
    const size = sizeOf(event);
    if (bytes > 0 && bytes + size > bytesMax) {
      // A reader that stops here goes on after what it has in full: the revision before this event's.
      yield { revision: event.item.modRevision - 1, events: part, isPartial: true };
      part = [];
      bytes = 0;
    }
    part.push(fromEvent(event));
    bytes += size;
  }
  yield { revision, events: part, isPartial: false };
}

function sizeOf({ item, previous }: PortEvent): number {
  const previousBytes = previous === null ? 0 : previous.key.length + previous.value.length;
  return item.key.length + item.value.length + previousBytes + 64;
}

function fromEvent({ type, item, previous }: PortEvent): WatchEvent {
  return {
    type: type === 'set' ? WatchEventType.SET : WatchEventType.DELETE,
    item,
    previous: previous ?? undefined,
  };
}
