/**
 * Access control of one node on the main thread: takes the logins of the connection workers, tells them what is in force,
 * and blocks clients that flap. Owned by the broker.
 */
import { Authenticator, type AuthenticatorStep, type Exchange } from '../../auth/authenticator.ts';
import { FailureLimiter } from '../../auth/failure-limiter.ts';
import { FlappingDetector } from '../../auth/flapping.ts';
import { type AccountSource, type MechanismTools, PasswordQueueFull } from '../../auth/mechanism.ts';
import { PasswordVerifier } from '../../auth/password-verifier.ts';
import { mechanisms, Policy } from '../../auth/registry.ts';
import type { NodeSettings } from '../../config/schema.ts';
import type { Identity } from '../../core/ports/access.ts';
import type { AccessAdministration } from '../../core/ports/access-administration.ts';
import type { PlacementNode } from '../../core/ports/placement.ts';
import type { Logger } from '../../observability/log.ts';
import { setRecord } from '../../raft/placement/record-operations.ts';
import { accessBlockKind } from '../../raft/placement/records/access-block.ts';
import { userKind } from '../../raft/placement/records/user.ts';
import { toError } from '../../std/errors.ts';
import type {
  AccessToMain,
  AccessToWorker,
  AccountChange,
  PlainAccessChange,
  PlainLoginStep,
  WorkerAccessSettings,
} from '../../workers/access-messages.ts';
import type { TaskPool } from '../../workers/task-pool.ts';
import { AccessState } from './access-state.ts';
import { AccessStore, toAccount } from './access-store.ts';
import { Administration } from './administration.ts';
import { RuleFile } from './rule-file.ts';

export interface AccessServiceOptions {
  readonly settings: NodeSettings['access'];
  /** Called after the placement centre has started. */
  placement(): PlacementNode;
  readonly tasks: TaskPool;
  readonly log: Logger;
  liveWorkers(): readonly number[];
  /** Sends to a worker that serves. */
  post(worker: number, message: AccessToWorker): void;
}

/** Longer than any login takes. */
const changeKeptMs = 60_000;
const changesKeptMax = 100_000;

export class AccessService {
  readonly workerSettings: WorkerAccessSettings;
  readonly authenticator: Authenticator;
  /** Of administrators: by name and password whatever clients may use, with the same limits. */
  readonly administrators: Authenticator;
  readonly administration: AccessAdministration;
  readonly #options: AccessServiceOptions;
  readonly #store: AccessStore;
  readonly #state: AccessState;
  readonly #policy: Policy;
  readonly #ruleFile: RuleFile | null;
  readonly #flapping: FlappingDetector;
  /** By worker and the worker's number of the login. */
  readonly #exchanges = new Map<number, Map<number, Exchange>>();
  /** Accounts that changed lately: a login that began before may have read them before. The oldest first. */
  readonly #changes = new Map<string, { readonly change: AccountChange; readonly atMs: number }>();

