/**
 * What a server keeps of a password for SCRAM (RFC 5802, RFC 7677): enough to check a proof, not enough to make one.
 * `deriveScramKeys` is slow on purpose and belongs in the task pool; the rest is quick. Any thread.
 *
 * ```
 * $scram-sha-256$i=20000$salt$StoredKey$ServerKey        (base64)
 * ```
 */
import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto';

export const scramKinds = ['scram-sha-256', 'scram-sha-512'] as const;
export type ScramKind = (typeof scramKinds)[number];
export type ScramHash = 'sha256' | 'sha512';

/** Clients compute it too, some of them slowly. RFC 7677 wants 4,096 at least. */
export const scramIterationsDefault = 20_000;
const iterationsMin = 4_096;
const iterationsMax = 1_000_000;
const saltBytes = 16;

export interface ScramKeys {
  readonly iterations: number;
  readonly salt: Buffer;
  readonly storedKey: Buffer;
  readonly serverKey: Buffer;
}

export function scramHash(kind: ScramKind): ScramHash {
  return kind === 'scram-sha-256' ? 'sha256' : 'sha512';
}

/** Length of its keys, bytes. */
export function scramKeyBytes(hash: ScramHash): number {
  return hash === 'sha256' ? 32 : 64;
}

/**
 * Null for a password that is no text: a SCRAM client types it. Normal form KC stands for SASLprep, with which it agrees
 * on all that people type.
 */
export function deriveScramKeys(
  kind: ScramKind,
  password: Uint8Array,
  iterations = scramIterationsDefault,
): string | null {
  const text = textOf(password);
  if (text === null) return null;
  const hash = scramHash(kind);
  const salt = randomBytes(saltBytes);
  const salted = pbkdf2Sync(text.normalize('NFKC'), salt, iterations, scramKeyBytes(hash), hash);
  const storedKey = createHash(hash)
    .update(hmac(hash, salted, 'Client Key'))
    .digest();
  const serverKey = hmac(hash, salted, 'Server Key');
  return `$${kind}$i=${iterations}$${[salt, storedKey, serverKey].map((each) => each.toString('base64')).join('$')}`;
}

function textOf(bytes: Uint8Array): string | null {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    if (error instanceof TypeError) return null;
    throw error;
  }
}

export function hmac(hash: ScramHash, key: Uint8Array, data: string | Uint8Array): Buffer {
  return createHmac(hash, key).update(data).digest();
}

const form = /^\$(scram-sha-256|scram-sha-512)\$i=(\d{1,7})\$([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+)$/;

/** The keys of `kind` among `verifiers`, or null. */
export function findScramKeys(kind: ScramKind, verifiers: readonly string[]): ScramKeys | null {
  for (const verifier of verifiers) {
    const found = form.exec(verifier);
    if (found?.[1] !== kind) continue;
    const iterations = Number(found[2]);
    const [salt, storedKey, serverKey] = found.slice(3).map((text) => Buffer.from(text, 'base64'));
    const length = scramKeyBytes(scramHash(kind));
    const isWhole = storedKey.length === length && serverKey.length === length && salt.length >= 8;
    if (isWhole && iterations >= iterationsMin && iterations <= iterationsMax) {
      return { iterations, salt, storedKey, serverKey };
    }
  }
  return null;
}

/** The kind of a verifier for people: its first word. */
export function verifierKind(verifier: string): string {
  return verifier.split('$', 2)[1] ?? '';
}
