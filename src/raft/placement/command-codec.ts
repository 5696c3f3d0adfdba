/**
 * The bytes of a command entry. Any thread; whoever proposes encodes, `placement-state.ts` decodes what was committed.
 *
 * ```
 * proposal  = version(1) flags(1) origin sequence [requestId(16)] tag(1) body
 * flags     = 1: a request id follows · 2: the command has the scope of records
 * bytes     = length raw · text = length utf8 · list = count item*
 * set       = 1 options(1: previous) key value lease
 * delete    = 2 options(1: previous, 2: end) key [end]
 * range     = 3 options(2: end, 4: reverse, 8: keys only, 16: count only) key [end] limit
 * compare   = target(1) relation(1) key operand
 * ```
 * Numbers without a width are variable-length integers. Tags and flags are stored for ever: they only grow.
 */
import type {
  Bytes,
  Command,
  Compare,
  NodeReport,
  Operation,
  RequestId,
  TransactionCommand,
} from '../../core/ports/placement.ts';
import type { ReplicaId } from '../ports.ts';
import { ByteReader, ByteWriter } from './bytes.ts';
import { MalformedError } from './errors.ts';
import type { MemberContext } from './member-context.ts';

const VERSION = 1;
const REQUEST_ID_BYTES = 16;

const proposalFlags = { requestId: 1, records: 2 } as const;
const operationTags = { set: 1, delete: 2, range: 3 } as const;
const operationFlags = { previous: 1, end: 2, reverse: 4, keysOnly: 8, countOnly: 16 } as const;
const compareTargets = ['value', 'version', 'create-revision', 'mod-revision', 'lease'] as const;
const compareRelations = ['equal', 'not-equal', 'greater', 'less'] as const;

/** Stored in entries and in the change log. */
export const commandTags = {
  transaction: 1,
  compact: 2,
  'lease-grant': 3,
  'lease-revoke': 4,
  'lease-expire': 5,
  'node-register': 6,
  'node-unregister': 7,
  'node-expire': 8,
  'node-report': 9,
  'topic-create': 10,
  'topic-delete': 11,
  'isr-change': 12,
  bootstrap: 13,
} as const satisfies Record<GroupCommand['type'], number>;

/** Gives a group its identity, when it is founded and when it is founded anew. Never accepted from clients. */
export interface BootstrapCommand {
  readonly type: 'bootstrap';
  readonly clusterId: string;
  readonly member: MemberContext;
}

export type GroupCommand = Command | BootstrapCommand;

export interface Proposal {
  /** The replica that took the client's call and answers it. */
  readonly origin: ReplicaId;
  /** The origin's own number of the call. */
  readonly sequence: number;
  readonly requestId: RequestId;
  readonly command: GroupCommand;
}

type CommandOf<T extends GroupCommand['type']> = Extract<GroupCommand, { readonly type: T }>;

interface CommandCodec<T extends GroupCommand['type']> {
  write(writer: ByteWriter, command: CommandOf<T>): void;
  read(reader: ByteReader, isRecords: boolean): CommandOf<T>;
}

