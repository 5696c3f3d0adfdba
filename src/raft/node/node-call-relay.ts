/**
 * Between the cluster port and the main thread: calls of other brokers go to the main thread, and its answers back; and the other way round.
 * Thread: the Raft worker.
 */
import type { NodeAnswerMessage, NodeCallMessage, RaftToMain } from '../messages.ts';
import type { AnswerCall } from '../transport/node-calls.ts';

/** The main thread is not waited for longer; who called gave up before. */
const answerMs = 60_000;

interface Waiting {
  resolve(body: Uint8Array): void;
  reject(error: Error): void;
  readonly timer: NodeJS.Timeout;
}

export class NodeCallRelay {
  readonly #post: (message: RaftToMain) => void;
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 1;

  constructor(post: (message: RaftToMain) => void) {
    this.#post = post;
  }

  /** A call of another node: the main thread answers. */
  readonly answer: AnswerCall = (node, subject, body) =>
    new Promise((resolve, reject) => {
      const id = this.#nextId;
      this.#nextId += 1;
      const timer = setTimeout(() => this.#end(id)?.reject(new Error('The node is too busy to answer')), answerMs);
      this.#waiting.set(id, { resolve, reject, timer: timer.unref() });
      this.#post({ type: 'node-call', id, node, subject, body, timeoutMs: 0 });
    });

  answered({ id, body, problem }: NodeAnswerMessage): void {
    const waiting = this.#end(id);
    if (body === null) waiting?.reject(new Error(problem));
    else waiting?.resolve(body);
  }

  /** A call of the main thread: `call` makes it. */
  pass({ id }: NodeCallMessage, call: () => Promise<Uint8Array>): void {
    call().then(
      (body) => this.#post({ type: 'node-answer', id, body, problem: '' }),
      (error: unknown) => {
        const problem = error instanceof Error ? error.message : String(error);
        this.#post({ type: 'node-answer', id, body: null, problem });
      },
    );
  }

  #end(id: number): Waiting | undefined {
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return undefined;
    this.#waiting.delete(id);
    clearTimeout(waiting.timer);
    return waiting;
  }
}
