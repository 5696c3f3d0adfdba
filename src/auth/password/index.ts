/**
 * The mechanism `password`: a name and a password, given in the protocol's own fields or as SASL PLAIN (RFC 4616). Lives on
 * the main thread; hashes are computed in the task pool.
 *
 * Whoever gives a name is judged by it. A client whose name is unknown waits for a hash as one with a wrong password does.
 * As long as a tenant has no account at all, a name means nothing and the next mechanism is asked; with `anonymous` after
 * this one, a broker that nobody has set up takes local clients whatever name they give, as nobody.
 */
import { isUtf8 } from 'node:buffer';
import type { LoginRequest } from '../../core/ports/access.ts';
import { passwordBytesMax, userNameError } from '../account-names.ts';
import {
  atOnce,
  type Mechanism,
  type MechanismFactory,
  type MechanismStep,
  type MechanismTools,
  refused,
} from '../mechanism.ts';

const plain = 'PLAIN';

class PasswordMechanism implements Mechanism {
  readonly name = 'password';
  readonly methods = [plain];
  readonly #tools: MechanismTools;

  constructor(tools: MechanismTools) {
    this.#tools = tools;
  }

  begin(request: LoginRequest): ReturnType<Mechanism['begin']> {
    const { user, password, method } = request;
    if (method === plain) return { step: (data) => this.#stepPlain(request, data) };
    if (method !== undefined || (user === undefined && password === undefined)) return null;
    return atOnce(() => this.#check(request, user ?? '', password));
  }

  async #stepPlain(request: LoginRequest, data: Uint8Array | null): Promise<MechanismStep> {
    // A client without an initial response waits for an empty challenge.
    if (data === null) return { type: 'continue', data: new Uint8Array(0) };
    const message = parsePlain(data);
    if (message === null) return refused('protocol-error', 'The PLAIN message is not authzid NUL name NUL password');
    const { authorization, user, password } = message;
    if (authorization !== '' && authorization !== user) {
      return refused('not-authorized', 'A client cannot act for another user');
    }
    return await this.#check(request, user, password);
  }

  async #check(
    { tenant, needsAccount }: LoginRequest,
    user: string,
    password: Uint8Array | undefined,
  ): Promise<MechanismStep> {
    const { accounts, passwords } = this.#tools;
    // A name that nobody can have is not looked up, but takes as long.
    const account = userNameError(user) === undefined ? await accounts.find(tenant, user) : null;
    // Where nobody else can let the client in, a tenant without accounts takes as long as one with them.
    if (account === null && needsAccount !== true && !(await accounts.hasAny(tenant))) return { type: 'pass' };
    if (password === undefined) return refused('bad-credentials', 'A name without a password');
    if (password.length > passwordBytesMax) {
      return refused('bad-credentials', `A password has at most ${passwordBytesMax} bytes`);
    }
    const isRight = await passwords.verify(password, account?.verifiers ?? []);
    if (account === null || !isRight) return refused('bad-credentials', 'The name or the password is wrong');
    return { type: 'accepted', user, account, data: null };
  }
}

interface PlainMessage {
  readonly authorization: string;
  readonly user: string;
  readonly password: Uint8Array;
}

/** `message = [authzid] NUL authcid NUL passwd`, all of it UTF-8 without NUL in the parts. */
function parsePlain(data: Uint8Array): PlainMessage | null {
  const first = data.indexOf(0);
  const second = first === -1 ? -1 : data.indexOf(0, first + 1);
  if (second === -1 || data.includes(0, second + 1) || !isUtf8(data)) return null;
  const text = (from: number, to: number): string => Buffer.from(data.subarray(from, to)).toString('utf8');
  return { authorization: text(0, first), user: text(first + 1, second), password: data.subarray(second + 1) };
}

export const password: MechanismFactory = {
  name: 'password',
  create: (tools) => new PasswordMechanism(tools),
};
