/**
 * Applies transactions: compares, then the operations of one branch, in one revision. Deterministic: depends on nothing
 * but the state and the command. Everything is checked before anything is written. Thread: the Raft worker; called by
 * `apply.ts`.
 */
import type {
  Bytes,
  CommandResult,
  Compare,
  DeleteOperation,
  KeyScope,
  KeyValue,
  Operation,
  OperationResult,
  RangeOperation,
  SetOperation,
  TransactionCommand,
} from '../../core/ports/placement.ts';
import { latin1Of, uint53Key } from './bytes.ts';
import { commandTags } from './command-codec.ts';
import { Draft } from './draft.ts';
import { checkRead, checkWrite } from './key-checks.ts';
import { limits } from './limits.ts';
import { readRange } from './queries.ts';
import { type Refusal, refuse } from './refusal.ts';
import type { Request, RequestOutcome } from './request-rows.ts';
import type { StateCore } from './state-core.ts';

const noBytes: Bytes = new Uint8Array(0);

export function applyTransaction(core: StateCore, command: TransactionCommand, request: Request): CommandResult {
  const refusal = checkTransaction(command);
  if (refusal !== null) return refusal;
  const succeeded = holdAll(core, command.compares);
  const operations = succeeded ? command.success : command.failure;
  const lateRefusal = checkLeases(core, operations);
  if (lateRefusal !== null) return lateRefusal;
  const deletions = collectDeletions(core, operations);
  if (deletions !== null && 'code' in deletions) return deletions;

  const draft = new Draft(core);
  const run = new BranchRun(core, draft, deletions);
  const results: OperationResult[] = [];
  for (const operation of operations) results.push(run.apply(operation));
  const revision = draft.finish(request, commandTags.transaction, succeeded, 0);
  return { type: 'transaction', revision, succeeded, results, wasRepeated: false };
}

/** Nothing is written, whichever branch is taken: to apply it again is as good as to read again. */
export function isReadOnly({ success, failure }: TransactionCommand): boolean {
  return success.every(({ type }) => type === 'range') && failure.every(({ type }) => type === 'range');
}

/** The answer to a repeat of a transaction that was applied before: what is known without keeping its results. */
export function repeatTransaction(command: TransactionCommand, outcome: RequestOutcome): CommandResult {
  const { revision, succeeded } = outcome;
  const results = (succeeded ? command.success : command.failure).map(emptyResult);
  return { type: 'transaction', revision, succeeded, results, wasRepeated: true };
}

function emptyResult({ type }: Operation): OperationResult {
  switch (type) {
    case 'set':
      return { type, previous: null };
    case 'delete':
      return { type, count: 0, previous: [] };
    case 'range':
      return { type, items: [], count: -1, hasMore: false };
  }
}

// --- checks that need no state ---

function checkTransaction({ scope, compares, success, failure }: TransactionCommand): Refusal | null {
  if (compares.length > limits.operationsMax) return tooMany('compares', compares.length);
  let bytes = 0;
  for (const { key, target, operand } of compares) {
    const refusal = checkRead(key, null, scope);
    if (refusal !== null) return refusal;
    if ((target === 'value') !== (typeof operand !== 'number')) {
      return refuse('INVALID_ARGUMENT', `The operand of a compare of ${target} has the wrong type`);
    }
    bytes += key.length + (typeof operand === 'number' ? 0 : operand.length);
  }
  const refusal = checkBranch(success, scope) ?? checkBranch(failure, scope);
  if (refusal !== null) return refusal;
  bytes += bytesOf(success) + bytesOf(failure);
  if (bytes <= limits.requestBytesMax) return null;
  return refuse('VALUE_TOO_LARGE', `The transaction has ${bytes} bytes, more than ${limits.requestBytesMax}`);
}

function checkBranch(operations: readonly Operation[], scope: KeyScope | undefined): Refusal | null {
  if (operations.length > limits.operationsMax) return tooMany('operations', operations.length);
  for (const operation of operations) {
    const refusal = checkOperation(operation, scope);
    if (refusal !== null) return refusal;
  }
  return operations.length > 1 ? checkOverlaps(operations) : null;
}

function checkOperation(operation: Operation, scope: KeyScope | undefined): Refusal | null {
  switch (operation.type) {
    case 'set':
      if (operation.value.length > limits.valueBytesMax) {
        const problem = `The value has ${operation.value.length} bytes, more than ${limits.valueBytesMax}`;
        return refuse('VALUE_TOO_LARGE', problem);
      }
      return checkWrite(operation.key, null, scope);
    case 'delete':
      return checkWrite(operation.key, operation.end, scope);
    case 'range':
      return checkRead(operation.key, operation.end, scope);
  }
}

/** A key that is set may not be set or deleted again in the same revision. */
function checkOverlaps(operations: readonly Operation[]): Refusal | null {
  const keys = new Set<string>();
  for (const operation of operations) {
    if (operation.type !== 'set') continue;
    const text = latin1Of(operation.key);
    if (keys.has(text)) return refuse('DUPLICATE_KEY', 'A key is set twice in one transaction');
    keys.add(text);
  }
  if (keys.size === 0) return null;
  for (const operation of operations) {
    if (operation.type !== 'delete') continue;
    const low = latin1Of(operation.key);
    const high = operation.end === null ? null : latin1Of(operation.end);
    for (const key of keys) {
      const isDeleted = high === null ? key === low : key >= low && (high === '' || key < high);
      if (isDeleted) return refuse('DUPLICATE_KEY', 'A key is set and deleted in one transaction');
    }
  }
  return null;
}

