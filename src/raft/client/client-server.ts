/**
 * Serves the placement centre to one other thread of the process. Thread: the Raft worker; one for each `connect` of the
 * main thread. The other end is `placement-client.ts`.
 */
import type { MessagePort } from 'node:worker_threads';
import { PlacementError, type PlacementNode } from '../../core/ports/placement.ts';
import type { CallResult, ClientCall, ClientError, ClientToRaft, RaftToClient } from '../messages.ts';
import { checkCall, checkWatch } from './check-call.ts';
import { PortBatch } from './port-batch.ts';

interface Watch {
  cancel(): void;
  /** The other thread has taken the last batch. */
  taken: (() => void) | null;
}

export class ClientServer {
  private readonly port: MessagePort;
  private readonly answers: PortBatch<RaftToClient>;
  private readonly node: PlacementNode;
  private readonly onStoreReader: () => void;
  private readonly watches = new Map<number, Watch>();

  /** `gone` is called when the other end has closed, `onStoreReader` when it begins to read the store by itself. */
  constructor(port: MessagePort, node: PlacementNode, gone: () => void, onStoreReader: () => void = () => undefined) {
    this.port = port;
    this.answers = new PortBatch(port);
    this.node = node;
    this.onStoreReader = onStoreReader;
    port.on('message', (messages: readonly ClientToRaft[]) => {
      for (const message of messages) this.receive(message);
    });
    port.on('close', () => {
      this.cancelAll();
      gone();
    });
    this.sendStatus();
  }

  /** Tells the other thread how the group is now. */
  sendStatus(): void {
    this.post({ type: 'status', status: this.node.status() });
  }

  close(): void {
    this.cancelAll();
    this.answers.flush();
    this.port.close();
  }

  private post(message: RaftToClient): void {
    this.answers.post(message);
  }

  private receive(message: ClientToRaft): void {
    switch (message.type) {
      case 'call':
        void this.answer(message.id, message.call);
        break;
      case 'watch':
        this.watch(message.id, message.request);
        break;
      case 'watch-taken':
        this.watches.get(message.id)?.taken?.();
        break;
      case 'watch-cancel':
        this.watches.get(message.id)?.cancel();
        this.watches.delete(message.id);
        break;
      case 'store-reader':
        this.onStoreReader();
    }
  }

  private async answer(id: number, call: ClientCall): Promise<void> {
    try {
      this.post({ type: 'result', id, result: await this.run(call) });
    } catch (error) {
      this.post({ type: 'error', id, error: errorOf(error) });
    }
  }

  private async run(call: ClientCall): Promise<CallResult> {
    const { node } = this;
    checkCall(call);
    switch (call.type) {
      case 'execute':
        return node.execute(call.command, call);
      case 'query':
        return node.query(call.query, call);
      case 'keep-alive':
        return node.keepAlive(call.lease, call);
      case 'heartbeat':
        return node.heartbeat(call.node, call.epoch, call);
      case 'status':
        return node.status();
      case 'add-learner':
        return node.addLearner(call);
      case 'promote':
        return node.promote(call.replica);
      case 'remove':
        return node.remove(call.replica);
      case 'transfer':
        return node.transferLeadership(call.replica);
    }
  }

  private watch(id: number, request: Parameters<PlacementNode['watch']>[0]): void {
    try {
      checkWatch(request);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      this.post({ type: 'watch-end', id, reason: { code: 'INVALID_ARGUMENT', compactedRevision: 0 } });
      return;
    }
    const watch: Watch = { cancel: () => undefined, taken: null };
    this.watches.set(id, watch);
    const { cancel } = this.node.watch(request, {
      onBatch: (batch) => {
        this.post({ type: 'watch-batch', id, batch });
        return new Promise<void>((resolve) => {
          watch.taken = resolve;
        });
      },
      onEnd: (reason) => {
        if (this.watches.delete(id)) this.post({ type: 'watch-end', id, reason });
      },
    });
    watch.cancel = () => {
      cancel();
      watch.taken?.();
    };
  }

  private cancelAll(): void {
    for (const watch of this.watches.values()) watch.cancel();
    this.watches.clear();
  }
}

function errorOf(error: unknown): ClientError {
  if (error instanceof PlacementError) {
    const { code, message, leaderAddress } = error;
    return { code, message, leaderAddress };
  }
  // What the encoding of calls throws. Anything else is a defect of this thread.
  if (!(error instanceof RangeError || error instanceof TypeError)) throw error;
  return { code: 'WRONG_CALL', message: error.message, leaderAddress: null };
}
