/**
 * What administrators do with users, rules and blocks (`core/ports/access-administration.ts`), on the placement centre. Main
 * thread; passwords are hashed in the task pool and forgotten.
 */
import { passwordError, userNameError } from '../../auth/account-names.ts';
import { isLoopback, parseIp, parseRange } from '../../auth/addresses.ts';
import { BlockIndex, ClientPermissions, type Decision, type Policy, ruleError } from '../../auth/registry.ts';
import { verifierKind } from '../../auth/scram-keys.ts';
import type { AccessBlock, AccessRule, Identity } from '../../core/ports/access.ts';
import {
  type AccessAdministration,
  type AccessAnswer,
  AccessError,
  type AccessQuestion,
  type AccessStatus,
  type BlockView,
  type NewPassword,
  type RuleView,
  type UserFields,
  type UserPage,
  type UserView,
} from '../../core/ports/access-administration.ts';
import { filterError, topicError } from '../../core/routing/topic.ts';
import { RecordInvalidError } from '../../raft/placement/errors.ts';
import { deleteRecords, recordUnchanged, setRecord } from '../../raft/placement/record-operations.ts';
import { accessBlockKind } from '../../raft/placement/records/access-block.ts';
import { accessRuleKind } from '../../raft/placement/records/access-rule.ts';
import { userKind } from '../../raft/placement/records/user.ts';
import type { TaskPool } from '../../workers/task-pool.ts';
import type { AccessState } from './access-state.ts';
import { toRule } from './access-state.ts';
import {
  type AccessStore,
  type BlockRecord,
  blocksMax,
  rulesMax,
  type Stored,
  type UserRecord,
} from './access-store.ts';

export interface AdministrationOptions {
  readonly store: AccessStore;
  readonly state: AccessState;
  /** Of this node. */
  readonly policy: Policy;
  readonly tasks: TaskPool;
  readonly rulesFile: string | null;
  readonly unmatched: 'allow' | 'deny';
  /** Why the newest version of the rule file is not in force. */
  fileProblem(): string | null;
}

export class Administration implements AccessAdministration {
  readonly #options: AdministrationOptions;

  constructor(options: AdministrationOptions) {
    this.#options = options;
  }

