/** What a verb may touch of its process. One object, so that tests run verbs inside their own process. Main thread. */
import type { Readable } from 'node:stream';

export interface CliIo {
  readonly stdin: Readable;
  /** Standard output: results only. */
  out(data: string | Uint8Array): void;
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
