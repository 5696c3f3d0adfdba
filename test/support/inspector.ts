/**
 * Reaches into the threads of a broker process through Node's own inspector: to throw an error in one of its workers, to
 * stall it, or to collect garbage before memory is measured. The broker needs no door for tests: it is started with
 * `inspectorFlags`. Used by the crash and fuzz tests; thread of the test.
 */
import { once } from 'node:events';
import { type RawData, WebSocket } from 'ws';
import type { BrokerProcess } from './broker-process.ts';

/** Flags for Node; port 0 takes a free one. */
export const inspectorFlags: readonly string[] = ['--inspect=127.0.0.1:0'];
/** What Node says of the inspector on standard error. */
export const inspectorLines: readonly RegExp[] = [
  /Debugger (?:listening|attached|ending)/,
  /For help, see/,
  /Waiting for the debugger/,
];

/** Number of the thread for `evaluate`: the main thread, or the session id of a worker. */
export type ThreadId = 'main' | string;

interface Answer {
  readonly id?: number;
  readonly method?: string;
  readonly params?: { readonly [name: string]: unknown };
  readonly result?: unknown;
  readonly error?: { readonly message: string };
}

export class Inspector {
  private readonly socket: WebSocket;
  private readonly waiting = new Map<string, (answer: Answer) => void>();
  /** Session ids of the connection workers, in the order in which they were seen. */
  private readonly workerSessions = new Set<string>();
  private raftSession: ThreadId | null = null;
  private journalSession: ThreadId | null = null;
  private nextId = 1;

  private constructor(socket: WebSocket) {
    this.socket = socket;
    socket.on('message', (data: RawData) => this.receive('main', JSON.parse(data.toString()) as Answer));
    socket.on('close', () => {
      for (const answer of this.waiting.values()) answer({ error: { message: 'the inspector is gone' } });
      this.waiting.clear();
    });
  }

  /** Attaches to the process and to all of its worker threads, those that come later too. */
  static async attach(broker: BrokerProcess): Promise<Inspector> {
    const url = /ws:\/\/\S+/.exec(broker.log)?.[0];
    if (url === undefined) throw new Error(`Cannot find the inspector: the broker said ${broker.log}`);
    const socket = new WebSocket(url);
    await once(socket, 'open');
    const inspector = new Inspector(socket);
    await inspector.send('main', 'NodeWorker.enable', { waitForDebuggerOnStart: false });
    return inspector;
  }

  /** The Raft worker. */
  get raftWorker(): ThreadId {
    if (this.raftSession === null) throw new Error('Cannot find the Raft worker: the inspector has not seen it');
    return this.raftSession;
  }

  /** The journal worker, the latest one. */
  get journalWorker(): ThreadId {
    if (this.journalSession === null) throw new Error('Cannot find the journal worker: the inspector has not seen it');
    return this.journalSession;
  }

  /** The connection workers that run now. Threads of the task pool hear nothing while they wait for work. */
  get workers(): readonly ThreadId[] {
    return [...this.workerSessions];
  }

  /** Runs a program text in a thread and answers its value, which must be plain data. */
  async evaluate(thread: ThreadId, expression: string): Promise<unknown> {
    const result = (await this.send(thread, 'Runtime.evaluate', { expression, returnByValue: true })) as {
      result?: { value?: unknown };
      exceptionDetails?: { text: string };
    };
    if (result.exceptionDetails !== undefined) throw new Error(`Cannot evaluate: ${result.exceptionDetails.text}`);
    return result.result?.value;
  }

  /** Lets the thread throw an error that nobody catches, from its event loop. */
  async throwIn(thread: ThreadId, message: string): Promise<void> {
    await this.evaluate(thread, `setImmediate(() => { throw new Error(${JSON.stringify(message)}); }); 0`);
  }

  /** Lets the thread hang in an endless loop. */
  async stall(thread: ThreadId): Promise<void> {
    await this.evaluate(thread, 'setImmediate(() => { for (;;); }); 0');
  }

  /** Collects garbage on the main thread and the connection workers, so that memory that is in use is what is measured. */
  async collectGarbage(): Promise<void> {
    await this.onEach((thread) => this.send(thread, 'HeapProfiler.collectGarbage', {}));
  }

  /** Asks the main thread and the connection workers, one after the other; a worker that ends meanwhile is left out. */
  async onEach<T>(ask: (thread: ThreadId) => Promise<T>): Promise<T[]> {
    const answers: T[] = [];
    for (const thread of ['main', ...this.workers]) {
      try {
        answers.push(await ask(thread));
      } catch (error) {
        if (thread === 'main' || this.workerSessions.has(thread)) throw error;
      }
    }
    return answers;
  }

  close(): void {
    this.socket.terminate();
  }

  private send(thread: ThreadId, method: string, params: object): Promise<unknown> {
    const id = this.nextId++;
    const message = JSON.stringify({ id, method, params });
    if (thread === 'main') {
      this.socket.send(message);
    } else {
      const wrapped = {
        id: this.nextId++,
        method: 'NodeWorker.sendMessageToWorker',
        params: { message, sessionId: thread },
      };
      this.socket.send(JSON.stringify(wrapped));
    }
    return new Promise((resolve, reject) => {
      this.waiting.set(`${thread} ${id}`, ({ result, error }) => {
        if (error === undefined) resolve(result);
        else reject(new Error(`Cannot ask the inspector "${method}": ${error.message}`));
      });
    });
  }

  private receive(thread: ThreadId, answer: Answer): void {
    if (answer.id !== undefined) {
      const key = `${thread} ${answer.id}`;
      this.waiting.get(key)?.(answer);
      this.waiting.delete(key);
      return;
    }
    const { method, params } = answer;
    if (method === 'NodeWorker.attachedToWorker') this.attached(params ?? {});
    else if (method === 'NodeWorker.detachedFromWorker') this.detached(String(params?.sessionId));
    else if (method === 'NodeWorker.receivedMessageFromWorker') {
      this.receive(String(params?.sessionId), JSON.parse(String(params?.message)) as Answer);
    }
  }

  private attached({ sessionId, workerInfo }: NonNullable<Answer['params']>): void {
    // The names of the threads; their URLs are all that of the entry that they have in common.
    const { title } = workerInfo as { readonly title: string };
    if (title.endsWith('ringmq raft worker')) this.raftSession = String(sessionId);
    else if (title.endsWith('ringmq journal worker')) this.journalSession = String(sessionId);
    else if (title.endsWith('ringmq connection worker')) this.workerSessions.add(String(sessionId));
  }

  private detached(session: string): void {
    this.workerSessions.delete(session);
    for (const [key, answer] of this.waiting) {
      if (!key.startsWith(`${session} `)) continue;
      this.waiting.delete(key);
      answer({ error: { message: 'the thread has ended' } });
    }
  }
}
