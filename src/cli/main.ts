/**
 * Entry of the command line for every verb that talks to a broker over its APIs. Main thread of the command's process;
 * called by `bin/ringmq.js`, which keeps `start` and `config` for the broker itself.
 */
import { nearestName } from './arguments.ts';
import type { Command } from './command.ts';
import { CliError, EXIT_OK, EXIT_USAGE } from './exit-codes.ts';
import { type CliIo, processIo } from './io.ts';

/** Verbs are loaded when they are asked for: start-up time of a shell tool is part of its manners. */
const commands = new Map<string, { summary: string; load: () => Promise<Command> }>([
  ['pub', { summary: 'publish messages', load: async () => (await import('./commands/pub.ts')).pub }],
  ['sub', { summary: 'subscribe and print messages', load: async () => (await import('./commands/sub.ts')).sub }],
  ['ctl', { summary: 'administer a cluster', load: async () => (await import('./commands/ctl.ts')).ctl }],
  ['bench', { summary: 'load a broker and measure it', load: async () => (await import('./commands/bench.ts')).bench }],
]);

/** Names of the verbs served here, for whoever composes the overall help. */
export const cliVerbs: readonly string[] = [...commands.keys()];

/** Runs `argv` (without node and script) and sets the exit status; never throws for a user's mistake. */
export async function main(argv: readonly string[], io: CliIo = processIo()): Promise<void> {
  try {
    io.setExitCode(await dispatch(argv, io));
  } catch (error) {
    if (!(error instanceof CliError)) throw error;
    if (error.message !== '') io.err(`ringmq: ${error.message}\n`);
    io.setExitCode(error.exitCode);
  }
}

async function dispatch(argv: readonly string[], io: CliIo): Promise<number> {
  const [verb, ...rest] = argv;
  if (verb === undefined || verb === '--help' || verb === 'help') {
    (verb === undefined ? io.err : io.out)(overview());
    return verb === undefined ? EXIT_USAGE : EXIT_OK;
  }
  const entry = commands.get(verb);
  if (entry === undefined) {
    const near = nearestName(verb, cliVerbs);
    throw new CliError(
      `Cannot run "${verb}": unknown command${near === undefined ? '' : `; did you mean ${near}?`}`,
      EXIT_USAGE,
    );
  }
  const command = await entry.load();
  if (rest.includes('--help')) {
    io.out(command.help(rest));
    return EXIT_OK;
  }
  return command.run(rest, io);
}

function overview(): string {
  const lines = [...commands].map(([verb, { summary }]) => `  ${verb.padEnd(8)} ${summary}`);
  return `Usage: ringmq COMMAND [OPTIONS]\n\n${lines.join('\n')}\n\nringmq COMMAND --help tells more.\n`;
}
