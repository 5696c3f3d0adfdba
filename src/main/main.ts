/**
 * The verbs of the command line that are the broker itself: `start`, `config`, and the offline ones. Main thread; called by
 * `bin/ringmq.js`. Standard output carries one line, when the broker serves; the log goes to standard error.
 *
 * Everything but the start of threads is imported lazily: those load their modules on other cores while this one reads
 * the configuration.
 */
import { availableParallelism } from 'node:os';
import { resolveQuickly } from '../std/quick-resolution.ts';
import { likelyWorkerCount } from './likely-worker-count.ts';
import { RaftThread } from './placement/raft-thread.ts';
import { JournalThread } from './storage/journal-thread.ts';
import { WorkerThread } from './supervision/worker-thread.ts';

/** Runs `argv`, the command line from the verb on. Sets the exit status. */
export async function main(argv: readonly string[]): Promise<void> {
  const [verb, ...rest] = argv;
  if (verb === 'config') await config(rest);
  else if (rest[0] === 'journal') await journal(verb, rest.slice(1));
  else if (verb !== 'start') await offline(argv);
  else if (rest.includes('--help') || rest.includes('-h')) await printHelp();
  else await start(rest);
}

async function config(argv: readonly string[]): Promise<void> {
  const { runConfigCommand } = await import('../config/config-command.ts');
  const { protocols } = await import('../protocols/registry.ts');
  const { storageParts } = await import('../workers/storage/adapters.ts');
  const { exitCode, stdout, stderr } = await runConfigCommand(argv, protocols, process.env, storageParts);
  process.stdout.write(stdout);
  process.stderr.write(stderr);
  process.exitCode = exitCode;
}

async function offline(argv: readonly string[]): Promise<void> {
  const { runOffline } = await import('./offline.ts');
  await runOffline(argv);
}

/** `bench journal` and `ctl journal`. */
async function journal(verb: string | undefined, argv: readonly string[]): Promise<void> {
  if (verb === 'bench') {
    const { runJournalBenchCommand } = await import('./journal/bench-command.ts');
    await runJournalBenchCommand(argv);
    return;
  }
  const { runJournalToolCommand } = await import('./journal/tool-command.ts');
  await runJournalToolCommand(argv);
}

async function printHelp(): Promise<void> {
  const { startHelp } = await import('../config/flags.ts');
  const { protocols } = await import('../protocols/registry.ts');
  process.stdout.write(startHelp(protocols));
}

/** Fewer where the process gets no more threads: the supervisor starts the others, and says what is wrong. */
function warmUp(count: number): readonly WorkerThread[] {
  const threads = [new WorkerThread()];
  try {
    while (threads.length < count) threads.push(new WorkerThread());
  } catch {
    return threads;
  }
  return threads;
}

async function start(flags: readonly string[]): Promise<void> {
  const warmWorkers = warmUp(likelyWorkerCount(flags, process.env, availableParallelism()));
  const warmRaft = new RaftThread();
  const warmJournal = new JournalThread();
  const end = resolveQuickly();
  try {
    const { runProgram } = await import('./program.ts');
    await runProgram(flags, { warmWorkers, warmRaft, warmJournal });
  } catch (error) {
    await Promise.all([...warmWorkers, warmRaft, warmJournal].map((worker) => worker.terminate()));
    const { BrokerError } = await import('../std/errors.ts');
    if (!(error instanceof BrokerError)) throw error;
    process.stderr.write(`ringmq: ${error.message}\n`);
    process.exitCode = 1;
  } finally {
    end();
  }
}
