/**
 * Users, access rules and blocks in the placement centre, as calls. Main thread; used by the parts of this folder.
 *
 * Logins read what this node knows (serializable, from memory that is mapped here), so they need no leader; changes are
 * made on the record as it is for the whole cluster, and only if it did not change meanwhile.
 */
import type { Account } from '../../core/ports/access.ts';
import { AccessError } from '../../core/ports/access-administration.ts';
import {
  type Compare,
  type Consistency,
  type DeleteOperation,
  type KeyValue,
  PlacementError,
  type PlacementNode,
  type Query,
  type RangeResult,
  type SetOperation,
} from '../../core/ports/placement.ts';
import type { RecordKind } from '../../raft/placement/record-kind.ts';
import { listRecordsQuery, recordQuery, recordsCommand } from '../../raft/placement/record-operations.ts';
import type { accessBlockKind } from '../../raft/placement/records/access-block.ts';
import type { accessRuleKind } from '../../raft/placement/records/access-rule.ts';
import { userKind } from '../../raft/placement/records/user.ts';

export type RecordIn<K> = K extends RecordKind<infer T> ? T : never;
export type UserRecord = RecordIn<typeof userKind>;
export type RuleRecord = RecordIn<typeof accessRuleKind>;
export type BlockRecord = RecordIn<typeof accessBlockKind>;

const callTimeoutMs = 5_000;
const pageItems = 1_000;

/** Of the whole cluster: every node holds all of them in memory. */
export const rulesMax = 10_000;
export const blocksMax = 100_000;

export interface Stored<T> {
  readonly record: T;
  readonly modRevision: number;
}

export class AccessStore {
  readonly #placement: () => PlacementNode;

  /** `placement`: called for each call, since it exists only after its start. */
  constructor(placement: () => PlacementNode) {
    this.#placement = placement;
  }

  get placement(): PlacementNode {
    return this.#placement();
  }

  /** One record; null when there is none. Rejects with `PlacementError`. */
  async find<T>(kind: RecordKind<T>, consistency: Consistency, ...parts: readonly string[]): Promise<Stored<T> | null> {
    const { items } = await this.#range(recordQuery(kind, consistency, ...parts));
    return items.length === 0 ? null : storedOf(kind, items[0]);
  }

  /** At most `max` records whose keys begin with `parts`, and the revision at which the first page was read. */
  async list<T>(
    kind: RecordKind<T>,
    options: { readonly parts?: readonly string[]; readonly consistency: Consistency; readonly max: number },
  ): Promise<{ readonly records: readonly Stored<T>[]; readonly revision: number }> {
    const records: Stored<T>[] = [];
    let revision = -1;
    let after: KeyValue | undefined;
    while (records.length < options.max) {
      const limit = Math.min(pageItems, options.max - records.length);
      const page = await this.#range(listRecordsQuery(kind, { ...options, limit, ...(after && { after }) }));
      if (revision === -1) revision = page.revision;
      for (const item of page.items) records.push(storedOf(kind, item));
      after = page.items.at(-1);
      if (!page.hasMore || after === undefined) break;
    }
    return { records, revision };
  }

  /** Users behind `after`, in the order of their keys. */
  async users(
    tenant: string,
    after: string,
    limit: number,
  ): Promise<{ readonly users: readonly UserRecord[]; readonly hasMore: boolean }> {
    const from = after === '' ? {} : { after: { key: userKind.key(tenant, after) } as KeyValue };
    const query = listRecordsQuery(userKind, { consistency: 'linearizable', parts: [tenant], limit, ...from });
    const { items, hasMore } = await this.#range(query);
    return { users: items.map(({ value }) => userKind.decode(value)), hasMore };
  }

  /** Whether the tenant has a user, as far as this node knows. */
  async hasUsers(tenant: string): Promise<boolean> {
    const query = listRecordsQuery(userKind, { consistency: 'serializable', parts: [tenant], limit: 1 });
    return (await this.#range(query)).items.length > 0;
  }

  /** False when a compare did not hold. Rejects with `AccessError` and `PlacementError`. */
  async write(
    operations: readonly (SetOperation | DeleteOperation)[],
    compares: readonly Compare[] = [],
  ): Promise<boolean> {
    const command = recordsCommand(operations, compares);
    const result = await this.placement.execute(command, { requestId: null, timeoutMs: callTimeoutMs });
    if (result.type === 'refused') throw new AccessError('ACCESS_INVALID', `Cannot store: ${result.message}`);
    return result.type === 'transaction' && result.succeeded;
  }

  async #range(query: Query): Promise<RangeResult & { readonly revision: number }> {
    const result = await this.placement.query(query, { timeoutMs: callTimeoutMs });
    if (result.type === 'range') return result;
    const detail = result.type === 'refused' ? result.message : `the answer is of type ${result.type}`;
    throw new PlacementError('CORRUPTED', `Cannot read records: ${detail}`);
  }
}

function storedOf<T>(kind: RecordKind<T>, { value, modRevision }: KeyValue): Stored<T> {
  return { record: kind.decode(value), modRevision };
}

export function toAccount({
  tenant,
  user,
  verifiers,
  isSuperuser,
  isAdministrator,
  isEnabled,
  groups,
  clients,
  addresses,
}: UserRecord): Account {
  return { tenant, user, verifiers, isSuperuser, isAdministrator, isEnabled, groups, clients, addresses };
}
