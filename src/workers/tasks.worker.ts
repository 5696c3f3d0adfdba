/**
 * Entry of the threads of the task pool: short work that needs CPU and holds no state. Each exported function is one
 * task; its input and output are plain data. Called through `task-pool.ts`.
 */
import { gzipSync } from 'node:zlib';

/** Compresses a text. Synchronous, since the thread has nothing else to do. */
export function gzip(text: string): Uint8Array {
  return gzipSync(text, { level: 4 });
}
