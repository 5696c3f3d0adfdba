/**
 * What is in force on this node: the rules of the cluster and of the file, and the block list, kept up to date by watching
 * the placement centre. Main thread; tells its owner of every change, which sends it to the workers.
 *
 * Until rules and blocks were read once, nothing is allowed.
 */
import { blockKey } from '../../auth/registry.ts';
import type { AccessBlock, AccessRule } from '../../core/ports/access.ts';
import type { WatchBatch, WatchEvent } from '../../core/ports/placement.ts';
import type { Logger } from '../../observability/log.ts';
import { prefixEnd } from '../../raft/placement/keys.ts';
import type { RecordKind } from '../../raft/placement/record-kind.ts';
import { deleteRecords, recordUnchanged } from '../../raft/placement/record-operations.ts';
import { accessBlockKind } from '../../raft/placement/records/access-block.ts';
import { accessRuleKind } from '../../raft/placement/records/access-rule.ts';
import { userKind } from '../../raft/placement/records/user.ts';
import { toError } from '../../std/errors.ts';
import type { AccountChange, PlainAccessChange } from '../../workers/access-messages.ts';
import {
  type AccessStore,
  type BlockRecord,
  blocksMax,
  type RuleRecord,
  rulesMax,
  type Stored,
  type UserRecord,
} from './access-store.ts';

/** How long until a watch that ended, or a read that failed, is tried again. */
const retryMs = 500;
/** How often blocks that ran out are removed. */
const sweepMs = 60_000;
const usersPage = 1_000;

export interface AccessStateOptions {
  readonly store: AccessStore;
  /** With a rule file nothing is allowed before it was read. */
  readonly hasRuleFile: boolean;
  readonly log: Logger;
  changed(change: PlainAccessChange): void;
}

const nothing: PlainAccessChange = { rules: null, blocksSet: [], blocksRemoved: [], methods: null, accounts: [] };
const notYet = 'the rules are not known yet';

export class AccessState {
  readonly #options: AccessStateOptions;
  readonly #rules = new Map<string, RuleRecord>();
  readonly #blocks = new Map<string, Stored<BlockRecord>>();
  #fileRules: readonly AccessRule[] = [];
  #fileProblem: string | null;
  #isLoaded = false;
  #isStopped = false;
  readonly #watches = new Map<string, { cancel(): void }>();
  readonly #timers = new Set<NodeJS.Timeout>();

  constructor(options: AccessStateOptions) {
    this.#options = options;
    this.#fileProblem = options.hasRuleFile ? notYet : null;
  }

