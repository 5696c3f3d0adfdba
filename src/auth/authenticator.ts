/**
 * Finds out who a client is: asks the mechanisms in order, counts failures, and looks at what the account says. Main
 * thread; connection workers and the administration API come here.
 *
 * Nothing that a client sends makes it throw. When accounts cannot be read, nobody is let in who has to be looked up.
 */
import {
  type Account,
  defaultTenant,
  type Identity,
  type LoginRequest,
  type RefusalReason,
} from '../core/ports/access.ts';
import type { Logger } from '../observability/log.ts';
import { isInRanges } from './addresses.ts';
import type { FailureLimiter } from './failure-limiter.ts';
import { type Mechanism, type MechanismRun, type MechanismStep, PasswordQueueFull } from './mechanism.ts';

export type AuthenticatorStep =
  | { readonly type: 'continue'; readonly data: Uint8Array }
  | {
      readonly type: 'accepted';
      readonly identity: Identity;
      readonly account: Account | null;
      readonly data: Uint8Array | null;
    }
  | { readonly type: 'refused'; readonly reason: RefusalReason; readonly message: string };

export interface AuthenticatorOptions {
  /** In the order in which they are asked. */
  readonly mechanisms: readonly Mechanism[];
  readonly limiter: FailureLimiter;
  readonly log: Logger;
  /** Milliseconds; any steady clock. */
  now(): number;
}

export interface Exchange {
  answer(data: Uint8Array): void;
  cancel(): void;
}

/** Messages of one exchange; SCRAM needs two. */
const answersMax = 4;
const messageBytesMax = 4_096;

export class Authenticator {
  readonly #options: AuthenticatorOptions;

  constructor(options: AuthenticatorOptions) {
    this.#options = options;
  }

  /** Names of all methods with an exchange, in the order of the mechanisms. */
  get methods(): readonly string[] {
    return this.#options.mechanisms.flatMap(({ methods }) => methods);
  }

  /** `step` is called for each thing that the server says, never inside of `begin`, and never after `cancel`. */
  begin(request: LoginRequest, step: (step: AuthenticatorStep) => void): Exchange {
    const exchange = new RunningExchange(this.#options, request, step);
    void exchange.start();
    return exchange;
  }
}

class RunningExchange implements Exchange {
  readonly #options: AuthenticatorOptions;
  readonly #request: LoginRequest;
  readonly #step: (step: AuthenticatorStep) => void;
  #mechanism: Mechanism | null = null;
  #run: MechanismRun | null = null;
  #answers = 0;
  /** A step is being made, or none will be made any more. */
  #isBusy = true;
  #isOver = false;

  constructor(options: AuthenticatorOptions, request: LoginRequest, step: (step: AuthenticatorStep) => void) {
    this.#options = options;
    this.#request = request;
    this.#step = step;
  }

  async start(): Promise<void> {
    const { address, data } = this.#request;
    if (!this.#options.limiter.mayTry(address, nameOf(this.#request), this.#options.now())) {
      // In a turn of its own, as every other answer.
      await Promise.resolve();
      this.#finish({ type: 'refused', reason: 'too-many-attempts', message: 'Too many failures from this address' });
      return;
    }
    await this.#take(() => this.#askInOrder(data ?? null));
  }

