/**
 * What the store should do, written a second time and as plainly as can be: the committed commands are applied to it once,
 * and whatever clients are told must fit. It keeps every version of every key, so that it can be asked about the past.
 */
import type {
  Command,
  CommandResult,
  Compare,
  DeleteOperation,
  KeyValue,
  Operation,
  RequestId,
  Revision,
  TransactionCommand,
} from '../../src/core/ports/placement.ts';
import { demand } from './violation.ts';

export interface ModelEvent {
  readonly revision: Revision;
  readonly type: 'set' | 'delete';
  readonly key: string;
  /** Null after a delete. */
  readonly item: KeyValue | null;
}

interface Version {
  readonly revision: Revision;
  readonly item: KeyValue | null;
}

/** A committed command. Two with the same identity are one that came twice. */
export interface Committed {
  readonly command: Command;
  readonly requestId: RequestId;
  readonly identity: string;
}

function isReadOnly(command: Command): boolean {
  if (command.type !== 'transaction') return false;
  return [...command.success, ...command.failure].every(({ type }) => type === 'range');
}

/** What a transaction did. */
export interface Outcome {
  readonly revision: Revision;
  readonly succeeded: boolean;
  readonly hasChanged: boolean;
}

export function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}

export function bytesOf(text: string): Uint8Array {
  return Buffer.from(text, 'latin1');
}

/** Whether `key` is what a range or a watch of [start, end) is about. */
export function covers(start: string, end: string | null, key: string): boolean {
  if (end === null) return key === start;
  return key >= start && (end === '' || key < end);
}

export class Model {
  revision: Revision = 0;
  readonly events: ModelEvent[] = [];
  /** Effect of each request id, also of one that changed nothing. */
  readonly requests = new Map<string, Outcome>();
  /** Commands that were applied: by request id, or by where they come from. */
  readonly #identities = new Set<string>();
  readonly #versions = new Map<string, Version[]>();
  readonly #leases = new Map<number, { readonly epoch: number; readonly keys: Set<string> }>();

  keys(): string[] {
    return [...this.#versions.keys()].sort();
  }

  hasLease(lease: number): boolean {
    return this.#leases.has(lease);
  }

  /** The pair as of `revision`. */
  at(key: string, revision: Revision): KeyValue | null {
    const versions = this.#versions.get(key);
    if (versions === undefined) return null;
    for (let i = versions.length - 1; i >= 0; i--) {
      const version = versions[i] as Version;
      if (version.revision <= revision) return version.item;
    }
    return null;
  }

  /** Pairs of a range as of `revision`, in order. */
  rangeAt(start: string, end: string | null, revision: Revision): KeyValue[] {
    return this.keys()
      .filter((key) => covers(start, end, key))
      .map((key) => this.at(key, revision))
      .filter((item) => item !== null);
  }

  /** Applies a committed command; `result` is what a replica made of it, and `revision` where its store then was. */
  apply({ command, requestId, identity }: Committed, result: CommandResult, revision: Revision): void {
    const isRepeated = this.#identities.has(identity) && !isReadOnly(command);
    this.#identities.add(identity);
    if (isRepeated) this.#repeat(requestId, result);
    else this.#apply(command, requestId, result, revision);
    demand(
      revision === this.revision,
      'answer-fits-model',
      () => `The store is at revision ${revision} after ${command.type}, should be at ${this.revision}`,
    );
  }

  #repeat(requestId: RequestId, result: CommandResult): void {
    if (result.type !== 'transaction') return;
    const before = requestId === null ? undefined : this.requests.get(textOf(requestId));
    demand(
      result.wasRepeated &&
        (before === undefined || (before.revision === result.revision && before.succeeded === result.succeeded)),
      'applied-once',
      () => `A repeated transaction answered ${JSON.stringify(result)}, before: ${JSON.stringify(before ?? null)}`,
    );
  }

