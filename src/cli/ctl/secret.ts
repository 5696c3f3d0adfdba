/**
 * Secrets for `ringmq ctl`: from a file, from standard input, or typed without being shown. Never from the command line,
 * which every user of the machine can read and the shell remembers. Main thread of the command's process.
 */
import { readFileSync } from 'node:fs';
import type { Readable } from 'node:stream';
import type { ReadStream } from 'node:tty';
import { CliError, UsageError } from '../exit-codes.ts';
import type { CliIo } from '../io.ts';

const secretBytesMax = 4_096;
const enter = /[\r\n]/;
const interrupt = '\u0003';
const endOfInput = '\u0004';

/** A file's content without the line feed at its end. Throws `UsageError`. */
export function readSecretFile(path: string): Buffer {
  try {
    return withoutLineEnd(readFileSync(path));
  } catch (error) {
    throw new UsageError(`Cannot read "${path}": ${(error as Error).message}`);
  }
}

/** What is typed, twice the same when a person types it, or all of standard input. */
export async function askSecret(io: CliIo, what: string): Promise<Buffer> {
  const { stdin } = io;
  if (!isTerminal(stdin)) return withoutLineEnd(await readAll(stdin));
  const first = await type(stdin, io, `${what}: `);
  const second = await type(stdin, io, `${what}, once more: `);
  if (first !== second) throw new CliError(`Cannot use the ${what.toLowerCase()}: the two are not the same`);
  return Buffer.from(first);
}

function isTerminal(stream: Readable): stream is ReadStream {
  return 'isTTY' in stream && stream.isTTY === true;
}

async function readAll(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of stream) {
    chunks.push(Buffer.from(chunk));
    bytes += chunks.at(-1)?.length ?? 0;
    if (bytes > secretBytesMax)
      throw new UsageError(`Cannot use standard input: it is longer than ${secretBytesMax} bytes`);
  }
  return Buffer.concat(chunks);
}

function withoutLineEnd(bytes: Buffer): Buffer {
  let end = bytes.length;
  if (bytes[end - 1] === 0x0a) end--;
  if (bytes[end - 1] === 0x0d) end--;
  return bytes.subarray(0, end);
}

/** One line of a terminal, not shown. */
async function type(terminal: ReadStream, io: CliIo, prompt: string): Promise<string> {
  io.err(prompt);
  terminal.setRawMode(true);
  terminal.setEncoding('utf8');
  terminal.resume();
  try {
    return await new Promise<string>((resolve, reject) => {
      let typed = '';
      const onData = (text: string): void => {
        for (const key of text) {
          if (key === interrupt || key === endOfInput) {
            terminal.off('data', onData);
            reject(new CliError('Nothing was done: the input was ended'));
            return;
          }
          if (enter.test(key)) {
            terminal.off('data', onData);
            resolve(typed);
            return;
          }
          // Backspace takes one character, whatever it is made of.
          typed = key === '\u007f' || key === '\b' ? [...typed].slice(0, -1).join('') : typed + key;
        }
      };
      terminal.on('data', onData);
    });
  } finally {
    terminal.setRawMode(false);
    terminal.pause();
    io.err('\n');
  }
}
