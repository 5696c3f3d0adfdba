/** Commands and proposals of every kind, sensible and not, for property tests. */
import fc from 'fast-check';
import type { Operation } from '../../src/core/ports/placement.ts';
import type { GroupCommand, Proposal } from '../../src/raft/placement/command-codec.ts';

/** Most are short, so that keys meet; some are too long for a key. */
const octets = fc.oneof(
  { weight: 8, arbitrary: fc.uint8Array({ maxLength: 2 }) },
  { weight: 4, arbitrary: fc.uint8Array({ maxLength: 40 }) },
  { weight: 1, arbitrary: fc.integer({ min: 1_000, max: 2_100 }).map((size) => new Uint8Array(size).fill(97)) },
);
const number = fc.oneof(
  fc.nat(300),
  fc.maxSafeNat(),
  fc.constantFrom(127, 128, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 53 - 1),
);
const text = fc.string({ unit: 'grapheme', maxLength: 12 });
const texts = fc.array(text, { maxLength: 3 });
const flag = fc.boolean();
const end = fc.oneof(fc.constant(null), octets);

const operation: fc.Arbitrary<Operation> = fc.oneof(
  fc.record({ type: fc.constant('set' as const), key: octets, value: octets, lease: number, returnPrevious: flag }),
  fc.record({ type: fc.constant('delete' as const), key: octets, end, returnPrevious: flag }),
  fc.record({
    type: fc.constant('range' as const),
    key: octets,
    end,
    limit: number,
    isReverse: flag,
    keysOnly: flag,
    countOnly: flag,
  }),
);
const relation = fc.constantFrom('equal' as const, 'not-equal' as const, 'greater' as const, 'less' as const);
const compare = fc.oneof(
  fc.record({ key: octets, target: fc.constant('value' as const), relation, operand: octets }),
  fc.record({
    key: octets,
    target: fc.constantFrom('version' as const, 'create-revision' as const, 'mod-revision' as const, 'lease' as const),
    relation,
    operand: number,
  }),
);
const operations = fc.array(operation, { maxLength: 4 });
const branches = { compares: fc.array(compare, { maxLength: 3 }), success: operations, failure: operations };
const rate = fc.double({ noNaN: true });

/** By type. */
export const anyCommand: { readonly [T in GroupCommand['type']]: fc.Arbitrary<GroupCommand> } = {
  transaction: fc.oneof(
    fc.record({ type: fc.constant('transaction' as const), ...branches }),
    fc.record({ type: fc.constant('transaction' as const), scope: fc.constant('records' as const), ...branches }),
  ),
  compact: fc.record({ type: fc.constant('compact' as const), revision: number }),
  'lease-grant': fc.record({ type: fc.constant('lease-grant' as const), lease: number, ttlMs: number }),
  'lease-revoke': fc.record({ type: fc.constant('lease-revoke' as const), lease: number }),
  'lease-expire': fc.record({ type: fc.constant('lease-expire' as const), lease: number, epoch: number }),
  'node-register': fc.record({
    type: fc.constant('node-register' as const),
    node: text,
    addresses: fc.array(fc.tuple(text, text), { maxLength: 3 }),
    roles: texts,
    rack: text,
    ttlMs: number,
  }),
  'node-unregister': fc.record({ type: fc.constant('node-unregister' as const), node: text, epoch: number }),
  'node-expire': fc.record({ type: fc.constant('node-expire' as const), node: text, epoch: number }),
  'node-report': fc.record({
    type: fc.constant('node-report' as const),
    node: text,
    epoch: number,
    report: fc.record({
      cpuShare: rate,
      memoryBytes: rate,
      diskFreeBytes: rate,
      connections: rate,
      bytesInPerS: rate,
      bytesOutPerS: rate,
    }),
  }),
  'topic-create': fc.record({
    type: fc.constant('topic-create' as const),
    tenant: text,
    topic: text,
    partitions: number,
    replicationFactor: number,
  }),
  'topic-delete': fc.record({ type: fc.constant('topic-delete' as const), tenant: text, topic: text }),
  'isr-change': fc.record({
    type: fc.constant('isr-change' as const),
    tenant: text,
    topic: text,
    partition: number,
    node: text,
    nodeEpoch: number,
    leaderEpoch: number,
    partitionEpoch: number,
    isr: texts,
  }),
  bootstrap: fc.record({
    type: fc.constant('bootstrap' as const),
    clusterId: text,
    member: fc.record({ replica: number, name: text, address: text }),
  }),
};

export const anyProposal: fc.Arbitrary<Proposal> = fc.record({
  origin: number,
  sequence: number,
  requestId: fc.oneof(fc.constant(null), fc.uint8Array({ minLength: 16, maxLength: 16 })),
  command: fc.oneof(...Object.values(anyCommand)),
});
