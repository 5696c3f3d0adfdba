/**
 * Commands of this replica's callers that have no answer yet: those that wait to be handed to the leader, and those that
 * were handed over and wait until they are applied here. Thread: the Raft worker; used by `replica.ts`.
 */
import { type CommandResult, PlacementError } from '../../core/ports/placement.ts';
import { type EntryKind, entryKinds, type Term } from '../consensus/types.ts';
import type { Reply } from './replica-ports.ts';

/** Bytes that are handed to the core in one call; below the least bound of its uncommitted log. */
const BATCH_BYTES_MAX = 1024 * 1024;

interface Proposal {
  readonly sequence: number;
  readonly data: Uint8Array;
  readonly deadline: number;
  /** Null when nobody waits for the answer. */
  readonly reply: Reply<CommandResult> | null;
  /**
   * Only the leader of that term may propose it, since its clock decided it; null for calls. Passed on to a later leader,
   * the end of a lease would reach one that has given the lease its full time again.
   */
  readonly leaderTerm: Term | null;
}

type HandOver = (entries: readonly { readonly kind: EntryKind; readonly data: Uint8Array }[]) => boolean;

export class PendingProposals {
  private readonly countMax: number;
  private waiting: Proposal[] = [];
  private readonly inFlight = new Map<number, Proposal & { readonly term: Term }>();
  private oldestTerm: Term = Number.POSITIVE_INFINITY;

  constructor(countMax: number) {
    this.countMax = countMax;
  }

  get isFull(): boolean {
    return this.waiting.length + this.inFlight.size >= this.countMax;
  }

  get isEmpty(): boolean {
    return this.waiting.length === 0 && this.inFlight.size === 0;
  }

  get hasWaiting(): boolean {
    return this.waiting.length > 0;
  }

  add(proposal: Proposal): void {
    this.waiting.push(proposal);
  }

  /** Hands over what waits, in order, in few calls; stops at the first that is not taken. */
  handOver(term: Term, isLeader: boolean, propose: HandOver): void {
    const isStale = ({ leaderTerm }: Proposal): boolean => leaderTerm !== null && (!isLeader || leaderTerm !== term);
    if (this.waiting.some(isStale)) this.waiting = this.waiting.filter((proposal) => !isStale(proposal));
    let first = 0;
    while (first < this.waiting.length) {
      const end = this.endOfBatch(first);
      const batch = this.waiting.slice(first, end);
      if (!propose(batch.map(({ data }) => ({ kind: entryKinds.command, data })))) break;
      for (const proposal of batch) {
        if (proposal.reply !== null) this.inFlight.set(proposal.sequence, { ...proposal, term });
      }
      this.oldestTerm = Math.min(this.oldestTerm, term);
      first = end;
    }
    if (first > 0) this.waiting = this.waiting.slice(first);
  }

  private endOfBatch(first: number): number {
    let bytes = 0;
    let end = first;
    do {
      bytes += this.waiting[end].data.length;
      end++;
    } while (end < this.waiting.length && bytes + this.waiting[end].data.length <= BATCH_BYTES_MAX);
    return end;
  }

  /** The command was applied here. */
  applied(sequence: number, result: CommandResult): void {
    const proposal = this.inFlight.get(sequence);
    if (proposal === undefined) return;
    this.inFlight.delete(sequence);
    proposal.reply?.(result);
  }

  /**
   * An entry of `term` is applied. Whatever a leader of an earlier term had appended and what survives stands before it
   * in the log, so a proposal of an earlier term that has no answer by now is lost, or was passed on and may still come.
   */
  reachedTerm(term: Term): void {
    if (term <= this.oldestTerm) return;
    this.oldestTerm = term;
    for (const [sequence, proposal] of this.inFlight) {
      if (proposal.term >= term) continue;
      this.inFlight.delete(sequence);
      proposal.reply?.(new PlacementError('NO_LEADER', 'The leader changed while the write was on its way'));
    }
    if (this.inFlight.size === 0) this.oldestTerm = Number.POSITIVE_INFINITY;
  }

  /** Answers what waited for longer than its callers would. */
  expire(now: number, hasLeader: boolean): void {
    if (this.waiting.some(({ deadline }) => deadline <= now)) {
      const code = hasLeader ? 'TIMED_OUT' : 'NO_LEADER';
      const late = this.waiting.filter(({ deadline }) => deadline <= now);
      this.waiting = this.waiting.filter(({ deadline }) => deadline > now);
      const message = hasLeader ? 'The write waited for too long' : 'No replica leads the group';
      for (const { reply } of late) reply?.(new PlacementError(code, message));
    }
    for (const [sequence, { deadline, reply }] of this.inFlight) {
      if (deadline > now) continue;
      this.inFlight.delete(sequence);
      reply?.(new PlacementError('TIMED_OUT', 'The write was not committed in time; it may still happen'));
    }
  }

  /** Everything that was handed over gets `error`; what waits keeps waiting. */
  failInFlight(error: PlacementError): void {
    const proposals = [...this.inFlight.values()];
    this.inFlight.clear();
    for (const { reply } of proposals) reply?.(error);
  }

  failAll(error: PlacementError): void {
    const proposals = this.waiting;
    this.waiting = [];
    for (const { reply } of proposals) reply?.(error);
    this.failInFlight(error);
  }
}
