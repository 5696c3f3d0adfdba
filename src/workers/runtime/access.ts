/**
 * Access control on one connection worker: block list and rules are here, accounts and passwords are asked of the main
 * thread. Lives on a connection worker; the worker runtime feeds it with the messages of the main thread.
 *
 * A client that gives nothing by which it could be known is decided here, without a message. Before the rules have arrived
 * nothing is allowed; the main thread sends them before the first connection.
 */
import { isLoopback } from '../../auth/addresses.ts';
import { isNameless, mayBeAnonymous } from '../../auth/anonymous-clients.ts';
import { BlockIndex, ClientPermissions, Policy } from '../../auth/registry.ts';
import type {
  AccessBlock,
  AccessChange,
  AccessControl,
  AuditEvent,
  AuditKind,
  ClientLogin,
  Identity,
  Login,
  LoginRequest,
  LoginStep,
  Permissions,
  Refusal,
  Verdict,
} from '../../core/ports/access.ts';
import type { Logger } from '../../observability/log.ts';
import type { ThreadMetrics } from '../../observability/metrics.ts';
import { auditKinds, auditMetric } from '../../observability/worker-metrics.ts';
import type {
  AccessToMain,
  AccessToWorker,
  AccountChange,
  PlainAccessChange,
  PlainLoginStep,
  WorkerAccessSettings,
} from '../access-messages.ts';

export interface WorkerAccessOptions {
  readonly settings: WorkerAccessSettings;
  readonly metrics: ThreadMetrics;
  readonly log: Logger;
  post(message: AccessToMain): void;
}

const blockedRefusal: Refusal = { reason: 'blocked', message: 'The client is on the block list' };
const goneRefusal: Refusal = { reason: 'not-authorized', message: 'The account is gone or switched off' };
const stays: Verdict = { type: 'stays' };

const messages: Readonly<Record<AuditKind, string>> = {
  'login-refused': 'Login was refused',
  'publish-denied': 'Publication was denied',
  'subscribe-denied': 'Subscription was denied',
  'subscription-revoked': 'Subscription was revoked',
};

export class WorkerAccess implements AccessControl {
  readonly deniedPublish: AccessControl['deniedPublish'];
  readonly revokedSubscription: AccessControl['revokedSubscription'];
  methods: readonly string[] = [];
  readonly #settings: WorkerAccessSettings;
  readonly #post: (message: AccessToMain) => void;
  readonly #log: Logger;
  readonly #metrics: ThreadMetrics;
  readonly #slots: ReadonlyMap<AuditKind, number>;
  readonly #policy: Policy;
  readonly #blocks = new BlockIndex();
  readonly #logins = new Map<number, RunningLogin>();
  readonly #handlers: ((change: AccessChange) => void)[] = [];
  #nextId = 1;

  constructor({ settings, metrics, log, post }: WorkerAccessOptions) {
    this.#settings = settings;
    this.#post = post;
    this.#log = log;
    this.#metrics = metrics;
    this.#slots = new Map(auditKinds.map((kind) => [kind, metrics.slot(auditMetric, { kind })]));
    this.#policy = new Policy(settings.isDefaultAllow);
    this.deniedPublish = settings.deniedPublish;
    this.revokedSubscription = settings.revokedSubscription;
  }

