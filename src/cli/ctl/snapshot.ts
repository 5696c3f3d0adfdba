/** `ringmq ctl snapshot …`: backups of the whole state. Main thread of the command's process. */
import { existsSync } from 'node:fs';
import { BackupFileError, type BackupFileHeader, BackupFileWriter, readBackupFile } from '../../rpc/backup-file.ts';
import { CliError, EXIT_OK, UsageError } from '../exit-codes.ts';
import { type Printer, toFacts } from './printer.ts';
import type { Group, Verb } from './verb.ts';

interface Summary {
  readonly file: string;
  readonly header: BackupFileHeader;
  readonly chunkCount: number;
  readonly byteCount: number;
}

function printSummary(print: Printer, { file, header, chunkCount, byteCount }: Summary): number {
  const { clusterId, index, term, revision } = header;
  print.result({ file, clusterId, index, term, revision, chunkCount, byteCount }, () =>
    toFacts([
      ['file', file],
      ['cluster', clusterId],
      ['revision', revision],
      ['log index', `${index}, term ${term}`],
      ['size', `${byteCount} bytes in ${chunkCount} chunks`],
    ]),
  );
  return EXIT_OK;
}

function systemFailure(action: string, file: string, error: unknown): CliError {
  return new CliError(`Cannot ${action} "${file}": ${(error as Error).message}`);
}

function isSystemError(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error;
}

const save: Verb = {
  summary: 'write the state of the cluster as of now to a file',
  values: ['FILE'],
  notes: 'The file appears when it is complete and on disk. --timeout is for the time between two parts of it.',
  run: async ({ client, values: [file], print }) => {
    if (existsSync(file)) throw new CliError(`Cannot write "${file}": it exists already`);
    let header: BackupFileHeader | null = null;
    let writer: BackupFileWriter | null = null;
    try {
      for await (const part of client.backup()) {
        if (part.type === 'header') {
          header = part.header;
          writer = new BackupFileWriter(file, header);
        } else if (part.type === 'chunk') {
          writer?.chunk(part.chunk);
        } else if (writer !== null && header !== null) {
          writer.finish();
          writer = null;
          const { chunkCount, byteCount } = part.end;
          return printSummary(print, { file, header, chunkCount, byteCount });
        }
      }
    } catch (error) {
      if (isSystemError(error)) throw systemFailure('write', file, error);
      throw error;
    } finally {
      writer?.abort();
    }
    throw new CliError(`Cannot write "${file}": the server sent no backup`);
  },
};

const check: Verb = {
  summary: 'read a backup file and say whether it is whole',
  values: ['FILE'],
  isOffline: true,
  run: async ({ values: [file], print }) => {
    try {
      let header: BackupFileHeader | null = null;
      for (const part of readBackupFile(file)) {
        if (part.type === 'header') header = part.header;
        if (part.type === 'end' && header !== null) return printSummary(print, { file, header, ...part.end });
      }
    } catch (error) {
      if (error instanceof BackupFileError) throw new CliError(error.message);
      if (isSystemError(error)) throw systemFailure('read', file, error);
      throw error;
    }
    throw new CliError(`Cannot read "${file}": it holds no backup`);
  },
};

/** Opens data folders, so the broker's program does it: `bin/ringmq.js` looks for the words in this order. */
const restore: Verb = {
  summary: 'make a data folder from a backup file; nothing may run on it',
  values: ['FILE', '--data DIR'],
  isOffline: true,
  run: () => {
    throw new UsageError('Cannot restore: write "ringmq ctl snapshot restore FILE --data DIR", in this order');
  },
};

export const snapshot: Group = {
  summary: 'backups',
  verbs: new Map([
    ['save', save],
    ['check', check],
    ['restore', restore],
  ]),
};
