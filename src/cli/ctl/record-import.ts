/**
 * `ringmq ctl record import`: appends the records of an export, in the order of its lines. What it says at the end is exact: lines are
 * sent one run after the other, never two at a time. Main thread of the command's process.
 */
import { createReadStream } from 'node:fs';
import type { Readable } from 'node:stream';
import { CliError, EXIT_OK } from '../exit-codes.ts';
import type { CliIo } from '../io.ts';
import { type ExportedRecord, parseExported } from './record-json.ts';
import { AdminCallError, AdminClient } from './stream-client.ts';
import type { Verb } from './verb.ts';

const progressMs = 1000;
/** Of a request; the API takes 4 MiB. */
const runBytesMax = 1024 * 1024;
const runRecordsMax = 1000;
/** A line that is longer cannot be sent. */
const lineBytesMax = 4 * 1024 * 1024;
const problemsMax = 100;

export const importVerb: Verb = {
  summary: 'append the records of an export',
  values: ['STREAM', '[FILE]'],
  options: [
    { long: 'skip', value: 'LINES', help: 'begin behind this line: to go on where an import ended (0)' },
    { long: 'check', help: 'only look for bad lines; the broker is not asked' },
    { long: 'quiet', help: 'no progress on standard error' },
  ],
  notes:
    'Without FILE, or with -, from standard input. Every record goes to the partition that its line names, and gets a new offset. The\n' +
    'first line that is bad, or that the broker refuses, ends the import: the lines in front of it are appended, none behind it.',
  run: async ({ values: [name, path = '-'], options, print, io }) => {
    const input = path === '-' ? io.stdin : createReadStream(path);
    const skip = options.integer('skip', 0);
    const lines = readLines(input, skip);
    if (options.has('check')) {
      const { count, problems } = await checkLines(lines);
      if (problems.length > 0) throw new CliError(`Cannot import "${path}":\n${problems.join('\n')}`);
      print.result({ records: count }, () => `${count} records, no bad line\n`);
      return EXIT_OK;
    }
    const run = new Import({ client: new AdminClient(options), name, skip, io, isQuiet: options.has('quiet') });
    await run.run(lines);
    print.result({ records: run.count, lines: run.line }, () => `imported ${run.count} records\n`);
    return EXIT_OK;
  },
};

interface Line {
  /** From 1 on. */
  readonly number: number;
  readonly bytes: number;
  /** A text says what is wrong. Null for an empty line. */
  readonly record: ExportedRecord | string | null;
}

async function checkLines(
  lines: AsyncIterable<Line>,
): Promise<{ readonly count: number; readonly problems: string[] }> {
  const problems: string[] = [];
  let count = 0;
  for await (const { number, record } of lines) {
    if (typeof record !== 'string') count += record === null ? 0 : 1;
    else if (problems.push(`line ${number}: ${record}`) >= problemsMax) break;
  }
  return { count, problems };
}

/** Lines end with LF alone: the other ends of lines that Unicode knows can stand within a JSON text. */
async function* readLines(input: Readable, skip: number): AsyncGenerator<Line> {
  let parts: Buffer[] = [];
  let bytes = 0;
  let number = 0;
  const finish = (): Line | null => {
    number += 1;
    const whole = bytes > lineBytesMax ? null : Buffer.concat(parts);
    const line = number <= skip ? null : { number, bytes, record: parseLine(whole) };
    parts = [];
    bytes = 0;
    return line;
  };
  try {
    for await (const chunk of input) {
      const block = Buffer.from(chunk as Buffer | string);
      for (let at = 0; at < block.length; ) {
        const found = block.indexOf(0x0a, at);
        const end = found < 0 ? block.length : found;
        bytes += end - at;
        // Of a line that is too long nothing more is kept than its length.
        if (bytes <= lineBytesMax) parts.push(block.subarray(at, end));
        else parts = [];
        at = end + 1;
        if (found < 0) continue;
        const line = finish();
        if (line !== null) yield line;
      }
    }
  } catch (error) {
    throw new CliError(`Cannot read the records: ${(error as Error).message}`);
  }
  const last = bytes === 0 ? null : finish();
  if (last !== null) yield last;
}