  #apply(command: Command, requestId: RequestId, result: CommandResult, revision: Revision): void {
    switch (command.type) {
      case 'transaction':
        this.#applyTransaction(command, requestId, result);
        return;
      case 'compact':
        return;
      case 'lease-grant':
        if (result.type === 'lease') this.#leases.set(command.lease, { epoch: result.epoch, keys: new Set() });
        return;
      case 'lease-revoke':
        this.#endLease(command.lease, null);
        return;
      case 'lease-expire':
        this.#endLease(command.lease, command.epoch);
        return;
      default:
        // Records of nodes and topics: what is in them is not modelled, each command makes one revision at most.
        if (revision === this.revision + 1) this.revision = revision;
    }
  }

  #endLease(lease: number, epoch: number | null): void {
    const record = this.#leases.get(lease);
    if (record === undefined || (epoch !== null && record.epoch !== epoch)) return;
    this.#leases.delete(lease);
    const keys = [...record.keys].filter((key) => this.at(key, this.revision)?.lease === lease).sort();
    if (keys.length === 0) return;
    this.revision++;
    for (const key of keys) this.#write(key, null);
  }

  #applyTransaction(command: TransactionCommand, requestId: RequestId, result: CommandResult): void {
    if (result.type === 'refused') {
      const needsMissingLease = [...command.success, ...command.failure].some(
        (each) => each.type === 'set' && each.lease !== 0 && !this.#leases.has(each.lease),
      );
      demand(
        result.code === 'LEASE_NOT_FOUND' && needsMissingLease,
        'answer-fits-model',
        () => `A good transaction was refused: ${result.code} ${result.message}`,
      );
      return;
    }
    demand(
      result.type === 'transaction' && !result.wasRepeated,
      'applied-once',
      () => `A transaction that comes for the first time answered ${JSON.stringify(result)}`,
    );
    const before = this.revision;
    const outcome = this.#run(command);
    demand(
      result.revision === outcome.revision && result.succeeded === outcome.succeeded,
      'answer-fits-model',
      () =>
        `A transaction at revision ${before} gave ${result.revision} ${result.succeeded}, should be ` +
        `${outcome.revision} ${outcome.succeeded}`,
    );
    if (requestId !== null) this.requests.set(textOf(requestId), outcome);
  }

  #run(command: TransactionCommand): Outcome {
    const before = this.revision;
    const succeeded = command.compares.every((compare) => this.#holds(compare));
    const operations = succeeded ? command.success : command.failure;
    const changes = operations.flatMap((operation) => this.#changesOf(operation));
    if (changes.length === 0) return { revision: before, succeeded, hasChanged: false };
    this.revision = before + 1;
    for (const [key, operation] of changes) this.#write(key, operation);
    return { revision: this.revision, succeeded, hasChanged: true };
  }

  #changesOf(operation: Operation): [string, (Operation & { type: 'set' }) | null][] {
    if (operation.type === 'set') return [[textOf(operation.key), operation]];
    if (operation.type === 'delete') return this.#deleted(operation).map((key) => [key, null]);
    return [];
  }

  #deleted(operation: DeleteOperation): string[] {
    const end = operation.end === null ? null : textOf(operation.end);
    const start = textOf(operation.key);
    return this.keys().filter((key) => covers(start, end, key) && this.at(key, this.revision) !== null);
  }

  #holds(compare: Compare): boolean {
    const item = this.at(textOf(compare.key), this.revision);
    const order = compareValues(item, compare);
    switch (compare.relation) {
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

  #write(key: string, operation: (Operation & { type: 'set' }) | null): void {
    const versions = this.#versions.get(key) ?? [];
    const previous = versions.at(-1)?.item ?? null;
    const { revision } = this;
    const item: KeyValue | null =
      operation === null
        ? null
        : {
            key: operation.key,
            value: operation.value,
            createRevision: previous?.createRevision ?? revision,
            modRevision: revision,
            version: (previous?.version ?? 0) + 1,
            lease: operation.lease,
          };
    if (previous !== null && previous.lease !== 0) this.#leases.get(previous.lease)?.keys.delete(key);
    if (item !== null && item.lease !== 0) this.#leases.get(item.lease)?.keys.add(key);
    versions.push({ revision, item });
    this.#versions.set(key, versions);
    this.events.push({ revision, type: item === null ? 'delete' : 'set', key, item });
  }
}

function compareValues(item: KeyValue | null, compare: Compare): number {
  const { operand } = compare;
  if (typeof operand !== 'number') return Buffer.compare(item?.value ?? new Uint8Array(0), operand);
  switch (compare.target) {
    case 'version':
      return (item?.version ?? 0) - operand;
    case 'create-revision':
      return (item?.createRevision ?? 0) - operand;
    case 'mod-revision':
      return (item?.modRevision ?? 0) - operand;
    default:
      return (item?.lease ?? 0) - operand;
  }
}

export function isSameItem(left: KeyValue | null, right: KeyValue | null): boolean {
  if (left === null || right === null) return left === right;
  return (
    left.modRevision === right.modRevision &&
    left.createRevision === right.createRevision &&
    left.version === right.version &&
    left.lease === right.lease &&
    Buffer.compare(left.key, right.key) === 0 &&
    Buffer.compare(left.value, right.value) === 0
  );
}

export function describeItem(item: KeyValue | null): string {
  if (item === null) return 'nothing';
  return `${textOf(item.key)}=${textOf(item.value)} (created ${item.createRevision}, changed ${item.modRevision}, version ${item.version}, lease ${item.lease})`;
}
