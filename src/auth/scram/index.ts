/**
 * The mechanism `scram`: SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802, RFC 7677), without channel binding. Lives on the main
 * thread; a step costs three HMACs.
 *
 * A name that nobody has, or that has no keys of this kind, is answered with a salt that stays the same for it, and fails
 * only at the proof, as a wrong password does.
 */
import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Account, LoginRequest } from '../../core/ports/access.ts';
import { userNameError } from '../account-names.ts';
import {
  type Mechanism,
  type MechanismFactory,
  type MechanismRun,
  type MechanismTools,
  refused,
} from '../mechanism.ts';
import {
  findScramKeys,
  hmac,
  type ScramKeys,
  type ScramKind,
  scramHash,
  scramIterationsDefault,
  scramKeyBytes,
} from '../scram-keys.ts';
import { type ClientFirst, parseClientFinal, parseClientFirst } from './messages.ts';

const kinds = new Map<string, ScramKind>([
  ['SCRAM-SHA-256', 'scram-sha-256'],
  ['SCRAM-SHA-512', 'scram-sha-512'],
]);
const nonceBytes = 24;

class ScramMechanism implements Mechanism {
  readonly name = 'scram';
  readonly methods = [...kinds.keys()];
  readonly #tools: MechanismTools;
  /** Of this process: makes the salts of names that nobody has. */
  readonly #secret = randomBytes(32);

  constructor(tools: MechanismTools) {
    this.#tools = tools;
  }

  begin({ tenant, method }: LoginRequest): MechanismRun | null {
    const kind = kinds.get(method ?? '');
    if (kind === undefined) return null;
    let exchange: Exchange | null = null;
    return {
      step: async (data) => {
        if (exchange !== null) return exchange.finish(data ?? new Uint8Array(0));
        if (data === null) return { type: 'continue', data: new Uint8Array(0) };
        const first = parseClientFirst(data);
        if (typeof first === 'string') return refused('protocol-error', `SCRAM: ${first}`);
        const { authorization, user } = first;
        if (authorization !== '' && authorization !== user) {
          return refused('not-authorized', 'A client cannot act for another user');
        }
        const account = userNameError(user) === undefined ? await this.#tools.accounts.find(tenant, user) : null;
        exchange = new Exchange(kind, first, account, findScramKeys(kind, account?.verifiers ?? []), this.#secret);
        return { type: 'continue', data: Buffer.from(exchange.serverFirst) };
      },
    };
  }
}

class Exchange {
  readonly serverFirst: string;
  readonly #kind: ScramKind;
  readonly #first: ClientFirst;
  readonly #account: Account | null;
  readonly #isKnown: boolean;
  readonly #keys: ScramKeys;
  readonly #nonce: string;

  constructor(kind: ScramKind, first: ClientFirst, account: Account | null, keys: ScramKeys | null, secret: Buffer) {
    this.#kind = kind;
    this.#first = first;
    this.#account = account;
    this.#isKnown = account !== null && keys !== null;
    this.#keys = keys ?? keysOfNobody(kind, first.user, secret);
    this.#nonce = first.nonce + randomBytes(nonceBytes).toString('base64');
    this.serverFirst = `r=${this.#nonce},s=${this.#keys.salt.toString('base64')},i=${this.#keys.iterations}`;
  }

  finish(data: Uint8Array): Awaited<ReturnType<MechanismRun['step']>> {
    const final = parseClientFinal(data);
    if (typeof final === 'string') return refused('protocol-error', `SCRAM: ${final}`);
    const { gs2Header, bare, user } = this.#first;
    if (final.channelBinding !== gs2Header)
      return refused('bad-credentials', 'SCRAM: the channel binding is another one');
    if (final.nonce !== this.#nonce) return refused('bad-credentials', 'SCRAM: the nonce is another one');
    const hash = scramHash(this.#kind);
    const { storedKey, serverKey } = this.#keys;
    const signed = `${bare},${this.serverFirst},${final.withoutProof}`;
    const isRight = this.#isProof(final.proof, hmac(hash, storedKey, signed));
    if (!isRight || !this.#isKnown) return refused('bad-credentials', 'The name or the password is wrong');
    const signature = hmac(hash, serverKey, signed).toString('base64');
    return { type: 'accepted', user, account: this.#account, data: Buffer.from(`v=${signature}`) };
  }

  /** The proof is the client's key, covered with its signature; the hash of the key is what the server keeps. */
  #isProof(proof: Buffer, signature: Buffer): boolean {
    if (proof.length !== signature.length) return false;
    const clientKey = Buffer.from(proof.map((byte, index) => byte ^ signature[index]));
    return timingSafeEqual(createHash(scramHash(this.#kind)).update(clientKey).digest(), this.#keys.storedKey);
  }
}

function keysOfNobody(kind: ScramKind, user: string, secret: Buffer): ScramKeys {
  const length = scramKeyBytes(scramHash(kind));
  const salt = createHmac('sha256', secret).update(`${kind}\u0000${user}`).digest().subarray(0, 16);
  return {
    iterations: scramIterationsDefault,
    salt,
    storedKey: randomBytes(length),
    serverKey: randomBytes(length),
  };
}

export const scram: MechanismFactory = {
  name: 'scram',
  create: (tools) => new ScramMechanism(tools),
};