function bytesOf(operations: readonly Operation[]): number {
  let bytes = 0;
  for (const operation of operations) {
    bytes += operation.key.length;
    if (operation.type === 'set') bytes += operation.value.length;
    else bytes += operation.end?.length ?? 0;
  }
  return bytes;
}

function tooMany(what: string, count: number): Refusal {
  return refuse('TOO_MANY_OPERATIONS', `There are ${count} ${what}, more than ${limits.operationsMax}`);
}

// --- compares ---

function holdAll(core: StateCore, compares: readonly Compare[]): boolean {
  for (const compare of compares) {
    if (!holds(core.tables.records.get(compare.key), compare)) return false;
  }
  return true;
}

function holds(item: KeyValue | null, { target, relation, operand }: Compare): boolean {
  const order =
    typeof operand === 'number'
      ? numberOf(item, target) - operand
      : Buffer.compare(item === null ? noBytes : item.value, operand);
  switch (relation) {
    case 'equal':
      return order === 0;
    case 'not-equal':
      return order !== 0;
    case 'greater':
      return order > 0;
    case 'less':
      return order < 0;
  }
}

function numberOf(item: KeyValue | null, target: Compare['target']): number {
  if (item === null) return 0;
  switch (target) {
    case 'version':
      return item.version;
    case 'create-revision':
      return item.createRevision;
    case 'mod-revision':
      return item.modRevision;
    case 'lease':
      return item.lease;
    case 'value':
      return 0;
  }
}

// --- checks that need the state ---

function checkLeases(core: StateCore, operations: readonly Operation[]): Refusal | null {
  let attached: Map<number, number> | null = null;
  for (const operation of operations) {
    if (operation.type !== 'set' || operation.lease === 0) continue;
    attached ??= new Map();
    attached.set(operation.lease, (attached.get(operation.lease) ?? 0) + 1);
  }
  if (attached === null) return null;
  for (const [lease, count] of attached) {
    const row = core.tables.leases.get(uint53Key(lease));
    if (row === null) return refuse('LEASE_NOT_FOUND', `There is no lease ${lease}`);
    if (row.keyCount + count > limits.leaseKeysMax) {
      return refuse('TOO_MANY_OPERATIONS', `A lease takes ${limits.leaseKeysMax} keys at most`);
    }
  }
  return null;
}

type Deletions = ReadonlyMap<DeleteOperation, readonly KeyValue[]>;

/** What each range deletion will remove: known before anything is written, so that too much can be refused. */
function collectDeletions(core: StateCore, operations: readonly Operation[]): Deletions | Refusal | null {
  let deletions: Map<DeleteOperation, KeyValue[]> | null = null;
  let count = 0;
  let bytes = 0;
  for (const operation of operations) {
    if (operation.type !== 'delete' || operation.end === null) continue;
    const { key, end } = operation;
    const items: KeyValue[] = [];
    if (end.length === 0 || latin1Of(key) < latin1Of(end)) {
      core.tables.records.scan(key, end.length === 0 ? null : end, false, 100, ({ value: item }) => {
        items.push(item);
        count++;
        bytes += item.key.length + item.value.length;
        return count <= limits.deletedKeysMax && bytes <= limits.deletedBytesMax;
      });
    }
    if (count > limits.deletedKeysMax || bytes > limits.deletedBytesMax) {
      return refuse(
        'TOO_MANY_OPERATIONS',
        `One transaction deletes ${limits.deletedKeysMax} keys and ${limits.deletedBytesMax} bytes at most`,
      );
    }
    deletions ??= new Map();
    deletions.set(operation, items);
  }
  return deletions;
}

// --- operations ---

class BranchRun {
  private readonly core: StateCore;
  private readonly draft: Draft;
  private readonly deletions: Deletions | null;
  private rangeBytesLeft: number = limits.rangeBytesMax;

  constructor(core: StateCore, draft: Draft, deletions: Deletions | null) {
    this.core = core;
    this.draft = draft;
    this.deletions = deletions;
  }

  apply(operation: Operation): OperationResult {
    switch (operation.type) {
      case 'set':
        return this.set(operation);
      case 'delete':
        return this.delete(operation);
      case 'range':
        return this.range(operation);
    }
  }

  private set({ key, value, lease, returnPrevious }: SetOperation): OperationResult {
    const text = latin1Of(key);
    const previous = this.core.tables.records.find(text, key);
    this.draft.set(text, key, value, lease, previous);
    return { type: 'set', previous: returnPrevious ? previous : null };
  }

  private delete(operation: DeleteOperation): OperationResult {
    const { records } = this.core.tables;
    const items = this.deletions?.get(operation) ?? [];
    const previous: KeyValue[] = [];
    let count = 0;
    const remove = (text: string, item: KeyValue) => {
      this.draft.remove(text, item);
      count++;
      if (operation.returnPrevious) previous.push(item);
    };
    if (operation.end === null) {
      const text = latin1Of(operation.key);
      const item = records.find(text, operation.key);
      if (item !== null) remove(text, item);
    }
    for (const item of items) {
      const text = latin1Of(item.key);
      // An operation before this one may have deleted it.
      if (records.find(text, item.key) !== null) remove(text, item);
    }
    return { type: 'delete', count, previous };
  }

  private range(operation: RangeOperation): OperationResult {
    const result = readRange(this.core.tables.records, operation, this.rangeBytesLeft);
    for (const { key, value } of result.items) this.rangeBytesLeft -= key.length + value.length;
    return result;
  }
}
