/** `ringmq config show | check | schema`. Main thread; called by the program's entry, which prints what it answers. */
import { BrokerError } from '../std/errors.ts';
import { didYouMean } from './check.ts';
import type { Environment } from './environment.ts';
import { loadConfiguration } from './load.ts';
import { type ConfigurationPart, createSchema, type StoragePart } from './schema.ts';
import { schemaText, showJson, showYaml } from './show.ts';

export interface CommandResult {
  /** The command line's own: 0 done, or the configuration can be used; 1 wrong usage; 2 it cannot be used. */
  readonly exitCode: 0 | 1 | 2;
  readonly stdout: string;
  readonly stderr: string;
}

const verbs = ['show', 'check', 'schema'];

const usage = `Usage: ringmq config show|check|schema [FILE] [flags]

  show      the effective settings as YAML, and where each came from; --json for programs
  check     whether a broker would start with them
  schema    JSON Schema of the file, for editors

The flags of "ringmq start" are taken here too, and so are the environment variables.
`;

/** Runs the command. `argv` is what stands behind `config`. */
export async function runConfigCommand(
  argv: readonly string[],
  parts: readonly ConfigurationPart[],
  environment: Environment,
  adapters: readonly StoragePart[] = [],
): Promise<CommandResult> {
  const [verb, ...rest] = argv;
  if (verb === undefined) return { exitCode: 1, stdout: '', stderr: usage };
  if (argv.some((argument) => argument === '--help' || argument === '-h')) return done(usage);
  if (!verbs.includes(verb)) {
    return {
      exitCode: 1,
      stdout: '',
      stderr: `Cannot run "config ${verb}": unknown command${didYouMean(verb, verbs)}\n\n${usage}`,
    };
  }
  if (verb === 'schema') return done(schemaText(createSchema(parts, adapters)));
  const json = verb === 'show' && rest.includes('--json');
  const flags = rest.filter((argument) => !(json && argument === '--json'));
  const file = flags[0]?.startsWith('-') === false ? flags.shift() : undefined;
  try {
    const configuration = await loadConfiguration({ file, environment, flags, parts, adapters });
    if (verb === 'check') return done('OK\n');
    return done((json ? showJson : showYaml)(configuration, createSchema(parts, adapters)));
  } catch (error) {
    if (!(error instanceof BrokerError)) throw error;
    return { exitCode: 2, stdout: '', stderr: `${error.message}\n` };
  }
}

function done(stdout: string): CommandResult {
  return { exitCode: 0, stdout, stderr: '' };
}
