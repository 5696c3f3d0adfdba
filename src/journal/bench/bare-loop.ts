/**
 * What the engine is measured against: one `writev` and one `fdatasync` for all that was handed in meanwhile, and nothing else. No
 * checks, no offsets, no index, no proof; what it writes nobody could recover. Thread: the one of the benchmark.
 *
 * `growing`: the file grows with each write, the sync goes through libuv's threads: the loop that one writes first.
 * `prepared`: zeros are written ahead as the engine does it, and the thread waits itself for the sync: the quickest that was found.
 */

import { closeSync, fdatasync, fdatasyncSync, openSync, rmSync, writeSync, writevSync } from 'node:fs';
import type { AppendTarget } from './append-load.ts';

export const bareKinds = ['growing', 'prepared'] as const;
export type BareKind = (typeof bareKinds)[number];

const aheadBytes = 256 * 1024;
const zeros = Buffer.alloc(aheadBytes);
/** Buffers of one call; the system takes no more. */
const vectorMax = 1024;

export class BareLoop implements AppendTarget {
  readonly #kind: BareKind;
  readonly #path: string;
  readonly #descriptor: number;
  #waiting: { readonly batch: Buffer; readonly done: (error: Error | null) => void }[] = [];
  #isUnderWay = false;
  #end = 0;
  #size = 0;

  /** Makes the file. Throws Node's errors. */
  constructor(kind: BareKind, path: string) {
    this.#kind = kind;
    this.#path = path;
    this.#descriptor = openSync(path, 'w', 0o600);
  }

  append(batch: Buffer, done: (error: Error | null) => void): void {
    this.#waiting.push({ batch, done });
  }

  flush(): void {
    if (this.#isUnderWay || this.#waiting.length === 0) return;
    this.#isUnderWay = true;
    const round = this.#waiting;
    this.#waiting = [];
    for (let first = 0; first < round.length; first += vectorMax) {
      const buffers = round.slice(first, first + vectorMax).map(({ batch }) => batch);
      this.#end += writevSync(this.#descriptor, buffers, this.#end);
    }
    const onSynced = (error: Error | null): void => {
      this.#isUnderWay = false;
      for (const { done } of round) done(error);
      this.flush();
    };
    if (this.#kind === 'growing') {
      fdatasync(this.#descriptor, onSynced);
      return;
    }
    if (this.#end >= this.#size) this.#size = this.#end + writeSync(this.#descriptor, zeros, 0, aheadBytes, this.#end);
    setImmediate(() => {
      fdatasyncSync(this.#descriptor);
      onSynced(null);
    });
  }

  /** Removes the file. Nothing is under way. */
  close(): void {
    closeSync(this.#descriptor);
    rmSync(this.#path);
  }
}
