/**
 * The main thread's half of the port to the whole node (`core/ports/node.ts`): tells workers what the node is called and which alarms
 * there are, and asks all of them what an administrator wants to know. Owned by the broker, which feeds it with messages and deaths.
 */
import type { AlarmChange } from '../../core/ports/alarms.ts';
import type { NodeFacts } from '../../core/ports/node.ts';
import type { NodeToMain } from '../../workers/node-messages.ts';
import type { WorkerPost } from '../directory/broadcast-hub.ts';

/** A worker that is asked and does nothing else answers within a millisecond. */
const ANSWER_LIMIT_MS = 3_000;
/** An administrator who asks faster than workers answer waits for nothing. */
const QUESTIONS_MAX = 64;

/** What all workers said. */
export interface Answers {
  readonly answers: readonly unknown[];
  /** Workers that died, or did not answer in time. */
  readonly missingCount: number;
}

interface Question {
  readonly answers: unknown[];
  readonly waitingFor: Set<number>;
  readonly workerCount: number;
  readonly timer: NodeJS.Timeout;
  resolve(answers: Answers): void;
}

export class NodeHub {
  private readonly workers: WorkerPost;
  private readonly answerLimitMs: number;
  private readonly questions = new Map<number, Question>();
  private facts: NodeFacts = { name: '', nodes: [], ports: [] };
  private nextId = 1;

  constructor(workers: WorkerPost, answerLimitMs = ANSWER_LIMIT_MS) {
    this.workers = workers;
    this.answerLimitMs = answerLimitMs;
  }

  /** Tells every worker what is new; the rest stays. */
  setFacts(changed: Partial<NodeFacts>): void {
    const facts = { ...this.facts, ...changed };
    if (JSON.stringify(facts) === JSON.stringify(this.facts)) return;
    this.facts = facts;
    for (const worker of this.workers.liveWorkers()) this.workers.post(worker, { type: 'node-facts', facts });
  }

  workerReady(worker: number): void {
    this.workers.post(worker, { type: 'node-facts', facts: this.facts });
  }

  workerGone(worker: number): void {
    for (const id of [...this.questions.keys()]) this.finish(id, worker);
  }

  /** One worker passes it on; without any there is no subscriber either. */
  tell(change: AlarmChange): void {
    const [worker] = this.workers.liveWorkers();
    if (worker !== undefined) this.workers.post(worker, { type: 'alarm-change', change });
  }

  handle(worker: number, message: NodeToMain): void {
    this.questions.get(message.id)?.answers.push(message.answer);
    this.finish(message.id, worker);
  }

  /** Asks every worker that serves. Never rejects: who did not answer in time is counted. */
  ask(subject: string, request: unknown): Promise<Answers> {
    const workers = this.workers.liveWorkers();
    const workerCount = workers.length;
    if (workerCount === 0) return Promise.resolve({ answers: [], missingCount: 0 });
    if (this.questions.size >= QUESTIONS_MAX) return Promise.resolve({ answers: [], missingCount: workerCount });
    const { promise, resolve } = Promise.withResolvers<Answers>();
    const id = this.nextId++;
    const timer = setTimeout(() => this.settle(id), this.answerLimitMs);
    timer.unref();
    this.questions.set(id, { answers: [], waitingFor: new Set(workers), workerCount, timer, resolve });
    for (const worker of workers) this.workers.post(worker, { type: 'question', id, subject, request });
    return promise;
  }

  /** Nobody waits for an answer any more. */
  stop(): void {
    for (const id of [...this.questions.keys()]) this.settle(id);
  }

  private finish(id: number, worker: number): void {
    const question = this.questions.get(id);
    if (question === undefined) return; // Its time was over.
    question.waitingFor.delete(worker);
    if (question.waitingFor.size === 0) this.settle(id);
  }

  private settle(id: number): void {
    const question = this.questions.get(id);
    if (question === undefined) return;
    this.questions.delete(id);
    clearTimeout(question.timer);
    const { answers, workerCount } = question;
    question.resolve({ answers, missingCount: workerCount - answers.length });
  }
}
