/**
 * Calls to the brokers on other nodes of the cluster, and answers to theirs. Main thread; owned by the placement host, since the Raft worker
 * has the port for them.
 */
import type { MainToRaft, NodeAnswerMessage, NodeCallMessage } from '../../raft/messages.ts';

/** Another node did not answer. */
export class NodeCallError extends Error {
  override readonly name = 'NodeCallError';

  constructor(node: string, problem: string) {
    super(`Cannot ask node "${node}": ${problem}`);
  }
}

/** Answers a call of the node `from`. Rejections reach who called as text. */
export type CallHandler = (from: string, body: Uint8Array) => Promise<Uint8Array>;

interface Waiting {
  readonly node: string;
  readonly resolve: (body: Uint8Array) => void;
  readonly reject: (error: Error) => void;
}

export class NodeCalls {
  private readonly post: (message: MainToRaft) => void;
  private readonly handlers = new Map<string, CallHandler>();
  private readonly waiting = new Map<number, Waiting>();
  private nextId = 1;
  private isClosed = false;

  constructor(post: (message: MainToRaft) => void) {
    this.post = post;
  }

  /** Who answers calls with `subject`; until there is one they are refused. */
  serve(subject: string, handler: CallHandler): void {
    this.handlers.set(subject, handler);
  }

  /** Rejects with `NodeCallError`. */
  call(node: string, subject: string, body: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
    if (this.isClosed) return Promise.reject(new NodeCallError(node, 'this node stops'));
    const id = this.nextId;
    this.nextId += 1;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { node, resolve, reject });
      this.post({ type: 'node-call', id, node, subject, body, timeoutMs });
    });
  }

  handle(message: NodeCallMessage | NodeAnswerMessage): void {
    if (message.type === 'node-call') void this.answer(message);
    else this.answered(message);
  }

  /** The Raft worker is gone: nobody is reached any more. */
  close(): void {
    this.isClosed = true;
    for (const { node, reject } of this.waiting.values()) reject(new NodeCallError(node, 'this node stops'));
    this.waiting.clear();
  }

  private async answer({ id, node, subject, body }: NodeCallMessage): Promise<void> {
    const handler = this.handlers.get(subject);
    if (handler === undefined) {
      const problem = `Nobody here answers calls about "${subject.slice(0, 100)}" yet`;
      this.post({ type: 'node-answer', id, body: null, problem });
      return;
    }
    try {
      this.post({ type: 'node-answer', id, body: await handler(node, body), problem: '' });
    } catch (error) {
      const problem = error instanceof Error ? error.message : String(error);
      this.post({ type: 'node-answer', id, body: null, problem });
    }
  }

  private answered({ id, body, problem }: NodeAnswerMessage): void {
    const waiting = this.waiting.get(id);
    if (waiting === undefined) return;
    this.waiting.delete(id);
    if (body === null) waiting.reject(new NodeCallError(waiting.node, problem));
    else waiting.resolve(body);
  }
}
