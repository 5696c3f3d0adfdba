/** `ringmq bench kv`: loads the placement centre or etcd, and reports. Main thread; called by `commands/bench.ts`. */
import { describeOptions, parseArguments } from '../../arguments.ts';
import type { Command } from '../../command.ts';
import { EXIT_FAILED, EXIT_OK, UsageError } from '../../exit-codes.ts';
import type { CliIo } from '../../io.ts';
import { type KvPlan, kvOptions, readKvPlan } from './options.ts';
import { formatKvReport } from './report.ts';
import { runKvBench } from './run.ts';
import type { KvTarget } from './target.ts';

export const benchKv: Command = { summary: 'load a key-value service and measure it', help, run };

function help(): string {
  return [
    'Usage: ringmq bench kv [OPTIONS]',
    '',
    describeOptions(kvOptions),
    '',
    'With --rate, latency counts from the time at which an operation was due, so a server that stalls cannot hide it.',
    'Status: 0 ran, 1 wrong usage, 2 not connected, no operation succeeded, or (--strict) one failed.',
    '',
  ].join('\n');
}

async function run(argv: readonly string[], io: CliIo): Promise<number> {
  const parsed = parseArguments(argv, kvOptions);
  if (parsed.positionals.length > 0) throw new UsageError(`Cannot use "${parsed.positionals[0]}": unexpected argument`);
  const plan = readKvPlan(parsed);
  let removeStop = (): void => undefined;
  try {
    const result = await runKvBench(plan, await openTarget(plan), {
      onProgress: (line) => {
        if (!plan.isQuiet) io.err(`${line}\n`);
      },
      onStoppable: (stop) => {
        removeStop = io.onStop(stop);
      },
    });
    io.out(plan.isJson ? `${JSON.stringify(result)}\n` : formatKvReport(result));
    if (plan.isJson) for (const problem of result.problems) io.err(`ringmq: ${problem}\n`);
    return result.problems.length === 0 ? EXIT_OK : EXIT_FAILED;
  } finally {
    removeStop();
  }
}

async function openTarget(plan: KvPlan): Promise<KvTarget> {
  if (plan.target === 'ringmq') {
    const { RingmqTarget } = await import('./ringmq-target.ts');
    return RingmqTarget.open(plan.endpoints, plan.channels);
  }
  const { EtcdTarget } = await import('./etcd-target.ts');
  return new EtcdTarget(plan.endpoints, plan.channels, plan.isLean);
}