function parseLine(bytes: Buffer | null): ExportedRecord | string | null {
  if (bytes === null) return `it has more than ${lineBytesMax} bytes`;
  const text = bytes.toString();
  return text.trim() === '' ? null : parseExported(text);
}

interface RecordLine {
  readonly number: number;
  readonly record: ExportedRecord;
}

interface ImportOptions {
  readonly client: AdminClient;
  readonly name: string;
  readonly skip: number;
  readonly io: CliIo;
  readonly isQuiet: boolean;
}

class Import {
  count = 0;
  /** The last line up to which everything is appended. */
  line: number;
  readonly #options: ImportOptions;
  #run: RecordLine[] = [];
  #runBytes = 0;
  #isStopped = false;
  #toldMs = performance.now();

  constructor(options: ImportOptions) {
    this.#options = options;
    this.line = options.skip;
  }

  /** Throws `CliError`. */
  async run(lines: AsyncIterable<Line>): Promise<void> {
    const forget = this.#options.io.onStop(() => {
      this.#isStopped = true;
    });
    try {
      for await (const { number, bytes, record } of lines) {
        if (this.#isStopped) break;
        if (typeof record === 'string') {
          await this.#flush();
          throw new CliError(`Cannot import line ${number}: ${record}; ${this.#summary()}`);
        }
        if (record !== null) await this.#add({ number, record }, bytes);
      }
      await this.#flush();
    } finally {
      forget();
    }
    if (this.#isStopped) throw new CliError(`Interrupted; ${this.#summary()}`);
  }

  async #add(line: RecordLine, bytes: number): Promise<void> {
    const isFull = this.#run.length >= runRecordsMax || this.#runBytes + bytes > runBytesMax;
    const isOther = this.#run.length > 0 && this.#run[0].record.partition !== line.record.partition;
    if (isFull || isOther) await this.#flush();
    this.#run.push(line);
    this.#runBytes += bytes;
  }

  /** Appends the lines that were gathered: consecutive ones of one partition. */
  async #flush(): Promise<void> {
    const run = this.#run;
    this.#run = [];
    this.#runBytes = 0;
    if (run.length > 0) await this.#send(run);
    this.#tell();
  }

  /** In halves when the stream takes no batch of this size. */
  async #send(run: readonly RecordLine[]): Promise<void> {
    const { client, name } = this.#options;
    const records = run.map(({ record: { partition, offset, ...record } }) => record);
    try {
      await client.post('/records', { stream: name, partition: run[0].record.partition, records });
    } catch (error) {
      if (!(error instanceof AdminCallError)) throw error;
      if (error.code !== 'STORAGE_BATCH_INVALID' || run.length === 1) throw this.#refused(run, error);
      const half = Math.ceil(run.length / 2);
      await this.#send(run.slice(0, half));
      await this.#send(run.slice(half));
      return;
    }
    this.count += run.length;
    this.line = run[run.length - 1].number;
  }

  #refused(run: readonly RecordLine[], error: AdminCallError): CliError {
    const [first, last] = [run[0].number, run[run.length - 1].number];
    const which = first === last ? `line ${first}` : `lines ${first} to ${last}`;
    const fate = isUncertain(error) ? `whether ${which} are stored is not known; ` : '';
    return new CliError(`Cannot import ${which}: ${error.message}; ${fate}${this.#summary()}`);
  }

  #tell(): void {
    const { io, isQuiet } = this.#options;
    if (isQuiet || performance.now() < this.#toldMs + progressMs) return;
    this.#toldMs = performance.now();
    io.err(`imported ${this.count} records, up to line ${this.line}\n`);
  }

  #summary(): string {
    return `imported ${this.count} records; go on with --skip ${this.line}`;
  }
}

/** Without an answer, or after one that says so, the records may be there. */
function isUncertain({ code }: AdminCallError): boolean {
  return code === '' || code === 'STORAGE_UNCERTAIN';
}
