/** The operations that clients choose from, and what each means for the register of each key that it touches. */
import type {
  Command,
  LeaseId,
  Operation,
  Query,
  RefusalCode,
  RequestId,
  Revision,
  SetOperation,
} from '../../src/core/ports/placement.ts';
import type { RegisterAction } from './linearizability.ts';
import { bytesOf } from './model.ts';
import type { Random } from './random.ts';

export interface KeyAction {
  readonly key: string;
  readonly action: RegisterAction;
}

export interface WriteCall {
  readonly type: 'write';
  readonly name: string;
  readonly command: Command;
  readonly requestId: RequestId;
  readonly mayBeRefused: readonly RefusalCode[];
  /** `succeeded` null: no answer. Keys that leases remove by themselves are left out. */
  actions(succeeded: boolean | null): readonly KeyAction[];
}

export interface ReadCall {
  readonly type: 'read';
  readonly name: string;
  readonly query: Query & { readonly type: 'range' };
  /** Keys of the range that have a history. */
  readonly registers: readonly string[];
}

export interface KeepAliveCall {
  readonly type: 'keep-alive';
  readonly name: string;
  readonly lease: LeaseId;
}

/** Of a registered node. */
export interface HeartbeatCall {
  readonly type: 'heartbeat';
  readonly name: string;
  readonly node: string;
  readonly epoch: number;
}

export type Call = WriteCall | ReadCall | KeepAliveCall | HeartbeatCall;

/** What a client knows and others told it. */
export interface Knowledge {
  readonly keys: readonly string[];
  /** Value that was seen last, by key. */
  readonly seen: Map<string, string | null>;
  readonly seenRevisions: Map<string, Revision>;
  /** Leases that were granted and not given up. */
  readonly leases: LeaseId[];
  /** Epochs of nodes that were registered and not found gone. */
  readonly nodes: Map<string, number>;
  revision: Revision;
}

function set(key: string, value: string, lease: LeaseId, returnPrevious: boolean): SetOperation {
  return { type: 'set', key: bytesOf(key), value: bytesOf(value), lease, returnPrevious };
}

function range(key: string, end: string | null): Operation & { readonly type: 'range' } {
  return {
    type: 'range',
    key: bytesOf(key),
    end: end === null ? null : bytesOf(end),
    limit: 0,
    isReverse: false,
    keysOnly: false,
    countOnly: false,
  };
}

const none: readonly KeyAction[] = [];

export interface Shares {
  readonly leaseShare: number;
  readonly nodeShare: number;
  readonly transactionShare: number;
}

/** What nodes and topics may be told, depending on what others did meanwhile. */
const placementRefusals: readonly RefusalCode[] = [
  'NODE_NOT_FOUND',
  'NODE_FENCED',
  'TOPIC_EXISTS',
  'TOPIC_NOT_FOUND',
  'NOT_ENOUGH_NODES',
  'EPOCH_MISMATCH',
];

/** Draws operations; every value that it writes is new. */
export class OperationSource {
  readonly #random: Random;
  readonly #shares: Shares;
  #nextValue = 1;

  constructor(random: Random, shares: Shares) {
    this.#random = random;
    this.#shares = shares;
  }

  draw(known: Knowledge): Call {
    if (this.#random.chance(this.#shares.leaseShare)) return this.#drawLease(known);
    if (this.#random.chance(this.#shares.nodeShare)) return this.#drawNode(known);
    if (this.#random.chance(this.#shares.transactionShare)) return this.#transaction(known);
    const key = this.#random.pick(known.keys);
    const kind = this.#random.below(100);
    if (kind < 35) return this.put(key);
    if (kind < 45) return this.#delete(key);
    if (kind < 60) return this.#compareAndSet(key, known.seen.get(key) ?? null);
    if (kind < 80) return this.get(key, 'linearizable');
    if (kind < 86) return this.get(key, 'serializable');
    if (kind < 98) return this.#getAll(known.keys);
    return this.#compact(known.revision);
  }

  #value(): string {
    // Some values are long, so that entries differ in size and messages get split.
    const padding = this.#random.chance(0.1) ? '.'.repeat(this.#random.below(400)) : '';
    return `v${this.#nextValue++}${padding}`;
  }

  #requestId(): RequestId {
    const bytes = new Uint8Array(16);
    for (let i = 0; i < bytes.length; i++) bytes[i] = this.#random.below(256);
    return bytes;
  }

  #transactionCall(
    name: string,
    parts: Omit<Command & { readonly type: 'transaction' }, 'type'>,
    actions: WriteCall['actions'],
    mayBeRefused: readonly RefusalCode[] = [],
  ): WriteCall {
    const command = { type: 'transaction', ...parts } as const;
    // Without an id the client asks once only; the network may still carry the command twice.
    const requestId = this.#random.chance(0.15) ? null : this.#requestId();
    return { type: 'write', name, command, requestId, mayBeRefused, actions };
  }

