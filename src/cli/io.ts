/** What a verb may touch of its process. One object, so that tests run verbs inside their own process. Main thread. */
import { once } from 'node:events';
import type { Readable } from 'node:stream';

export interface CliIo {
  readonly stdin: Readable;
  /** Standard output: results only. */
  out(data: string | Uint8Array): void;
  /** Resolves when the reader of standard output has caught up; missing where there is nobody to wait for. */
  readonly drained?: () => Promise<void>;
  /** Standard error: messages, progress. */
  err(text: string): void;
  setExitCode(code: number): void;
  /** Calls `handler` on SIGINT, SIGTERM and when the reader of standard output goes away; returns the way to undo it. */
  onStop(handler: () => void): () => void;
}

/** The real process. Writing to a closed pipe (`sub | head -1`) is a wish to stop, not an error. */
export function processIo(): CliIo {
  return {
    stdin: process.stdin,
    out: (data) => void process.stdout.write(data),
    drained: drainOutput,
    err: (text) => void process.stderr.write(text),
    setExitCode: (code) => {
      process.exitCode = code;
    },
    onStop: (handler) => {
      const onOutputError = (error: NodeJS.ErrnoException): void => {
        if (error.code !== 'EPIPE') throw error;
        handler();
      };
      process.on('SIGINT', handler);
      process.on('SIGTERM', handler);
      process.stdout.on('error', onOutputError);
      return () => {
        process.off('SIGINT', handler);
        process.off('SIGTERM', handler);
        process.stdout.off('error', onOutputError);
      };
    },
  };
}

async function drainOutput(): Promise<void> {
  if (!process.stdout.writableNeedDrain) return;
  try {
    await once(process.stdout, 'drain');
  } catch (error) {
    // A reader that went away: whoever writes is told by `onStop`.
    if ((error as NodeJS.ErrnoException).code !== 'EPIPE') throw error;
  }
}
