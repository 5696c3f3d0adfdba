/**
 * Hashes of passwords as text that holds everything needed to check them (PHC string format), so that the parameters can
 * be raised without a word to the users. Synchronous and slow on purpose: task pool only.
 *
 * ```
 * $scrypt$ln=15,r=8,p=1$salt$hash                (RFC 7914; ln: logarithm of N)
 * $argon2id$v=19$m=65536,t=3,p=2$salt$hash       (RFC 9106; m in KiB)
 * ```
 *
 * salt and hash are base64 without padding.
 */
import { argon2Sync, randomBytes, scryptSync, timingSafeEqual } from 'node:crypto';

export const hashKinds = ['scrypt', 'argon2id'] as const;
export type HashKind = (typeof hashKinds)[number];

const saltBytes = 16;
const hashBytes = 32;
/** About 60 ms and 32 MiB. */
const scryptDefaults: ScryptCost = { ln: 15, r: 8, p: 1 };
/** About 100 ms and 64 MiB. */
const argonDefaults: ArgonCost = { m: 65_536, t: 3, p: 2 };

interface ScryptCost {
  readonly ln: number;
  readonly r: number;
  readonly p: number;
}

interface ArgonCost {
  readonly m: number;
  readonly t: number;
  readonly p: number;
}

/** Bounds of what is computed for a stored text: nobody's record may take the machine. */
const memoryBytesMax = 268_435_456;
const passesMax = 32;

export function hashPassword(kind: HashKind, password: Uint8Array): string {
  const salt = randomBytes(saltBytes);
  if (kind === 'scrypt') {
    const { ln, r, p } = scryptDefaults;
    return `$scrypt$ln=${ln},r=${r},p=${p}$${encode(salt)}$${encode(scrypt(password, salt, scryptDefaults, hashBytes))}`;
  }
  const { m, t, p } = argonDefaults;
  const hash = argon(password, salt, argonDefaults, hashBytes);
  return `$argon2id$v=19$m=${m},t=${t},p=${p}$${encode(salt)}$${encode(hash)}`;
}

/** Stands for the account that does not exist: to check against it takes as long, and nothing belongs to it. */
const nobody = `$scrypt$ln=15,r=8,p=1$${encode(randomBytes(saltBytes))}$${encode(randomBytes(hashBytes))}`;

/** Whether a text is one that `verifyPassword` can check. */
export function isPasswordHash(verifier: string): boolean {
  return parseScrypt(verifier) !== null || parseArgon(verifier) !== null;
}

/**
 * Whether `password` belongs to one of `verifiers`; those of another kind are passed over. Without any that can be checked
 * it computes a hash all the same and answers false. So it does for a password with a byte 0: HMAC, on which scrypt
 * stands, fills its key up with such bytes, so that one more of them at the end would make no difference.
 */
export function verifyPassword(password: Uint8Array, verifiers: readonly string[]): boolean {
  const own = password.includes(0) ? [] : verifiers.filter(isPasswordHash);
  if (own.length === 0) {
    matches(password, nobody);
    return false;
  }
  let isRight = false;
  for (const verifier of own) if (matches(password, verifier)) isRight = true;
  return isRight;
}

function matches(password: Uint8Array, verifier: string): boolean {
  const scryptText = parseScrypt(verifier);
  if (scryptText !== null) {
    const { cost, salt, hash } = scryptText;
    return timingSafeEqual(scrypt(password, salt, cost, hash.length), hash);
  }
  const argonText = parseArgon(verifier);
  if (argonText === null) return false;
  const { cost, salt, hash } = argonText;
  return timingSafeEqual(argon(password, salt, cost, hash.length), hash);
}

function scrypt(password: Uint8Array, salt: Uint8Array, { ln, r, p }: ScryptCost, length: number): Buffer {
  return scryptSync(password, salt, length, { N: 2 ** ln, r, p, maxmem: 2 * memoryBytesMax });
}

function argon(password: Uint8Array, nonce: Uint8Array, { m, t, p }: ArgonCost, length: number): Buffer {
  return argon2Sync('argon2id', { message: password, nonce, memory: m, passes: t, parallelism: p, tagLength: length });
}

interface Parsed<C> {
  readonly cost: C;
  readonly salt: Buffer;
  readonly hash: Buffer;
}

const scryptForm = /^\$scrypt\$ln=(\d{1,2}),r=(\d{1,3}),p=(\d{1,3})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$/;
const argonForm = /^\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,3}),p=(\d{1,3})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$/;

function parseScrypt(text: string): Parsed<ScryptCost> | null {
  const found = scryptForm.exec(text);
  if (found === null) return null;
  const [ln, r, p] = found.slice(1, 4).map(Number);
  const isBounded = ln >= 1 && ln <= 20 && r >= 1 && p >= 1 && p <= passesMax && 128 * 2 ** ln * r <= memoryBytesMax;
  return isBounded ? withBytes({ ln, r, p }, found[4], found[5]) : null;
}

function parseArgon(text: string): Parsed<ArgonCost> | null {
  const found = argonForm.exec(text);
  if (found === null) return null;
  const [m, t, p] = found.slice(1, 4).map(Number);
  const isBounded = p >= 1 && p <= passesMax && t >= 1 && t <= passesMax && m >= 8 * p && m * 1024 <= memoryBytesMax;
  return isBounded ? withBytes({ m, t, p }, found[4], found[5]) : null;
}

function withBytes<C>(cost: C, saltText: string, hashText: string): Parsed<C> | null {
  const salt = Buffer.from(saltText, 'base64');
  const hash = Buffer.from(hashText, 'base64');
  const isBounded = salt.length >= 8 && salt.length <= 64 && hash.length >= 16 && hash.length <= 64;
  return isBounded ? { cost, salt, hash } : null;
}

function encode(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64').replace(/=+$/, '');
}