  async users(tenant: string, after: string, limit: number): Promise<UserPage> {
    const { users, hasMore } = await orInvalid(() => this.#options.store.users(tenant, after, limit));
    return { users: users.map(toView), hasMore };
  }

  async user(tenant: string, user: string): Promise<UserView> {
    return toView((await this.#find(tenant, user)).record);
  }

  async createUser(tenant: string, user: string, fields: UserFields, password: NewPassword | null): Promise<UserView> {
    const problem = userNameError(user) ?? addressProblem(fields.addresses ?? []);
    if (problem !== undefined) throw invalid('make the user', user, problem);
    const nowMs = Date.now();
    const flags = { isSuperuser: false, isAdministrator: false, isEnabled: true };
    const lists = { groups: [], clients: [], addresses: [], description: '' };
    const record: UserRecord = {
      ...flags,
      ...lists,
      ...fields,
      tenant,
      user,
      verifiers: password === null ? [] : await this.#hash(user, password),
      createdAtMs: nowMs,
      changedAtMs: nowMs,
    };
    if (!(await this.#put(record, 0))) {
      throw new AccessError('ACCESS_USER_EXISTS', `Cannot make the user "${user}": there is one of this name`);
    }
    return toView(record);
  }

  async changeUser(tenant: string, user: string, fields: UserFields): Promise<UserView> {
    const problem = addressProblem(fields.addresses ?? []);
    if (problem !== undefined) throw invalid('change the user', user, problem);
    return await this.#change(tenant, user, () => fields);
  }

  async setPassword(tenant: string, user: string, password: NewPassword): Promise<UserView> {
    await this.#find(tenant, user);
    const verifiers = await this.#hash(user, password);
    return await this.#change(tenant, user, () => ({ verifiers }));
  }

  async deleteUser(tenant: string, user: string): Promise<void> {
    const { modRevision } = await this.#find(tenant, user);
    const compares = [recordUnchanged(userKind, modRevision, tenant, user)];
    if (!(await this.#options.store.write([deleteRecords(userKind, tenant, user)], compares))) throw changed(user);
  }

  async rules(tenant: string): Promise<readonly RuleView[]> {
    const { state, store } = this.#options;
    const file = state.fileRules
      .filter((rule) => rule.tenant === tenant)
      .map((rule, order): RuleView => ({ ...rule, source: 'file', order, description: '' }));
    const found = await orInvalid(() =>
      store.list(accessRuleKind, { parts: [tenant], consistency: 'linearizable', max: rulesMax }),
    );
    const cluster = found.records.map(
      ({ record }): RuleView => ({
        ...toRule(record),
        source: 'cluster',
        order: record.order,
        description: record.description,
      }),
    );
    return [...file, ...cluster.sort((one, other) => one.order - other.order || (one.rule < other.rule ? -1 : 1))];
  }

  async addRule(rule: AccessRule, order: number, description: string): Promise<void> {
    const problem = nameProblem(rule.rule) ?? ruleError(rule);
    if (problem !== undefined) throw invalid('add the rule', rule.rule, problem);
    if (this.#options.state.rules().length >= rulesMax) {
      throw new AccessError('ACCESS_LIMIT', `Cannot add the rule "${rule.rule}": there are ${rulesMax} already`);
    }
    const record = { ...rule, order, description, changedAtMs: Date.now() };
    const done = await orInvalid(() => {
      const compares = [recordUnchanged(accessRuleKind, 0, rule.tenant, rule.rule)];
      return this.#options.store.write([setRecord(accessRuleKind, record)], compares);
    });
    if (!done) {
      throw new AccessError('ACCESS_RULE_EXISTS', `Cannot add the rule "${rule.rule}": there is one of this name`);
    }
  }

  async deleteRule(tenant: string, rule: string): Promise<void> {
    const { store } = this.#options;
    const found = await orInvalid(() => store.find(accessRuleKind, 'linearizable', tenant, rule));
    if (found === null) throw new AccessError('ACCESS_RULE_UNKNOWN', `Cannot find the rule "${rule}"`);
    const compares = [recordUnchanged(accessRuleKind, found.modRevision, tenant, rule)];
    if (!(await store.write([deleteRecords(accessRuleKind, tenant, rule)], compares))) throw changed(rule);
  }

  async blocks(tenant: string): Promise<readonly BlockView[]> {
    const options = { parts: [tenant], consistency: 'linearizable', max: blocksMax } as const;
    const nowMs = Date.now();
    const { records } = await orInvalid(() => this.#options.store.list(accessBlockKind, options));
    return records.map(({ record }) => record).filter(({ untilMs }) => untilMs === 0 || untilMs > nowMs);
  }

  async addBlock(block: AccessBlock): Promise<void> {
    const { kind, value } = block;
    if (value === '') throw invalid(`block the ${kind}`, value, 'it is empty');
    if (kind === 'address' && parseRange(value) === null) {
      throw invalid('block the address', value, 'expected an IP address or a range like 10.0.0.0/8');
    }
    if (this.#options.state.blocks().length >= blocksMax) {
      throw new AccessError('ACCESS_LIMIT', `Cannot block "${value}": there are ${blocksMax} blocks already`);
    }
    const record: BlockRecord = { ...block, createdAtMs: Date.now() };
    await orInvalid(() => this.#options.store.write([setRecord(accessBlockKind, record)]));
  }

  async deleteBlock(tenant: string, kind: AccessBlock['kind'], value: string): Promise<void> {
    const { store } = this.#options;
    const found = await orInvalid(() => store.find(accessBlockKind, 'linearizable', tenant, kind, value));
    if (found === null) throw new AccessError('ACCESS_BLOCK_UNKNOWN', `Cannot find a block of the ${kind} "${value}"`);
    await store.write([deleteRecords(accessBlockKind, tenant, kind, value)]);
  }

  /** Also for a user that does not exist: who comes by a certificate needs no account. */
  async check(question: AccessQuestion): Promise<AccessAnswer> {
    const { tenant, user, clientId, address, certificateName, action, topic, qos, isRetained } = question;
    if (address !== '' && parseIp(address) === null) throw invalid('check the address', address, 'it is no IP address');
    const { store, policy, state } = this.#options;
    const found = user === '' ? null : await orInvalid(() => store.find(userKind, 'linearizable', tenant, user));
    const { isSuperuser = false, groups = [], isEnabled = true } = found?.record ?? {};
    const who: Identity = {
      ...{ tenant, user, clientId, address, isSuperuser, groups, certificateName },
      mechanism: 'check',
      // As if no proxy stood before it.
      isLocal: isLoopback(address),
    };
    const block = blockOf(state, who);
    if (block !== null) return { isAllowed: false, why: `blocked by ${block.kind} "${block.value}"`, rule: null };
    if (!isEnabled) return { isAllowed: false, why: 'the user is switched off', rule: null };
    return answerOf(decide(new ClientPermissions(policy, who), action, topic, qos, isRetained));
  }

  status(): AccessStatus {
    const { state, rulesFile, unmatched, fileProblem } = this.#options;
    const ruleCount = state.fileRules.length + state.rules().length;
    const blockCount = state.blocks().length;
    return { ruleCount, blockCount, unmatched, rulesFile, problem: state.problem, fileProblem: fileProblem() };
  }

  async #find(tenant: string, user: string): Promise<Stored<UserRecord>> {
    const found = await orInvalid(() => this.#options.store.find(userKind, 'linearizable', tenant, user));
    if (found === null) throw new AccessError('ACCESS_USER_UNKNOWN', `Cannot find the user "${user}"`);
    return found;
  }

  async #change(tenant: string, user: string, fieldsOf: () => Partial<UserRecord>): Promise<UserView> {
    const { record, modRevision } = await this.#find(tenant, user);
    const next: UserRecord = { ...record, ...fieldsOf(), tenant, user, changedAtMs: Date.now() };
    if (!(await this.#put(next, modRevision))) throw changed(user);
    return toView(next);
  }

  #put(record: UserRecord, modRevision: number): Promise<boolean> {
    return orInvalid(() => {
      const compares = [recordUnchanged(userKind, modRevision, record.tenant, record.user)];
      return this.#options.store.write([setRecord(userKind, record)], compares);
    });
  }

  async #hash(user: string, { password, hash, scram }: NewPassword): Promise<readonly string[]> {
    const problem = passwordError(password);
    if (problem !== undefined) throw invalid('set the password of', user, problem);
    let verifiers: readonly string[] | null;
    try {
      verifiers = await this.#options.tasks.run('makeVerifiers', { password, hash, scram });
    } catch {
      // What the pool says of a full queue, or of too little memory, has nothing to do with the password.
      throw new AccessError('ACCESS_WORK_REFUSED', `Cannot hash the password of "${user}" now`);
    }
    if (verifiers === null) throw invalid('set the password of', user, 'for SCRAM a password is UTF-8 text');
    return verifiers;
  }
}

function blockOf(state: AccessState, who: Identity): AccessBlock | null {
  const index = new BlockIndex();
  for (const { record } of state.blocks()) index.set(record);
  return index.find(who, Date.now());
}

function decide(
  permissions: ClientPermissions,
  action: AccessQuestion['action'],
  topic: string,
  qos: number,
  isRetained: boolean,
): Decision {
  if (action === 'connect') return permissions.decideConnect();
  const problem = action === 'publish' ? topicError(topic) : filterError(topic);
  if (problem !== undefined) throw invalid(action === 'publish' ? 'publish to' : 'subscribe to', topic, problem);
  return action === 'publish'
    ? permissions.decidePublish(topic, qos, isRetained)
    : permissions.decideSubscribe(topic, qos);
}

function answerOf({ isAllowed, why, rule }: Decision): AccessAnswer {
  return { isAllowed, why, rule: rule?.rule ?? null };
}

function toView({ verifiers, ...record }: UserRecord): UserView {
  return { ...record, credentials: verifiers.map(verifierKind) };
}

function addressProblem(addresses: readonly string[]): string | undefined {
  const wrong = addresses.find((each) => parseRange(each) === null);
  return wrong === undefined ? undefined : `"${wrong}" is no IP address and no range like 10.0.0.0/8`;
}

function nameProblem(rule: string): string | undefined {
  const problem = userNameError(rule);
  if (problem !== undefined) return problem;
  return rule.startsWith('file:') ? 'names with "file:" in front are those of the rule file' : undefined;
}

function invalid(what: string, name: string, problem: string): AccessError {
  return new AccessError('ACCESS_INVALID', `Cannot ${what} "${name}": ${problem}`);
}

function changed(name: string): AccessError {
  return new AccessError('ACCESS_CHANGED_MEANWHILE', `Cannot change "${name}": somebody else did at the same moment`);
}

/** What a record may not be is the caller's mistake. */
async function orInvalid<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof RecordInvalidError) throw new AccessError('ACCESS_INVALID', `Cannot use it: ${error.message}`);
    throw error;
  }
}
