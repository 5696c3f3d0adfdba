/**
 * `ringmq ctl record export`: records as NDJSON, one object per line, partition after partition. Page by page, so that neither this
 * process nor the broker holds more than one. Main thread of the command's process.
 */
import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { CliError, EXIT_FAILED, EXIT_OK, UsageError } from '../exit-codes.ts';
import type { CliIo } from '../io.ts';
import type { ExportedRecord } from './record-json.ts';
import { type PartitionState, partitionOption, readPartition, type StreamDescription } from './stream.ts';
import { AdminClient } from './stream-client.ts';
import type { Verb } from './verb.ts';

const progressMs = 1000;

interface Page {
  readonly records: readonly (Omit<ExportedRecord, 'partition'> & { readonly offset: number })[];
  readonly next: number;
  readonly isEnd: boolean;
}

export const exportVerb: Verb = {
  summary: 'write all records that are there now as NDJSON',
  values: ['STREAM'],
  options: [
    partitionOption,
    { long: 'file', value: 'FILE', help: 'write to FILE, a new one; with --from also to its end' },
    { long: 'from', value: 'OFFSET', help: 'go on there; with several partitions as PARTITION:OFFSET,… (earliest)' },
    { long: 'quiet', help: 'no progress on standard error' },
  ],
  notes:
    'Each line is an object with partition, offset, timestamp, key, headers and value; what is no text has the name keyBase64 or\n' +
    'valueBase64. When it fails or is interrupted it prints the --from with which the rest can be had.',
  run: async ({ values: [name], options, io }) => {
    const client = new AdminClient(options);
    const only = readPartition(options);
    const { partitionStates } = await client.get<StreamDescription>('/streams/describe', { name });
    const states = partitionStates.filter(({ partition }) => only === undefined || partition === only);
    if (states.length === 0)
      throw new UsageError(`Cannot export partition ${only}: stream "${name}" has none of this number`);
    const places = readPlaces(options.text('from'), states);
    const output = new Output(options.text('file'), options.has('from'), io);
    const run = new Export({ client, name, states, places, output, io, isQuiet: options.has('quiet') });
    try {
      return await run.run();
    } finally {
      output.close();
    }
  },
};

/** Partition → where to go on. Throws `UsageError`. */
export function readPlaces(text: string | undefined, states: readonly PartitionState[]): Map<number, number> {
  const places = new Map<number, number>();
  if (text === undefined) return places;
  for (const part of text.split(',')) {
    const match = /^(?:(\d{1,4}):)?(\d{1,15})$/.exec(part);
    const partition = match?.[1] === undefined ? states[0].partition : Number(match[1]);
    const isKnown = states.some((state) => state.partition === partition);
    const isClear = match?.[1] !== undefined || states.length === 1;
    if (match === null || !isKnown || !isClear || places.has(partition)) {
      const form = states.length === 1 ? 'OFFSET' : 'PARTITION:OFFSET,…';
      throw new UsageError(`Cannot use --from "${text}": expected ${form}, each partition of the export once`);
    }
    places.set(partition, Number(match[2]));
  }
  return places;
}

/** Standard output, or a file of which all is on the disk at the end. */
class Output {
  readonly #io: CliIo;
  readonly #path: string | undefined;
  readonly #descriptor: number | null;

  constructor(path: string | undefined, canExist: boolean, io: CliIo) {
    this.#io = io;
    this.#path = path;
    try {
      this.#descriptor = path === undefined ? null : openSync(path, canExist ? 'a' : 'wx', 0o600);
    } catch (error) {
      throw new UsageError(`Cannot write "${path}": ${(error as Error).message}`);
    }
  }

  async write(text: string): Promise<void> {
    if (this.#descriptor === null) {
      this.#io.out(text);
      await this.#io.drained?.();
      return;
    }
    const bytes = Buffer.from(text);
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(this.#descriptor, bytes, at);
    } catch (error) {
      throw new CliError(`Cannot write "${this.#path}": ${(error as Error).message}`);
    }
  }

  close(): void {
    if (this.#descriptor === null) return;
    try {
      fsyncSync(this.#descriptor);
    } catch (error) {
      // A pipe or a terminal has nothing to be made durable.
      if ((error as NodeJS.ErrnoException).code !== 'EINVAL') throw error;
    } finally {
      closeSync(this.#descriptor);
    }
  }
}

interface ExportOptions {
  readonly client: AdminClient;
  readonly name: string;
  readonly states: readonly PartitionState[];
  /** Where each partition goes on; kept up to date. */
  readonly places: Map<number, number>;
  readonly output: Output;
  readonly io: CliIo;
  readonly isQuiet: boolean;
}

class Export {
  readonly #options: ExportOptions;
  #count = 0;
  #isStopped = false;
  #toldMs = performance.now();

  constructor(options: ExportOptions) {
    this.#options = options;
  }

  async run(): Promise<number> {
    const { states, io } = this.#options;
    const forget = io.onStop(() => {
      this.#isStopped = true;
    });
    try {
      for (const state of states) await this.#exportPartition(state);
    } catch (error) {
      if (!(error instanceof CliError)) throw error;
      throw new CliError(`${error.message}\n${this.#summary()}`);
    } finally {
      forget();
    }
    if (this.#isStopped) throw new CliError(`Interrupted\n${this.#summary()}`, EXIT_FAILED);
    if (!this.#options.isQuiet) io.err(`exported ${this.#count} records\n`);
    return EXIT_OK;
  }

  /** Up to what was there when the command began: a stream that grows all the time has no other end. */
  async #exportPartition({ partition, logStartOffset, lastStableOffset, error }: PartitionState): Promise<void> {
    const { client, name, places, output } = this.#options;
    if (error !== undefined) throw new CliError(error.message);
    const end = lastStableOffset ?? 0;
    let next = places.get(partition) ?? logStartOffset ?? 0;
    places.set(partition, next);
    while (next < end && !this.#isStopped) {
      const query = { stream: name, partition, from: next, limit: 1000 };
      const page = await client.get<Page>('/records', query);
      const records = page.records.filter(({ offset }) => offset < end);
      await output.write(records.map((each) => `${JSON.stringify({ partition, ...each })}\n`).join(''));
      this.#count += records.length;
      next = Math.min(page.next, end);
      places.set(partition, next);
      this.#tell(partition, end);
      if (page.isEnd) return;
    }
  }

  #tell(partition: number, end: number): void {
    const { io, places, isQuiet } = this.#options;
    if (isQuiet || performance.now() < this.#toldMs + progressMs) return;
    this.#toldMs = performance.now();
    io.err(`exported ${this.#count} records, partition ${partition} up to ${places.get(partition)} of ${end}\n`);
  }

  #summary(): string {
    const { places } = this.#options;
    const text = [...places].map(([partition, offset]) => `${partition}:${offset}`).join(',');
    const rest = text === '' ? 'nothing was written' : `go on with --from ${text}`;
    return `exported ${this.#count} records; ${rest}`;
  }
}