  put(key: string): WriteCall {
    const value = this.#value();
    const operation = set(key, value, 0, this.#random.chance(0.3));
    return this.#transactionCall('put', { compares: [], success: [operation], failure: [] }, () => [
      { key, action: { type: 'write', value } },
    ]);
  }

  #delete(key: string): WriteCall {
    const operation: Operation = { type: 'delete', key: bytesOf(key), end: null, returnPrevious: false };
    return this.#transactionCall('delete', { compares: [], success: [operation], failure: [] }, () => [
      { key, action: { type: 'write', value: null } },
    ]);
  }

  #compareAndSet(key: string, expected: string | null): WriteCall {
    const value = this.#value();
    const compare =
      expected === null
        ? ({ key: bytesOf(key), target: 'version', relation: 'equal', operand: 0 } as const)
        : ({ key: bytesOf(key), target: 'value', relation: 'equal', operand: bytesOf(expected) } as const);
    const parts = { compares: [compare], success: [set(key, value, 0, false)], failure: [range(key, null)] };
    return this.#transactionCall('compare-and-set', parts, (didSet) => [
      { key, action: { type: 'cas', expected, value, didSet } },
    ]);
  }

  /** If a key is unchanged, writes it and others. */
  #transaction(known: Knowledge): WriteCall {
    const [guard, ...others] = this.#random.shuffle(known.keys).slice(0, 3);
    const values = [guard, ...others].map((key) => ({ key, value: this.#value() }));
    const compare = {
      key: bytesOf(guard),
      target: 'mod-revision',
      relation: 'equal',
      operand: known.seenRevisions.get(guard) ?? 0,
    } as const;
    const success = values.map(({ key, value }) => set(key, value, 0, false));
    return this.#transactionCall(
      'transaction',
      { compares: [compare], success, failure: [range(guard, null)] },
      // Whether it did nothing or did everything is one and the same for all of its keys.
      (succeeded) =>
        succeeded === false
          ? none
          : values.map(({ key, value }) => ({ key, action: { type: 'write', value } as const })),
    );
  }

  get(key: string, consistency: 'linearizable' | 'serializable'): ReadCall {
    return { type: 'read', name: `get ${consistency}`, query: { ...range(key, null), consistency }, registers: [key] };
  }

  #getAll(keys: readonly string[]): ReadCall {
    return {
      type: 'read',
      name: 'range',
      query: { ...range('k', 'z'), consistency: 'linearizable' },
      registers: keys,
    };
  }

  #compact(revision: Revision): WriteCall {
    const command = { type: 'compact', revision: Math.max(1, revision - this.#random.below(20)) } as const;
    return {
      type: 'write',
      name: 'compact',
      command,
      requestId: null,
      mayBeRefused: ['COMPACTED', 'FUTURE_REVISION'],
      actions: () => none,
    };
  }

  #drawLease(known: Knowledge): Call {
    const lease = known.leases.length === 0 ? 0 : this.#random.pick(known.leases);
    const kind = this.#random.below(10);
    if (lease === 0 || kind < 2) return this.#grant();
    if (kind < 6) return { type: 'keep-alive', name: 'keep-alive', lease };
    if (kind < 9) return this.#putUnderLease(lease);
    const command = { type: 'lease-revoke', lease } as const;
    const mayBeRefused: readonly RefusalCode[] = ['LEASE_NOT_FOUND'];
    return { type: 'write', name: 'revoke', command, requestId: null, mayBeRefused, actions: () => none };
  }

  #grant(): WriteCall {
    const command = {
      type: 'lease-grant',
      lease: this.#random.identifier(),
      ttlMs: this.#random.between(300, 3_000),
    } as const;
    return {
      type: 'write',
      name: 'grant',
      command,
      requestId: null,
      mayBeRefused: ['LEASE_EXISTS'],
      actions: () => none,
    };
  }

  #putUnderLease(lease: LeaseId): WriteCall {
    const operation = set(`lease/${this.#random.below(4)}`, this.#value(), lease, false);
    const parts = { compares: [], success: [operation], failure: [] };
    return this.#transactionCall('put under lease', parts, () => none, ['LEASE_NOT_FOUND']);
  }

  #placementCall(command: Command): WriteCall {
    const requestId = this.#requestId();
    return {
      type: 'write',
      name: command.type,
      command,
      requestId,
      mayBeRefused: placementRefusals,
      actions: () => none,
    };
  }

  /** Registered nodes and the topics that are placed on them. */
  #drawNode(known: Knowledge): Call {
    const node = `node-${this.#random.below(4)}`;
    const topic = `topic-${this.#random.below(3)}`;
    const epoch = known.nodes.get(node);
    const kind = this.#random.below(10);
    if (epoch === undefined || kind < 1) {
      const ttlMs = this.#random.between(1_000, 3_000);
      const addresses = [['public', `10.1.0.${node.at(-1)}:1`]] as const;
      return this.#placementCall({ type: 'node-register', node, addresses, roles: ['broker'], rack: '', ttlMs });
    }
    if (kind < 5) return { type: 'heartbeat', name: 'heartbeat', node, epoch };
    if (kind < 6) return this.#placementCall({ type: 'node-unregister', node, epoch });
    if (kind < 7) {
      const report = {
        cpuShare: this.#random.below(100) / 100,
        memoryBytes: this.#random.below(1_000),
        diskFreeBytes: 0,
        connections: this.#random.below(10),
        bytesInPerS: 0,
        bytesOutPerS: 0,
      };
      return this.#placementCall({ type: 'node-report', node, epoch, report });
    }
    if (kind < 8) return this.#placementCall({ type: 'topic-delete', tenant: 'tenant', topic });
    const partitions = this.#random.between(1, 3);
    const replicationFactor = this.#random.between(1, 2);
    return this.#placementCall({ type: 'topic-create', tenant: 'tenant', topic, partitions, replicationFactor });
  }
}
