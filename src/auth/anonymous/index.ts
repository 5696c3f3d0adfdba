/**
 * The mechanism `anonymous`: clients that prove nothing. Lives on the main thread; a connection worker decides the plain
 * case (no name, no password, no method) itself by `mayBeAnonymous`.
 *
 * With `loopback`, the default, only clients of this machine come in. A client that gives a name is nobody here: the name is
 * not believed, and it comes this far only while the tenant has no account.
 */
import type { LoginRequest } from '../../core/ports/access.ts';
import { mayBeAnonymous } from '../anonymous-clients.ts';
import { atOnce, type Mechanism, type MechanismFactory, type MechanismTools, refused } from '../mechanism.ts';

class AnonymousMechanism implements Mechanism {
  readonly name = 'anonymous';
  readonly methods = [];
  readonly #tools: MechanismTools;

  constructor(tools: MechanismTools) {
    this.#tools = tools;
  }

  begin(request: LoginRequest): ReturnType<Mechanism['begin']> {
    if (request.method !== undefined) return null;
    return atOnce(async () => {
      const { settings, accounts } = this.#tools;
      const isNamed = request.user !== undefined || request.password !== undefined;
      if (isNamed && (await accounts.hasAny(request.tenant))) {
        return refused('bad-credentials', 'No mechanism takes the name and the password that were given');
      }
      if (!mayBeAnonymous(settings.anonymous, request.isLocal)) {
        return refused(isNamed ? 'bad-credentials' : 'not-authorized', 'Anonymous clients are not allowed from there');
      }
      return { type: 'accepted', user: '', account: null, data: null };
    });
  }
}

export const anonymous: MechanismFactory = {
  name: 'anonymous',
  create: (tools) => new AnonymousMechanism(tools),
};