  answer(data: Uint8Array): void {
    if (this.#isOver) return;
    this.#answers++;
    const run = this.#run;
    if (this.#isBusy || run === null || this.#answers > answersMax) {
      this.#finish({ type: 'refused', reason: 'protocol-error', message: 'A message that nobody asked for' });
      return;
    }
    void this.#take(() => (isTooLong(data) ? Promise.resolve(tooLong) : run.step(data)));
  }

  cancel(): void {
    this.#isOver = true;
  }

  async #askInOrder(data: Uint8Array | null): Promise<MechanismStep> {
    if (data !== null && isTooLong(data)) return tooLong;
    const { mechanisms } = this.#options;
    for (const mechanism of mechanisms) {
      const run = mechanism.begin(this.#request);
      if (run === null) continue;
      const step = await run.step(data);
      if (step.type === 'pass') continue;
      this.#mechanism = mechanism;
      this.#run = run;
      return step;
    }
    const { method, user } = this.#request;
    if (method !== undefined && !mechanisms.some(({ methods }) => methods.includes(method))) {
      return { type: 'refused', reason: 'bad-method', message: 'The method is none of those that are offered' };
    }
    const reason = method === undefined && user === undefined ? 'not-authorized' : 'bad-credentials';
    return { type: 'refused', reason, message: 'No mechanism accepts the client' };
  }

  async #take(work: () => Promise<MechanismStep>): Promise<void> {
    this.#isBusy = true;
    let step: MechanismStep;
    try {
      step = await work();
    } catch (error) {
      step = this.#failureOf(error);
    }
    this.#isBusy = false;
    if (step.type === 'accepted') this.#finish(this.#admit(step));
    else if (step.type === 'refused') this.#refuse(step);
    // A mechanism that passes in the middle of its exchange has nobody behind it that knows the method.
    else if (step.type === 'pass')
      this.#refuse({ ...step, type: 'refused', reason: 'bad-credentials', message: 'No accounts' });
    else if (!this.#isOver) this.#step(step);
  }

  #failureOf(error: unknown): MechanismStep {
    if (error instanceof PasswordQueueFull) return { type: 'refused', reason: 'busy', message: error.message };
    this.#options.log.warn('Login cannot be checked', { error });
    return { type: 'refused', reason: 'unavailable', message: 'The login cannot be checked now' };
  }

  #refuse(step: Extract<MechanismStep, { type: 'refused' }>): void {
    const { limiter, now } = this.#options;
    const { address } = this.#request;
    const isFailure = step.reason === 'bad-credentials' || step.reason === 'protocol-error';
    if (isFailure) limiter.failed(address, nameOf(this.#request), now());
    this.#finish(step);
  }

  #admit({ user, account, data }: Extract<MechanismStep, { type: 'accepted' }>): AuthenticatorStep {
    const { tenant, clientId, address, certificate, needsAccount } = this.#request;
    if (account === null && needsAccount === true) {
      return {
        type: 'refused',
        reason: 'not-authorized',
        message: 'The tenant is not open to clients without an account',
      };
    }
    const refusal = account === null ? null : refusalOf(account, this.#request);
    if (refusal !== null) return refusal;
    const identity: Identity = {
      tenant,
      user,
      clientId,
      address,
      isSuperuser: account?.isSuperuser ?? false,
      groups: account?.groups ?? [],
      mechanism: this.#mechanism?.name ?? '',
      certificateName: certificate?.verified === true ? certificate.commonName : '',
      ...(needsAccount === true && { needsAccount }),
    };
    return { type: 'accepted', identity, account, data };
  }

  #finish(step: AuthenticatorStep): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#step(step);
  }
}

const tooLong: MechanismStep = { type: 'refused', reason: 'protocol-error', message: 'A message is too long' };

function isTooLong(data: Uint8Array): boolean {
  return data.length > messageBytesMax;
}

/** Failures of a name in one tenant say nothing of the same name in another; U+0000 is in no name. */
function nameOf({ tenant, user = '' }: LoginRequest): string {
  return tenant === defaultTenant ? user : `${tenant}\0${user}`;
}

/** What the account itself says of this client, although the proof was right; null when it may come in. */
function refusalOf(account: Account, { clientId, address, purpose }: LoginRequest): AuthenticatorStep | null {
  // Like a wrong password, so that nobody learns that the account is there.
  if (!account.isEnabled) return { type: 'refused', reason: 'bad-credentials', message: 'The account is switched off' };
  const isClient = purpose !== 'administration';
  if (isClient && account.clients.length > 0 && !account.clients.includes(clientId)) {
    return { type: 'refused', reason: 'not-authorized', message: 'The account is for other client ids' };
  }
  if (account.addresses.length > 0 && !isInRanges(address, account.addresses)) {
    return { type: 'refused', reason: 'not-authorized', message: 'The account is for other addresses' };
  }
  return null;
}
