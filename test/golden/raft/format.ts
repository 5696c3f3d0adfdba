/** How the golden logs of the consensus core show messages, entries and rounds: one line each, every field. */
import { decodeMembershipChange } from '../../../src/raft/consensus/membership-codec.ts';
import {
  type Entry,
  entryKinds,
  type Membership,
  type Message,
  type Ready,
  type SnapshotPosition,
} from '../../../src/raft/consensus/types.ts';
import { textOf } from '../../support/consensus/test-replica.ts';

export function formatMembership(membership: Membership): string {
  const parts = [`voters=${membership.voters.join(',')}`];
  if (membership.outgoing.length > 0) parts.push(`outgoing=${membership.outgoing.join(',')}`);
  if (membership.learners.length > 0) parts.push(`learners=${membership.learners.join(',')}`);
  if (membership.learnersNext.length > 0) parts.push(`learners-next=${membership.learnersNext.join(',')}`);
  if (membership.autoLeave) parts.push('auto-leave');
  return parts.join(' ');
}

export function formatPosition(position: SnapshotPosition): string {
  return `${position.index}/${position.term} (${formatMembership(position.membership)})`;
}

/** index/term and content. */
export function formatEntry(entry: Entry): string {
  return `${entry.index}/${entry.term} ${formatContent(entry)}`;
}

export function formatEntries(entries: readonly Entry[]): string {
  return `[${entries.map(formatEntry).join(', ')}]`;
}

export function formatMessage(message: Message): string {
  return `${message.from}->${message.to} ${message.type} term=${message.term}${formatBody(message)}`;
}

export function formatReady(id: number, ready: Ready): readonly string[] {
  const lines = [`round ${ready.number} of ${id}${ready.mustSync ? ', to be synced' : ''}`];
  if (ready.hardState !== null) {
    const { term, vote, commit } = ready.hardState;
    lines.push(`  hard state: term=${term} vote=${vote} commit=${commit}`);
  }
  if (ready.snapshot !== null) lines.push(`  snapshot: ${formatPosition(ready.snapshot)}`);
  if (ready.entries.length > 0) lines.push(`  write: ${formatEntries(ready.entries)}`);
  for (const message of ready.messages) lines.push(`  send: ${formatMessage(message)}`);
  for (const message of ready.messagesAfterPersist) lines.push(`  send when durable: ${formatMessage(message)}`);
  if (ready.committed.length > 0) lines.push(`  apply: ${formatEntries(ready.committed)}`);
  for (const { context, index } of ready.readStates) lines.push(`  read ${context}: index=${index}`);
  return lines;
}

function formatContent(entry: { readonly kind: number; readonly data: Uint8Array }): string {
  if (entry.kind !== entryKinds.membership) return `"${textOf(entry)}"`;
  const { changes } = decodeMembershipChange(entry.data);
  if (changes.length === 0) return '<leave>';
  return `<${changes.map(({ action, replica }) => `${action}:${replica}`).join(' ')}>`;
}

function formatBody(message: Message): string {
  switch (message.type) {
    case 'vote':
      return `${message.preVote ? ' pre' : ''}${message.isTransfer ? ' transfer' : ''} last=${message.lastIndex}/${message.lastTerm}`;
    case 'vote-response':
      return `${message.preVote ? ' pre' : ''} ${message.isGranted ? 'granted' : 'refused'}`;
    case 'append':
      return ` previous=${message.previousIndex}/${message.previousTerm} commit=${message.commit} ${formatEntries(message.entries)}`;
    case 'append-response':
      return message.isRejected
        ? ` rejected=${message.index} hint=${message.hintIndex}/${message.hintTerm}`
        : ` accepted=${message.index}`;
    case 'heartbeat':
      return ` commit=${message.commit} read=${message.readSequence}`;
    case 'heartbeat-response':
      return ` read=${message.readSequence}`;
    case 'snapshot':
      return ` ${formatPosition(message.position)}`;
    case 'timeout-now':
      return '';
    case 'transfer':
      return ` target=${message.target}`;
    case 'propose':
      return ` [${message.entries.map(formatContent).join(', ')}]`;
    case 'read-index':
      return ` context=${message.context}`;
    case 'read-index-response':
      return ` context=${message.context} index=${message.index}`;
  }
}