  login(client: ClientLogin, step: (step: LoginStep) => void): Login {
    const request = requestOf(client);
    const { tenant, clientId, address, user = '' } = request;
    // Before anything is computed for it. The name is what the client says; the proven one is looked at later.
    if (this.#blocks.find({ tenant, clientId, address, user }, Date.now()) !== null) {
      return this.#answerAtOnce(request, blockedRefusal, step);
    }
    if (isNameless(request)) return this.#answerAtOnce(request, this.#refusalOfNameless(request), step);
    const login = new RunningLogin(this.#nextId++, request, step, this.#post, (id) => this.#logins.delete(id));
    this.#logins.set(login.id, login);
    this.#post({ type: 'login', id: login.id, request });
    return login;
  }

  permissionsOf(identity: Identity): Permissions {
    return new ClientPermissions(this.#policy, identity);
  }

  onChange(handler: (change: AccessChange) => void): void {
    this.#handlers.push(handler);
  }

  audit(event: AuditEvent): void {
    this.#metrics.increment(this.#slots.get(event.kind) as number);
    const { tenant, user, clientId, address } = event.identity;
    this.#log.info(messages[event.kind], { tenant, user, clientId, address, subject: event.subject });
  }

  handle(message: AccessToWorker): void {
    if (message.type === 'access-change') this.#apply(message.change);
    else this.#step(message.id, message.step);
  }

  #refusalOfNameless({ isLocal, needsAccount }: LoginRequest): Refusal | null {
    if (needsAccount === true)
      return { reason: 'not-authorized', message: 'The tenant is not open to anonymous clients' };
    const { mechanisms, anonymous } = this.#settings;
    if (mechanisms.includes('anonymous') && mayBeAnonymous(anonymous, isLocal)) return null;
    return { reason: 'not-authorized', message: 'Anonymous clients are not allowed from there' };
  }

  #answerAtOnce(request: LoginRequest, refusal: Refusal | null, step: (step: LoginStep) => void): Login {
    const { tenant, clientId, address } = request;
    const known = { isSuperuser: false, groups: [], mechanism: 'anonymous', certificateName: '' };
    const identity: Identity = { tenant, clientId, address, user: '', ...known };
    step(refusal === null ? this.#admit(identity, request, null) : this.#refuse(request, refusal));
    return { answer: () => undefined, cancel: () => undefined };
  }

  #step(id: number, plain: PlainLoginStep): void {
    const login = this.#logins.get(id);
    if (login === undefined) return; // Cancelled meanwhile.
    if (plain.type === 'continue') {
      login.step(plain);
      return;
    }
    this.#logins.delete(id);
    login.step(
      plain.type === 'accepted'
        ? this.#admit(plain.identity, login.request, plain.data)
        : this.#refuse(login.request, plain),
    );
  }

  /** Who it is is settled; whether it may come in is not. */
  #admit(proven: Identity, { isLocal }: LoginRequest, data: Uint8Array | null): LoginStep {
    const identity: Identity = isLocal ? { ...proven, isLocal } : proven;
    const refusal = this.#refusalOf(identity);
    if (refusal !== null) return this.#refuse(identity, refusal);
    const permissions = new ClientPermissions(this.#policy, identity);
    const decision = permissions.decideConnect();
    if (!decision.isAllowed) {
      return this.#refuse(identity, { reason: 'not-authorized', message: `May not connect: ${decision.why}` });
    }
    if (this.#settings.countsConnects) this.#post({ type: 'client-connected', identity });
    return { type: 'accepted', permissions, data };
  }

  #refusalOf(identity: Identity): Refusal | null {
    return this.#blocks.find(identity, Date.now()) === null ? null : blockedRefusal;
  }

  #refuse(who: Pick<LoginRequest, 'tenant' | 'user' | 'clientId' | 'address'>, refusal: Refusal): LoginStep {
    const { tenant, user = '', clientId, address } = who;
    this.audit({ kind: 'login-refused', identity: { tenant, user, clientId, address }, subject: refusal.message });
    return { type: 'refused', reason: refusal.reason, message: refusal.message };
  }

  #apply({ rules, blocksSet, blocksRemoved, accounts, methods }: PlainAccessChange): void {
    if (methods !== null) this.methods = methods;
    if (rules !== null) this.#policy.replace(rules.list, rules.problem);
    for (const key of blocksRemoved) this.#blocks.delete(key);
    for (const block of blocksSet) this.#blocks.set(block);
    if (rules === null && blocksSet.length === 0 && accounts.length === 0) return;
    const judge = new Judge(this.#policy, blocksSet, accounts, this.#settings.certificateNeedsAccount, rules !== null);
    for (const handler of this.#handlers) handler(judge);
  }
}