const codecs: { readonly [T in GroupCommand['type']]: CommandCodec<T> } = {
  transaction: { write: writeTransaction, read: readTransaction },
  compact: {
    write: (writer, { revision }) => writer.varint(revision),
    read: (reader) => ({ type: 'compact', revision: reader.varint() }),
  },
  'lease-grant': {
    write(writer, { lease, ttlMs }) {
      writer.varint(lease);
      writer.varint(ttlMs);
    },
    read: (reader) => ({ type: 'lease-grant', lease: reader.varint(), ttlMs: reader.varint() }),
  },
  'lease-revoke': {
    write: (writer, { lease }) => writer.varint(lease),
    read: (reader) => ({ type: 'lease-revoke', lease: reader.varint() }),
  },
  'lease-expire': {
    write(writer, { lease, epoch }) {
      writer.varint(lease);
      writer.varint(epoch);
    },
    read: (reader) => ({ type: 'lease-expire', lease: reader.varint(), epoch: reader.varint() }),
  },
  'node-register': {
    write(writer, { node, addresses, roles, rack, ttlMs }) {
      writer.text(node);
      writer.varint(addresses.length);
      for (const [listener, address] of addresses) {
        writer.text(listener);
        writer.text(address);
      }
      writeTexts(writer, roles);
      writer.text(rack);
      writer.varint(ttlMs);
    },
    read: (reader) => ({
      type: 'node-register',
      node: reader.text(),
      addresses: readList(reader, () => [reader.text(), reader.text()] as const),
      roles: readTexts(reader),
      rack: reader.text(),
      ttlMs: reader.varint(),
    }),
  },
  'node-unregister': {
    write(writer, { node, epoch }) {
      writer.text(node);
      writer.varint(epoch);
    },
    read: (reader) => ({ type: 'node-unregister', node: reader.text(), epoch: reader.varint() }),
  },
  'node-expire': {
    write(writer, { node, epoch }) {
      writer.text(node);
      writer.varint(epoch);
    },
    read: (reader) => ({ type: 'node-expire', node: reader.text(), epoch: reader.varint() }),
  },
  'node-report': {
    write(writer, { node, epoch, report }) {
      writer.text(node);
      writer.varint(epoch);
      writeReport(writer, report);
    },
    read: (reader) => ({
      type: 'node-report',
      node: reader.text(),
      epoch: reader.varint(),
      report: readReport(reader),
    }),
  },
  'topic-create': {
    write(writer, { tenant, topic, partitions, replicationFactor }) {
      writer.text(tenant);
      writer.text(topic);
      writer.varint(partitions);
      writer.varint(replicationFactor);
    },
    read: (reader) => ({
      type: 'topic-create',
      tenant: reader.text(),
      topic: reader.text(),
      partitions: reader.varint(),
      replicationFactor: reader.varint(),
    }),
  },
  'topic-delete': {
    write(writer, { tenant, topic }) {
      writer.text(tenant);
      writer.text(topic);
    },
    read: (reader) => ({ type: 'topic-delete', tenant: reader.text(), topic: reader.text() }),
  },
  'isr-change': {
    write(writer, command) {
      writer.text(command.tenant);
      writer.text(command.topic);
      writer.varint(command.partition);
      writer.text(command.node);
      writer.varint(command.nodeEpoch);
      writer.varint(command.leaderEpoch);
      writer.varint(command.partitionEpoch);
      writeTexts(writer, command.isr);
    },
    read: (reader) => ({
      type: 'isr-change',
      tenant: reader.text(),
      topic: reader.text(),
      partition: reader.varint(),
      node: reader.text(),
      nodeEpoch: reader.varint(),
      leaderEpoch: reader.varint(),
      partitionEpoch: reader.varint(),
      isr: readTexts(reader),
    }),
  },
  bootstrap: {
    write(writer, { clusterId, member }) {
      writer.text(clusterId);
      writer.varint(member.replica);
      writer.text(member.name);
      writer.text(member.address);
    },
    read: (reader) => ({
      type: 'bootstrap',
      clusterId: reader.text(),
      member: { replica: reader.varint(), name: reader.text(), address: reader.text() },
    }),
  },
};

const typeOfTag = new Map<number, GroupCommand['type']>(
  (Object.keys(commandTags) as GroupCommand['type'][]).map((type) => [commandTags[type], type]),
);

/** One per thread: encoding is synchronous, and what it gives out is copied. */
const scratch = new ByteWriter(4096);

/**
 * Throws `RangeError` when a number cannot be carried (negative, not whole, above 2^53 - 1), a text is not well-formed
 * Unicode, or a request id has not 16 bytes: callers check what comes from clients first, with words for the field.
 */
export function encodeProposal({ origin, sequence, requestId, command }: Proposal): Uint8Array {
  scratch.reset();
  if (requestId !== null && requestId.length !== REQUEST_ID_BYTES) throw new RangeError('A request id has 16 bytes');
  const isRecords = command.type === 'transaction' && command.scope === 'records';
  scratch.byte(VERSION);
  scratch.byte((requestId === null ? 0 : proposalFlags.requestId) | (isRecords ? proposalFlags.records : 0));
  scratch.varint(origin);
  scratch.varint(sequence);
  if (requestId !== null) scratch.raw(requestId);
  scratch.byte(commandTags[command.type]);
  // The table is keyed by the type of the command, which the compiler cannot see through.
  (codecs[command.type] as CommandCodec<typeof command.type>).write(scratch, command as never);
  return scratch.finish();
}

/** Keys and values are views of `bytes`. Throws `MalformedError` for unknown versions and broken bytes. */
export function decodeProposal(bytes: Uint8Array): Proposal {
  const reader = new ByteReader(bytes);
  const version = reader.byte();
  if (version !== VERSION) {
    throw new MalformedError(`Cannot apply an entry of the unknown version ${version}: this program is too old`);
  }
  const flags = reader.byte();
  const origin = reader.varint();
  const sequence = reader.varint();
  const requestId = (flags & proposalFlags.requestId) === 0 ? null : reader.raw(REQUEST_ID_BYTES);
  const tag = reader.byte();
  const type = typeOfTag.get(tag);
  if (type === undefined) throw new MalformedError(`Cannot apply the unknown command ${tag}: this program is too old`);
  const command = codecs[type].read(reader, (flags & proposalFlags.records) !== 0);
  reader.end();
  return { origin, sequence, requestId, command };
}

