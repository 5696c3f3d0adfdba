/**
 * Entry of the threads of the task pool: short work that needs CPU and holds no state. Each exported function is one
 * task; its input and output are plain data. Called through `task-pool.ts`.
 */
import { gzipSync } from 'node:zlib';
import { type HashKind, hashPassword, verifyPassword } from '../auth/password-hash.ts';
import { deriveScramKeys, type ScramKind } from '../auth/scram-keys.ts';

/** Compresses a text. Synchronous, since the thread has nothing else to do. */
export function gzip(text: string): Uint8Array {
  return gzipSync(text, { level: 4 });
}

/** Whether the password belongs to one of the verifiers; takes as long without any. */
export function checkPassword(input: {
  readonly password: Uint8Array;
  readonly verifiers: readonly string[];
}): boolean {
  return verifyPassword(input.password, input.verifiers);
}

/** What is kept of a new password; null when SCRAM is asked for and it is no text. */
export function makeVerifiers(input: {
  readonly password: Uint8Array;
  readonly hash: HashKind;
  readonly scram: readonly ScramKind[];
}): readonly string[] | null {
  const { password, hash, scram } = input;
  const keys = scram.map((kind) => deriveScramKeys(kind, password));
  const texts = keys.filter((each) => each !== null);
  return texts.length === keys.length ? [hashPassword(hash, password), ...texts] : null;
}