  constructor(options: AccessServiceOptions) {
    const { settings, log, tasks } = options;
    this.#options = options;
    this.#store = new AccessStore(() => options.placement());
    this.#policy = new Policy(settings.unmatched === 'allow');
    this.#flapping = new FlappingDetector(settings.flapping);
    this.#state = new AccessState({
      store: this.#store,
      hasRuleFile: settings.rulesFile !== undefined,
      log,
      changed: (change) => this.#changed(change),
    });
    this.#ruleFile =
      settings.rulesFile === undefined
        ? null
        : new RuleFile({
            path: settings.rulesFile,
            log,
            changed: (rules, problem) => this.#state.setFileRules(rules, problem),
          });
    this.workerSettings = workerSettingsOf(settings);
    const { clients, administrators } = createAuthenticators(options, this.#store);
    this.authenticator = clients;
    this.administrators = administrators;
    this.administration = new Administration({
      store: this.#store,
      state: this.#state,
      policy: this.#policy,
      tasks,
      rulesFile: settings.rulesFile ?? null,
      unmatched: settings.unmatched,
      fileProblem: () => this.#ruleFile?.problem ?? null,
    });
  }

  /** Resolves when the rules are known, or were tried to be read: until they are, nothing is allowed. */
  async start(): Promise<void> {
    await this.#ruleFile?.start();
    await this.#state.start();
  }

  stop(): void {
    this.#ruleFile?.stop();
    this.#state.stop();
    for (const worker of [...this.#exchanges.keys()]) this.workerGone(worker);
  }

  /** Reads the rule file again. */
  async reload(): Promise<void> {
    await this.#ruleFile?.reload();
  }

  /** A worker serves: it is told everything before its first connection. */
  workerReady(worker: number): void {
    const { methods } = this.authenticator;
    const change = { ...this.#state.whole(), blocksRemoved: [], methods, accounts: [] };
    this.#options.post(worker, { type: 'access-change', change });
  }

  workerGone(worker: number): void {
    for (const exchange of this.#exchanges.get(worker)?.values() ?? []) exchange.cancel();
    this.#exchanges.delete(worker);
  }

  handle(worker: number, message: AccessToMain): void {
    switch (message.type) {
      case 'login':
        this.#login(worker, message);
        break;
      case 'login-answer':
        this.#exchanges.get(worker)?.get(message.id)?.answer(message.data);
        break;
      case 'login-cancel':
        this.#exchanges.get(worker)?.get(message.id)?.cancel();
        this.#exchanges.get(worker)?.delete(message.id);
        break;
      case 'client-connected':
        this.#connected(message.identity);
    }
  }

  #login(worker: number, { id, request }: Extract<AccessToMain, { type: 'login' }>): void {
    let exchanges = this.#exchanges.get(worker);
    if (exchanges === undefined) {
      exchanges = new Map();
      this.#exchanges.set(worker, exchanges);
    }
    const exchange = this.authenticator.begin(request, (step) => {
      if (step.type !== 'continue') exchanges.delete(id);
      this.#options.post(worker, { type: 'login-step', id, step: this.#plainOf(step) });
    });
    exchanges.set(id, exchange);
  }

  #plainOf(step: AuthenticatorStep): PlainLoginStep {
    if (step.type !== 'accepted') return step;
    const { identity, data } = step;
    const change = identity.user === '' ? undefined : this.#changes.get(changeKey(identity))?.change;
    if (change === undefined) return { type: 'accepted', identity, data };
    const { state } = change;
    const needsAccount = this.#options.settings.certificateNeedsAccount || identity.needsAccount === true;
    if (state === null && identity.mechanism === 'certificate' && !needsAccount) {
      return { type: 'accepted', identity: { ...identity, isSuperuser: false, groups: [] }, data };
    }
    if (state === null || !state.isEnabled) {
      return { type: 'refused', reason: 'bad-credentials', message: 'The account is gone or switched off' };
    }
    const { isSuperuser, groups } = state;
    return { type: 'accepted', identity: { ...identity, isSuperuser, groups }, data };
  }

  #changed(change: PlainAccessChange): void {
    if (change.rules !== null) this.#policy.replace(change.rules.list, change.rules.problem);
    for (const account of change.accounts) this.#keepChange(account);
    for (const worker of this.#options.liveWorkers()) this.#options.post(worker, { type: 'access-change', change });
  }

  #keepChange(change: AccountChange): void {
    const nowMs = performance.now();
    const key = changeKey(change);
    this.#changes.delete(key);
    this.#changes.set(key, { change, atMs: nowMs });
    for (const [oldest, { atMs }] of this.#changes) {
      if (nowMs - atMs < changeKeptMs && this.#changes.size <= changesKeptMax) break;
      this.#changes.delete(oldest);
    }
  }

  #connected({ tenant, clientId, address }: Identity): void {
    const nowMs = Date.now();
    if (!this.#flapping.connected(tenant, clientId, nowMs)) return;
    const { blockS, connectsMax, windowS } = this.#options.settings.flapping;
    const { log } = this.#options;
    const reason = `connected more than ${connectsMax} times within ${windowS} s`;
    log.warn('Client is blocked: it connects again and again', { tenant, clientId, address, blockS });
    const untilMs = nowMs + blockS * 1_000;
    const block = { tenant, kind: 'client', value: clientId, reason, createdAtMs: nowMs, untilMs } as const;
    this.#store.write([setRecord(accessBlockKind, block)]).catch((error: unknown) => {
      log.warn('Client cannot be blocked', { clientId, reason: toError(error).message });
    });
  }
}

function workerSettingsOf(settings: NodeSettings['access']): WorkerAccessSettings {
  const { anonymous, certificateNeedsAccount, deniedPublish, revokedSubscription, unmatched, flapping } = settings;
  return {
    anonymous,
    mechanisms: settings.mechanisms,
    isDefaultAllow: unmatched === 'allow',
    certificateNeedsAccount,
    deniedPublish,
    revokedSubscription,
    countsConnects: flapping.connectsMax > 0,
  };
}

function createAuthenticators(
  { settings, tasks, log }: AccessServiceOptions,
  store: AccessStore,
): { readonly clients: Authenticator; readonly administrators: Authenticator } {
  const now = (): number => performance.now();
  const accounts: AccountSource = {
    find: async (tenant, user) => {
      const found = await store.find(userKind, 'serializable', tenant, user);
      return found === null ? null : toAccount(found.record);
    },
    hasAny: (tenant) => store.hasUsers(tenant),
  };
  const passwords = new PasswordVerifier({
    work: (password, verifiers) => checkInPool(tasks, password, verifiers),
    waitingMax: settings.loginsWaitingMax,
    rememberMs: settings.passwordCacheS * 1_000,
    now,
  });
  const tools: MechanismTools = { accounts, passwords, settings };
  const byName = new Map(mechanisms.map((each) => [each.name, each]));
  const limiter = new FailureLimiter(settings.failuresMax, settings.failureWindowS * 1_000);
  const of = (names: readonly string[]): Authenticator => {
    const own = [...new Set(names)].flatMap((name) => byName.get(name)?.create(tools) ?? []);
    return new Authenticator({ mechanisms: own, limiter, log, now });
  };
  return { clients: of(settings.mechanisms), administrators: of(['password']) };
}

async function checkInPool(tasks: TaskPool, password: Uint8Array, verifiers: readonly string[]): Promise<boolean> {
  try {
    return await tasks.run('checkPassword', { password, verifiers });
  } catch (error) {
    // The pool is shared: others may have filled it.
    if (/queue is at limit/i.test(toError(error).message)) throw new PasswordQueueFull('Too many logins wait');
    throw error;
  }
}

function changeKey({ tenant, user }: Pick<AccountChange, 'tenant' | 'user'>): string {
  return JSON.stringify([tenant, user]);
}