  /** Reads everything once; what cannot be read now is tried again in the background. */
  async start(): Promise<void> {
    await this.#follow('rules and blocks', () => this.#load());
    await this.#follow('users', async () => this.#watch(userKind, 0, (batch) => this.#usersChanged(batch)));
    const sweep = setInterval(() => void this.#sweep(), sweepMs);
    this.#timers.add(sweep.unref());
  }

  stop(): void {
    this.#isStopped = true;
    for (const watch of this.#watches.values()) watch.cancel();
    for (const timer of this.#timers) clearTimeout(timer);
  }

  /** Everything, for a worker that begins to serve. */
  whole(): Pick<PlainAccessChange, 'rules' | 'blocksSet'> {
    return { rules: this.#rulesChange(), blocksSet: this.blocks().map(({ record }) => toBlock(record)) };
  }

  /** Why nothing is allowed, or null. */
  get problem(): string | null {
    return this.#isLoaded ? this.#fileProblem : notYet;
  }

  get fileRules(): readonly AccessRule[] {
    return this.#fileRules;
  }

  /** In the order in which they are asked. */
  rules(): readonly RuleRecord[] {
    return [...this.#rules.values()].sort((one, other) => one.order - other.order || (one.rule < other.rule ? -1 : 1));
  }

  blocks(): readonly Stored<BlockRecord>[] {
    return [...this.#blocks.values()];
  }

  setFileRules(rules: readonly AccessRule[], problem: string | null): void {
    this.#fileRules = rules;
    this.#fileProblem = problem;
    this.#tellRules();
  }

  /** Runs `work` until it succeeds. Resolves after the first try. */
  async #follow(what: string, work: () => Promise<void>): Promise<void> {
    if (this.#isStopped) return;
    try {
      await work();
    } catch (error) {
      if (this.#isStopped) return;
      this.#options.log.warn('Access data cannot be read yet', { what, reason: toError(error).message });
      this.#later(() => void this.#follow(what, work));
    }
  }

  #later(work: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      if (!this.#isStopped) work();
    }, retryMs);
    this.#timers.add(timer);
  }

  async #load(): Promise<void> {
    const { store, log } = this.#options;
    const rules = await store.list(accessRuleKind, { consistency: 'serializable', max: rulesMax });
    const blocks = await store.list(accessBlockKind, { consistency: 'serializable', max: blocksMax });
    const before = new Set(this.#blocks.keys());
    this.#rules.clear();
    this.#blocks.clear();
    for (const { record } of rules.records) this.#rules.set(ruleKey(record), record);
    for (const stored of blocks.records) this.#blocks.set(blockKey(stored.record), stored);
    this.#isLoaded = true;
    log.debug('Access data is read', { rules: this.#rules.size, blocks: this.#blocks.size });
    this.#options.changed({
      ...nothing,
      rules: this.#rulesChange(),
      blocksSet: blocks.records.map(({ record }) => toBlock(record)),
      blocksRemoved: [...before].filter((key) => !this.#blocks.has(key)),
    });
    this.#watch(accessRuleKind, rules.revision + 1, (batch) => this.#rulesChanged(batch));
    this.#watch(accessBlockKind, blocks.revision + 1, (batch) => this.#blocksChanged(batch));
  }

  /** `fromRevision` 0: what comes after now. */
  #watch<T>(kind: RecordKind<T>, fromRevision: number, take: (batch: WatchBatch) => void): void {
    if (this.#isStopped) return;
    const prefix = kind.key();
    this.#watches.get(kind.name)?.cancel();
    const request = {
      key: prefix,
      end: prefixEnd(prefix),
      fromRevision,
      withPrevious: false,
      scope: 'records',
    } as const;
    const watch = this.#options.store.placement.watch(request, {
      onBatch: (batch) => {
        if (batch.events.length > 0) this.#takeOrClose(kind.name, batch, take);
      },
      onEnd: ({ code }) => {
        if (this.#isStopped || code === 'STOPPED') return;
        this.#options.log.warn('Watch of access data ended and begins again', { kind: kind.name, code });
        this.#later(() => void this.#begin(kind.name));
      },
    });
    this.#watches.set(kind.name, watch);
  }

  /** A record that this program cannot read, of a newer one for example, may be the rule that denies: nothing is allowed then. */
  #takeOrClose(kind: string, batch: WatchBatch, take: (batch: WatchBatch) => void): void {
    try {
      take(batch);
    } catch (error) {
      this.#options.log.error('Access data cannot be understood: everything is denied', { kind, error });
      this.#isLoaded = false;
      this.#tellRules();
    }
  }

  /** After a watch was lost: everything is read again. */
  #begin(name: string): Promise<void> {
    if (name !== userKind.name) return this.#follow('rules and blocks', () => this.#load());
    return this.#follow('users', async () => {
      this.#watch(userKind, 0, (batch) => this.#usersChanged(batch));
      await this.#tellAllUsers();
    });
  }

