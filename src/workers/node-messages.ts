/** Messages about the node as a whole between the main thread and connection workers; parts of the unions of `messages.ts`. Plain data. */
import type { AlarmChange } from '../core/ports/alarms.ts';
import type { NodeFacts } from '../core/ports/node.ts';

/** Main thread to connection worker. */
export type NodeToWorker =
  /** In place of the facts before. */
  | { readonly type: 'node-facts'; readonly facts: NodeFacts }
  /** Sent to one worker of the node. */
  | { readonly type: 'alarm-change'; readonly change: AlarmChange }
  /** Answered by `answer` with the same number. */
  | { readonly type: 'question'; readonly id: number; readonly subject: string; readonly request: unknown };

/** Connection worker to main thread. */
export type NodeToMain = { readonly type: 'answer'; readonly id: number; readonly answer: unknown };
