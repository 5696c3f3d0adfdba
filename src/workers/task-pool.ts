/**
 * The task pool: CPU-heavy short work beside the threads that must not wait for it. Lives on the main thread; whoever
 * serves administrators calls it.
 *
 * Piscina is loaded and threads are started when the first task comes: most brokers in tests never need one.
 */
import type { Piscina } from 'piscina';
import type * as tasks from './tasks.worker.ts';
import { tasksWorkerUrl } from './worker-urls.ts';

const THREADS_MAX = 2;
/** Tasks that wait for a thread; one more is refused. */
const QUEUE_MAX = 256;
/** How long a thread without work is kept, ms. */
const IDLE_MS = 10_000;

export type TaskName = keyof typeof tasks;

export class TaskPool {
  private pool: Promise<Piscina> | null = null;

  /** Runs a task on another thread. Rejects with what it throws, or when too many wait. */
  async run<T extends TaskName>(
    name: T,
    input: Parameters<(typeof tasks)[T]>[0],
  ): Promise<ReturnType<(typeof tasks)[T]>> {
    this.pool ??= createPool();
    const pool = await this.pool;
    return pool.run(input, { name });
  }

  /** Ends the threads; tasks that still run are given up. */
  async close(): Promise<void> {
    if (this.pool === null) return;
    const pool = await this.pool;
    this.pool = null;
    await pool.destroy();
  }
}

async function createPool(): Promise<Piscina> {
  const { Piscina } = await import('piscina');
  return new Piscina({
    filename: tasksWorkerUrl.href,
    minThreads: 0,
    maxThreads: THREADS_MAX,
    maxQueue: QUEUE_MAX,
    idleTimeout: IDLE_MS,
  });
}