  /** What was deleted while nobody watched shows when the client comes again. */
  async #tellAllUsers(): Promise<void> {
    const { store } = this.#options;
    const { records } = await store.list(userKind, { consistency: 'serializable', max: Number.MAX_SAFE_INTEGER });
    for (let from = 0; from < records.length; from += usersPage) {
      const accounts = records.slice(from, from + usersPage).map(({ record }) => toAccountChange(record));
      this.#options.changed({ ...nothing, accounts });
    }
  }

  #rulesChanged({ events }: WatchBatch): void {
    for (const event of events) {
      if (event.type === 'set') {
        const record = accessRuleKind.decode(event.item.value);
        this.#rules.set(ruleKey(record), record);
      } else {
        const [tenant, rule] = accessRuleKind.parseKey(event.item.key);
        this.#rules.delete(ruleKey({ tenant: String(tenant), rule: String(rule) }));
      }
    }
    this.#tellRules();
  }

  #blocksChanged({ events }: WatchBatch): void {
    const set = new Map<string, AccessBlock>();
    const removed = new Set<string>();
    for (const { type, item } of events) {
      if (type === 'set') {
        const record = accessBlockKind.decode(item.value);
        const key = blockKey(record);
        this.#blocks.set(key, { record, modRevision: item.modRevision });
        set.set(key, toBlock(record));
        removed.delete(key);
      } else {
        const key = keyOfRemoved(item.key);
        this.#blocks.delete(key);
        set.delete(key);
        removed.add(key);
      }
    }
    this.#options.changed({ ...nothing, blocksSet: [...set.values()], blocksRemoved: [...removed] });
  }

  #usersChanged({ events }: WatchBatch): void {
    this.#options.changed({ ...nothing, accounts: events.map(accountChangeOf) });
  }

  #tellRules(): void {
    this.#options.changed({ ...nothing, rules: this.#rulesChange() });
  }

  #rulesChange(): NonNullable<PlainAccessChange['rules']> {
    return { list: [...this.#fileRules, ...this.rules().map(toRule)], problem: this.problem };
  }

  /** The leader's node removes blocks that ran out; they block nobody any more in any case. */
  async #sweep(): Promise<void> {
    const { store, log } = this.#options;
    const { leader, replica } = store.placement.status();
    if (leader !== replica) return;
    const endedMs = Date.now() - sweepMs;
    const ended = this.blocks().filter(({ record }) => record.untilMs !== 0 && record.untilMs < endedMs);
    for (const { record, modRevision } of ended) {
      const parts = [record.tenant, record.kind, record.value] as const;
      const compares = [recordUnchanged(accessBlockKind, modRevision, ...parts)];
      try {
        await store.write([deleteRecords(accessBlockKind, ...parts)], compares);
      } catch (error) {
        log.debug('Block that ran out is not removed yet', { reason: toError(error).message });
        return;
      }
    }
  }
}

function ruleKey({ tenant, rule }: { readonly tenant: string; readonly rule: string }): string {
  return JSON.stringify([tenant, rule]);
}

function keyOfRemoved(bytes: Uint8Array): string {
  const [tenant, kind, value] = accessBlockKind.parseKey(bytes).map(String);
  return blockKey({ tenant, kind: kind as AccessBlock['kind'], value });
}

function accountChangeOf({ type, item }: WatchEvent): AccountChange {
  if (type === 'set') return toAccountChange(userKind.decode(item.value));
  const [tenant, user] = userKind.parseKey(item.key).map(String);
  return { tenant, user, state: null };
}

function toAccountChange({ tenant, user, isSuperuser, isEnabled, groups }: UserRecord): AccountChange {
  return { tenant, user, state: { isSuperuser, isEnabled, groups } };
}

function toBlock({ tenant, kind, value, reason, untilMs }: BlockRecord): AccessBlock {
  return { tenant, kind, value, reason, untilMs };
}

export function toRule(record: RuleRecord): AccessRule {
  const { tenant, rule, permission, actions, users, groups, clients, addresses, topics, isExact, qos, retain } = record;
  return { tenant, rule, permission, actions, users, groups, clients, addresses, topics, isExact, qos, retain };
}