function writeTransaction(writer: ByteWriter, { compares, success, failure }: TransactionCommand): void {
  writer.varint(compares.length);
  for (const compare of compares) writeCompare(writer, compare);
  writer.varint(success.length);
  for (const operation of success) writeOperation(writer, operation);
  writer.varint(failure.length);
  for (const operation of failure) writeOperation(writer, operation);
}

function readTransaction(reader: ByteReader, isRecords: boolean): TransactionCommand {
  const compares = readList(reader, readCompare);
  const success = readList(reader, readOperation);
  const failure = readList(reader, readOperation);
  return isRecords
    ? { type: 'transaction', scope: 'records', compares, success, failure }
    : { type: 'transaction', compares, success, failure };
}

function writeCompare(writer: ByteWriter, { target, relation, key, operand }: Compare): void {
  if ((target === 'value') !== (typeof operand === 'object')) {
    throw new RangeError(`The operand of a compare of ${target} has the wrong type`);
  }
  writer.byte(compareTargets.indexOf(target));
  writer.byte(compareRelations.indexOf(relation));
  writer.bytes(key);
  if (typeof operand === 'number') writer.varint(operand);
  else writer.bytes(operand);
}

function readCompare(reader: ByteReader): Compare {
  const target = wordOf(compareTargets, reader.byte());
  const relation = wordOf(compareRelations, reader.byte());
  const key = reader.bytes();
  return { key, target, relation, operand: target === 'value' ? reader.bytes() : reader.varint() };
}

function writeOperation(writer: ByteWriter, operation: Operation): void {
  writer.byte(operationTags[operation.type]);
  if (operation.type === 'set') {
    writer.byte(operation.returnPrevious ? operationFlags.previous : 0);
    writer.bytes(operation.key);
    writer.bytes(operation.value);
    writer.varint(operation.lease);
    return;
  }
  const end = operation.end === null ? 0 : operationFlags.end;
  if (operation.type === 'delete') {
    writer.byte(end | (operation.returnPrevious ? operationFlags.previous : 0));
    writeSpan(writer, operation.key, operation.end);
    return;
  }
  writer.byte(
    end |
      (operation.isReverse ? operationFlags.reverse : 0) |
      (operation.keysOnly ? operationFlags.keysOnly : 0) |
      (operation.countOnly ? operationFlags.countOnly : 0),
  );
  writeSpan(writer, operation.key, operation.end);
  writer.varint(operation.limit);
}

function readOperation(reader: ByteReader): Operation {
  const tag = reader.byte();
  const flags = reader.byte();
  const key = reader.bytes();
  if (tag === operationTags.set) {
    return {
      type: 'set',
      key,
      value: reader.bytes(),
      lease: reader.varint(),
      returnPrevious: (flags & operationFlags.previous) !== 0,
    };
  }
  const end = (flags & operationFlags.end) === 0 ? null : reader.bytes();
  if (tag === operationTags.delete) {
    return { type: 'delete', key, end, returnPrevious: (flags & operationFlags.previous) !== 0 };
  }
  if (tag !== operationTags.range) throw new MalformedError(`An operation has the unknown tag ${tag}`);
  return {
    type: 'range',
    key,
    end,
    limit: reader.varint(),
    isReverse: (flags & operationFlags.reverse) !== 0,
    keysOnly: (flags & operationFlags.keysOnly) !== 0,
    countOnly: (flags & operationFlags.countOnly) !== 0,
  };
}

function writeSpan(writer: ByteWriter, key: Bytes, end: Bytes | null): void {
  writer.bytes(key);
  if (end !== null) writer.bytes(end);
}

function writeReport(writer: ByteWriter, report: NodeReport): void {
  writer.float64(report.cpuShare);
  writer.float64(report.memoryBytes);
  writer.float64(report.diskFreeBytes);
  writer.float64(report.connections);
  writer.float64(report.bytesInPerS);
  writer.float64(report.bytesOutPerS);
}

function readReport(reader: ByteReader): NodeReport {
  return {
    cpuShare: reader.float64(),
    memoryBytes: reader.float64(),
    diskFreeBytes: reader.float64(),
    connections: reader.float64(),
    bytesInPerS: reader.float64(),
    bytesOutPerS: reader.float64(),
  };
}

function writeTexts(writer: ByteWriter, texts: readonly string[]): void {
  writer.varint(texts.length);
  for (const text of texts) writer.text(text);
}

function readTexts(reader: ByteReader): string[] {
  return readList(reader, () => reader.text());
}

function readList<T>(reader: ByteReader, read: (reader: ByteReader) => T): T[] {
  const count = reader.count();
  const list: T[] = [];
  for (let index = 0; index < count; index++) list.push(read(reader));
  return list;
}

function wordOf<T extends string>(words: readonly T[], index: number): T {
  if (index >= words.length) throw new MalformedError(`A word has the unknown number ${index}`);
  return words[index];
}
