/**
 * Commands on the data folder of a broker that does not run: `ringmq recover` and `ringmq ctl snapshot restore`. Main
 * thread; called by `main.ts`. They are part of the broker and not of the client, because they open its files.
 */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { forceNewGroup, type RecoveryReport, restoreSnapshot } from '../raft/node/recovery.ts';
import { type BackupFileHeader, readBackupFile } from '../rpc/backup-file.ts';
import { openDataFolder } from './data-folder.ts';

const EXIT_FAILURE = 1;
const EXIT_USAGE = 2;

const recoverHelp = `Usage: ringmq recover --data DIR --force-new-group [--json]

The last resort when most nodes of a cluster are lost for good: makes the node of DIR a cluster of its own, with the data
that it has. It must not run meanwhile.

Acknowledged writes that only the lost nodes had are gone, and writes that were never acknowledged may appear. The old
nodes must never be started again with their data: give them empty data folders and let them join.
`;

const restoreHelp = `Usage: ringmq ctl snapshot restore FILE --data DIR [--json]

Makes DIR the data folder of a new cluster of one node that begins with the state in FILE, as \`ringmq ctl snapshot save\`
wrote it. DIR must hold no placement data yet. The other nodes join with empty data folders.
`;

const warning = `warning: this founds a new cluster from what this node has.
warning: never start the old nodes again with their data folders; let them join anew with empty ones.
`;

/** Runs the command and sets the exit status. */
export async function runOffline(argv: readonly string[]): Promise<void> {
  const isRecovery = argv[0] === 'recover';
  const help = isRecovery ? recoverHelp : restoreHelp;
  const parsed = parse(argv.slice(isRecovery ? 1 : 3));
  if (parsed === null || (!parsed.help && !isComplete(isRecovery, parsed))) {
    process.stderr.write(help);
    process.exitCode = EXIT_USAGE;
    return;
  }
  if (parsed.help) {
    process.stdout.write(help);
    return;
  }
  try {
    const report = await run(isRecovery, parsed);
    process.stdout.write(parsed.isJson ? `${JSON.stringify(toJson(report))}\n` : describe(report));
  } catch (error) {
    process.stderr.write(`ringmq: ${(error as Error).message}\n`);
    process.exitCode = EXIT_FAILURE;
  }
}

interface Parsed {
  readonly help: boolean;
  readonly isJson: boolean;
  readonly data: string;
  readonly isForced: boolean;
  readonly files: readonly string[];
}

/** Null when the command line cannot be understood. */
function parse(argv: readonly string[]): Parsed | null {
  try {
    const { values, positionals } = parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        data: { type: 'string', default: '' },
        'force-new-group': { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
    const { data, json: isJson, help, 'force-new-group': isForced } = values;
    return { data, isJson, help, isForced, files: positionals };
  } catch (error) {
    process.stderr.write(`ringmq: ${(error as Error).message}\n`);
    return null;
  }
}

function isComplete(isRecovery: boolean, { data, isForced, files }: Parsed): boolean {
  if (data === '') return false;
  return isRecovery ? isForced && files.length === 0 : !isForced && files.length === 1;
}

async function run(isRecovery: boolean, { data, files, isJson }: Parsed): Promise<RecoveryReport> {
  const folder = openDataFolder(data);
  const placement = join(folder.path, 'placement');
  try {
    if (!isRecovery) return await restore(placement, files[0]);
    if (!isJson) process.stderr.write(warning);
    return await forceNewGroup(placement);
  } finally {
    folder.release();
  }
}

async function restore(placement: string, file: string): Promise<RecoveryReport> {
  const parts = readBackupFile(file);
  const first = parts.next();
  if (first.done === true || first.value.type !== 'header') throw new Error(`Cannot read "${file}": it has no header`);
  const header: BackupFileHeader = first.value.header;
  async function* chunks(): AsyncGenerator<Uint8Array, void> {
    for (const part of parts) if (part.type === 'chunk') yield part.chunk;
  }
  return restoreSnapshot(placement, header, chunks());
}

function toJson({ replica, ...report }: RecoveryReport): object {
  return { ...report, replica: String(replica) };
}

function describe({ clusterId, replica, index, revision, uncertainEntries }: RecoveryReport): string {
  const uncertain =
    uncertainEntries === 0 ? '' : `${uncertainEntries} entries that may never have been acknowledged were kept.\n`;
  return (
    `New cluster ${clusterId} with the replica ${replica} as its only voter.\n` +
    `It begins with log index ${index}, revision ${revision}.\n${uncertain}` +
    'Start it with `ringmq start`, then let the other nodes join with empty data folders.\n'
  );
}
