/**
 * `ringmq ctl`: administers a cluster over its gRPC API, and what a broker keeps over HTTP. Main thread of the command's process; called by `cli/main.ts`.
 * Groups and their verbs are in `src/cli/ctl`.
 */
import { PlacementCallError } from '../../rpc/client/errors.ts';
import { PlacementClient } from '../../rpc/client/placement-client.ts';
import { describeOptions, nearestName, type OptionSpec, type ParsedArguments, parseArguments } from '../arguments.ts';
import type { Command } from '../command.ts';
import { acl } from '../ctl/acl.ts';
import { alarm } from '../ctl/alarm.ts';
import { block } from '../ctl/block.ts';
import { bridge } from '../ctl/bridge.ts';
import { cluster } from '../ctl/cluster.ts';
import { delayed } from '../ctl/delayed.ts';
import { group } from '../ctl/group.ts';
import { journal } from '../ctl/journal.ts';
import { kv } from '../ctl/kv.ts';
import { lease } from '../ctl/lease.ts';
import { member } from '../ctl/member.ts';
import { Printer } from '../ctl/printer.ts';
import { transaction } from '../ctl/producers.ts';
import { queue } from '../ctl/queue.ts';
import { record } from '../ctl/record.ts';
import { retained } from '../ctl/retained.ts';
import { connectionOptions, readClientOptions } from '../ctl/settings.ts';
import { sharedGroup } from '../ctl/shared-group.ts';
import { slowSubscriptions } from '../ctl/slow-subscriptions.ts';
import { snapshot } from '../ctl/snapshot.ts';
import { stream } from '../ctl/stream.ts';
import { user } from '../ctl/user.ts';
import type { Group, Verb } from '../ctl/verb.ts';
import { watch } from '../ctl/watch.ts';
import { CliError, UsageError } from '../exit-codes.ts';
import type { CliIo } from '../io.ts';

const groups = new Map<string, Group>([
  ['kv', kv],
  ['cluster', cluster],
  ['member', member],
  ['lease', lease],
  ['watch', watch],
  ['snapshot', snapshot],
  ['stream', stream],
  ['record', record],
  ['queue', queue],
  ['group', group],
  ['delayed', delayed],
  ['retained', retained],
  ['transaction', transaction],
  ['journal', journal],
  ['user', user],
  ['acl', acl],
  ['block', block],
  ['bridge', bridge],
  ['alarm', alarm],
  ['shared-group', sharedGroup],
  ['slow-subscriptions', slowSubscriptions],
]);

/** The flags may stand anywhere; this is what is known of the command line without them. */
interface Found {
  /** At most two. */
  readonly words: readonly string[];
  readonly path: readonly string[];
  readonly group?: Group;
  readonly verb?: Verb;
}

export const ctl: Command = { summary: 'administer a cluster', help, run };

function help(argv: readonly string[]): string {
  const { path, group, verb } = find(argv);
  if (verb !== undefined) return verbHelp(path, verb, connectionOf(group));
  if (group !== undefined) return listHelp(path, group.verbs, connectionOf(group));
  return listHelp(path, groups, connectionOptions);
}

function connectionOf(group: Group | undefined): readonly OptionSpec[] {
  return group?.connection ?? connectionOptions;
}

function listHelp(
  path: readonly string[],
  entries: ReadonlyMap<string, { readonly summary: string }>,
  connection: readonly OptionSpec[],
): string {
  const name = ['ringmq', 'ctl', ...path].join(' ');
  const width = Math.max(10, ...[...entries.keys()].map((each) => each.length));
  const lines = [...entries].map(([each, { summary }]) => `  ${each.padEnd(width)} ${summary}`);
  const what = path.length === 0 ? 'GROUP [VERB]' : 'VERB';
  return `Usage: ${name} ${what} [OPTIONS]\n\n${lines.join('\n')}\n\n${name} ${what} --help tells more.\n\n${describeOptions(connection)}\n`;
}

function verbHelp(path: readonly string[], verb: Verb, connection: readonly OptionSpec[]): string {
  const usage = ['Usage: ringmq ctl', ...path, ...verb.values, '[OPTIONS]'].join(' ');
  const notes = verb.notes === undefined ? '' : `\n${verb.notes}\n`;
  return `${usage}\n\n${verb.summary}\n${notes}\n${describeOptions([...(verb.options ?? []), ...connection])}\n`;
}

/** Group and verb: the first words that are no flags, nor the values of the flags that are known everywhere. */
function find(argv: readonly string[]): Found {
  const words: string[] = [];
  for (let i = 0; i < argv.length && words.length < 2; i++) {
    const flag = connectionOptions.find(({ long, short }) => argv[i] === `--${long}` || argv[i] === `-${short}`);
    if (flag?.value !== undefined) i++;
    else if (!argv[i].startsWith('-')) words.push(argv[i]);
  }
  const group = groups.get(words[0] ?? '');
  if (group === undefined) return { words, path: [] };
  const single = group.verbs.get('');
  if (single !== undefined) return { words, path: [words[0]], group, verb: single };
  const verb = group.verbs.get(words[1] ?? '');
  return verb === undefined ? { words, path: [words[0]], group } : { words, path: words, group, verb };
}

async function run(argv: readonly string[], io: CliIo): Promise<number> {
  const { words, path, group, verb } = find(argv);
  if (verb === undefined) throw unknown(words, path, group?.verbs ?? groups);
  const options = parseArguments(argv, [...(verb.options ?? []), ...connectionOf(group)]);
  const values = readValues(path, verb, options);
  const print = new Printer(io, options.has('json'));
  // Also without a server: its flags are checked, and nothing is connected before the first call.
  const usesClient = verb.isOffline !== true && group?.connection === undefined;
  const settings = !usesClient ? { servers: 'localhost:1' } : readClientOptions(options, process.env);
  const client = await PlacementClient.create(settings);
  try {
    return await verb.run({ client, values, options, print, io });
  } catch (error) {
    if (error instanceof PlacementCallError) throw new CliError(describe(error));
    throw error;
  } finally {
    client.close();
  }
}

function describe({ message, code, leaderAddress }: PlacementCallError): string {
  const hint = leaderAddress === '' ? '' : `; the leader is at ${leaderAddress}`;
  return `${message} (${code}${hint})`;
}

function unknown(words: readonly string[], path: readonly string[], entries: ReadonlyMap<string, unknown>): UsageError {
  const names = [...entries.keys()];
  const name = ['ctl', ...path].join(' ');
  const word = words[path.length];
  if (word === undefined) return new UsageError(`Cannot run "${name}": expected one of ${names.join(', ')}`);
  const near = nearestName(word, names);
  const advice = near === undefined ? `expected one of ${names.join(', ')}` : `did you mean ${near}?`;
  return new UsageError(`Cannot run "${name} ${word}": ${advice}`);
}

/** The values behind the verb's name; throws `UsageError` when there are too few or too many. */
function readValues(path: readonly string[], { values }: Verb, { positionals }: ParsedArguments): readonly string[] {
  const given = positionals.slice(path.length);
  const neededCount = values.filter((name) => !name.startsWith('[')).length;
  if (given.length >= neededCount && given.length <= values.length) return given;
  const expected = values.length === 0 ? 'no values' : values.join(' ');
  throw new UsageError(`Cannot run "${['ctl', ...path].join(' ')}": expected ${expected}`);
}