/**
 * Without an address it is a Unix socket, which only this machine has. Whoever comes through a proxy is not taken for local: the
 * header may not tell the address, and then it is that of the proxy, which often runs on this machine.
 */
function requestOf({ connection, ...client }: ClientLogin): LoginRequest {
  const { remoteAddress: address, isProxied = false, tls } = connection;
  const isLocal = !isProxied && (address === '' || isLoopback(address));
  return { ...client, address, isLocal, certificate: tls ?? null };
}

/** A login that the main thread works on. */
class RunningLogin implements Login {
  readonly id: number;
  readonly request: LoginRequest;
  readonly step: (step: LoginStep) => void;
  readonly #post: (message: AccessToMain) => void;
  readonly #forget: (id: number) => boolean;

  constructor(
    id: number,
    request: LoginRequest,
    step: (step: LoginStep) => void,
    post: (message: AccessToMain) => void,
    forget: (id: number) => boolean,
  ) {
    this.id = id;
    this.request = request;
    this.step = step;
    this.#post = post;
    this.#forget = forget;
  }

  answer(data: Uint8Array): void {
    this.#post({ type: 'login-answer', id: this.id, data });
  }

  cancel(): void {
    if (this.#forget(this.id)) this.#post({ type: 'login-cancel', id: this.id });
  }
}

/** Judges identities by one change: only what changed is looked at, however many clients there are. */
class Judge implements AccessChange {
  readonly areRulesNew: boolean;
  readonly areIdentitiesTouched: boolean;
  readonly #policy: Policy;
  readonly #blocks = new BlockIndex();
  readonly #accounts: ReadonlyMap<string, AccountChange>;
  readonly #certificateNeedsAccount: boolean;

  constructor(
    policy: Policy,
    blocks: readonly AccessBlock[],
    accounts: readonly AccountChange[],
    certificateNeedsAccount: boolean,
    areRulesNew: boolean,
  ) {
    this.areRulesNew = areRulesNew;
    this.areIdentitiesTouched = blocks.length > 0 || accounts.length > 0;
    this.#policy = policy;
    this.#certificateNeedsAccount = certificateNeedsAccount;
    this.#accounts = new Map(accounts.map((each) => [accountKey(each), each]));
    for (const block of blocks) this.#blocks.set(block);
  }

  judge(permissions: Permissions): Verdict {
    const { identity } = permissions;
    if (this.#blocks.find(identity, Date.now()) !== null) return { type: 'ends', ...blockedRefusal };
    const change = identity.user === '' ? undefined : this.#accounts.get(accountKey(identity));
    if (change === undefined) return stays;
    const { state } = change;
    if (state === null) {
      // Without an account a certificate is still as good as it was, but not more.
      const needsAccount = this.#certificateNeedsAccount || identity.needsAccount === true;
      if (identity.mechanism === 'certificate' && !needsAccount) {
        return this.#changed(identity, false, []);
      }
    } else if (state.isEnabled) {
      return this.#changed(identity, state.isSuperuser, state.groups);
    }
    if (permissions instanceof ClientPermissions) permissions.revoke();
    return { type: 'ends', ...goneRefusal };
  }

  #changed(identity: Identity, isSuperuser: boolean, groups: readonly string[]): Verdict {
    const isSame = identity.isSuperuser === isSuperuser && identity.groups.join('\n') === groups.join('\n');
    if (isSame) return stays;
    return { type: 'changed', permissions: new ClientPermissions(this.#policy, { ...identity, isSuperuser, groups }) };
  }
}

function accountKey({ tenant, user }: Pick<AccountChange, 'tenant' | 'user'>): string {
  return JSON.stringify([tenant, user]);
}
