/**
 * The one row outside of the two halves of the store: which half is in force, and all that is not in tables. It is part
 * of every commit, so that the applied index and the data it stands for become durable together. Any thread.
 *
 * ```
 * key 0x00 → format(1) half(1) index term revision compacted epoch clusterId membership members
 * membership = list of voters · outgoing · learners · learnersNext, autoLeave(1)
 * ```
 */
import type { Revision } from '../../core/ports/placement.ts';
import type { LogIndex, Membership, ReplicaId, Term } from '../consensus/types.ts';
import { ByteReader, ByteWriter } from './bytes.ts';
import { CorruptionError } from './errors.ts';
import { type MemberContext, readMembers, writeMembers } from './member-context.ts';

export const rootKey = Buffer.from([0]);
/** The first byte of the keys of each half. */
export const halves = { first: 1, second: 2 } as const;

const FORMAT = 1;

export interface Root {
  readonly half: number;
  readonly index: LogIndex;
  readonly term: Term;
  readonly revision: Revision;
  readonly compactedRevision: Revision;
  /** The last fencing epoch that was given out. */
  readonly epoch: number;
  readonly clusterId: string;
  readonly membership: Membership;
  readonly members: readonly MemberContext[];
}

export const noMembership: Membership = {
  voters: [],
  outgoing: [],
  learners: [],
  learnersNext: [],
  autoLeave: false,
};

export const emptyRoot: Root = {
  half: halves.first,
  index: 0,
  term: 0,
  revision: 0,
  compactedRevision: 0,
  epoch: 0,
  clusterId: '',
  membership: noMembership,
  members: [],
};

const scratch = new ByteWriter(1024);

export function encodeRoot(root: Root): Uint8Array {
  scratch.byte(FORMAT);
  scratch.byte(root.half);
  scratch.varint(root.index);
  scratch.varint(root.term);
  scratch.varint(root.revision);
  scratch.varint(root.compactedRevision);
  scratch.varint(root.epoch);
  scratch.text(root.clusterId);
  writeReplicas(scratch, root.membership.voters);
  writeReplicas(scratch, root.membership.outgoing);
  writeReplicas(scratch, root.membership.learners);
  writeReplicas(scratch, root.membership.learnersNext);
  scratch.byte(root.membership.autoLeave ? 1 : 0);
  writeMembers(scratch, root.members);
  return scratch.finish();
}

export function decodeRoot(bytes: Uint8Array): Root {
  const reader = new ByteReader(bytes);
  const format = reader.byte();
  if (format !== FORMAT)
    throw new CorruptionError(`The state has the format ${format}, which this program cannot read`);
  const root: Root = {
    half: reader.byte(),
    index: reader.varint(),
    term: reader.varint(),
    revision: reader.varint(),
    compactedRevision: reader.varint(),
    epoch: reader.varint(),
    clusterId: reader.text(),
    membership: {
      voters: readReplicas(reader),
      outgoing: readReplicas(reader),
      learners: readReplicas(reader),
      learnersNext: readReplicas(reader),
      autoLeave: reader.flag(),
    },
    members: readMembers(reader),
  };
  reader.end();
  return root;
}

/** The beginning of the row, for readers on other threads that want no more. */
export function decodeRootFront(bytes: Uint8Array): Pick<Root, 'half' | 'index' | 'revision' | 'compactedRevision'> {
  const reader = new ByteReader(bytes);
  const format = reader.byte();
  if (format !== FORMAT)
    throw new CorruptionError(`The state has the format ${format}, which this program cannot read`);
  const half = reader.byte();
  const index = reader.varint();
  reader.varint();
  return { half, index, revision: reader.varint(), compactedRevision: reader.varint() };
}

/** Everybody who takes part, in whatever way. */
export function replicasOf({ voters, outgoing, learners, learnersNext }: Membership): ReadonlySet<ReplicaId> {
  return new Set([...voters, ...outgoing, ...learners, ...learnersNext]);
}

/** The half that is not in force. */
export function otherHalf(half: number): number {
  return half === halves.first ? halves.second : halves.first;
}

function writeReplicas(writer: ByteWriter, replicas: readonly ReplicaId[]): void {
  writer.varint(replicas.length);
  for (const replica of replicas) writer.varint(replica);
}

function readReplicas(reader: ByteReader): ReplicaId[] {
  const replicas: ReplicaId[] = [];
  for (let left = reader.count(); left > 0; left--) replicas.push(reader.varint());
  return replicas;
}
