/** `ringmq bench`: loads any MQTT broker, or with `kv` a key-value service, and reports. Main thread of the command's process; called by `cli/main.ts`. */
import { describeOptions, parseArguments } from '../arguments.ts';
import { benchKv } from '../bench/kv/command.ts';
import { benchModes, benchOptions, readPlan } from '../bench/options.ts';
import { formatReport } from '../bench/report.ts';
import { runBench } from '../bench/run.ts';
import type { Command } from '../command.ts';
import { EXIT_FAILED, EXIT_OK } from '../exit-codes.ts';
import type { CliIo } from '../io.ts';

export const bench: Command = { summary: 'load a broker and measure it', help, run };

function help(argv: readonly string[]): string {
  if (argv[0] === 'kv') return benchKv.help(argv);
  const modes = [...benchModes].map(([mode, { summary }]) => `  ${mode.padEnd(8)} ${summary}`);
  return [
    'Usage: ringmq bench [mqtt] [MODE] [OPTIONS]',
    '       ringmq bench kv [OPTIONS]    a key-value service; ringmq bench kv --help tells more',
    '       ringmq bench journal [OPTIONS]    the journal on this disk; ringmq bench journal --help tells more',
    '',
    'Modes (1:1 when none is given):',
    ...modes,
    '',
    describeOptions(benchOptions),
    '',
    'With --rate, latency counts from the time at which a message was due, so a broker that stalls cannot hide it.',
    'Status: 0 ran, 1 wrong usage, 2 connections missing, nothing seen, or (--strict) messages lost.',
    '',
  ].join('\n');
}

async function run(argv: readonly string[], io: CliIo): Promise<number> {
  if (argv[0] === 'kv') return benchKv.run(argv.slice(1), io);
  const plan = readPlan(parseArguments(argv, benchOptions));
  let removeStop = (): void => undefined;
  try {
    const result = await runBench(plan, {
      onProgress: (line) => {
        if (!plan.isQuiet) io.err(`${line}\n`);
      },
      onStoppable: (stop) => {
        removeStop = io.onStop(stop);
      },
    });
    io.out(plan.isJson ? `${JSON.stringify(result)}\n` : formatReport(result));
    if (plan.isJson) for (const problem of result.problems) io.err(`ringmq: ${problem}\n`);
    return result.problems.length === 0 ? EXIT_OK : EXIT_FAILED;
  } finally {
    removeStop();
  }
}
