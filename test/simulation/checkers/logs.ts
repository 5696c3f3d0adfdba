/**
 * Follows what each replica writes to its log: log matching, leader completeness, and that a restarted replica still has
 * what it acknowledged.
 */
import { crc32 } from 'node:zlib';
import {
  type Entry,
  entryKinds,
  type LogIndex,
  type LogReader,
  type Message,
  type ReplicaId,
  type SnapshotPosition,
  type Term,
} from '../../../src/raft/consensus/types.ts';
import type { LogWrite } from '../../../src/raft/ports.ts';
import { demand } from '../violation.ts';

interface Shadow {
  /** Position before the first entry of `terms`. */
  base: LogIndex;
  baseTerm: Term;
  /** Terms of the entries after `base`. */
  terms: Term[];
  /** Indexes of the entries that change the membership. */
  membershipEntries: LogIndex[];
  /** Up to here the replica told a leader that it has the entries. */
  promised: LogIndex;
}

interface Known {
  readonly digest: number;
  readonly previousTerm: Term;
}

export interface Committed {
  readonly term: Term;
  readonly digest: number;
  /** The highest term that had a leader when the entry was first applied. */
  readonly knownInTerm: Term;
}

export function digestOf(entry: Entry): number {
  return crc32(entry.data, entry.kind);
}

export class LogChecker {
  readonly #shadows = new Map<ReplicaId, Shadow>();
  readonly #known = new Map<number, Known>();
  /** What was applied somewhere, by index; index 0 is not used. */
  readonly committed: (Committed | undefined)[] = [undefined];

  #shadow(replica: ReplicaId): Shadow {
    let shadow = this.#shadows.get(replica);
    if (shadow === undefined) {
      shadow = { base: 0, baseTerm: 0, terms: [], membershipEntries: [], promised: 0 };
      this.#shadows.set(replica, shadow);
    }
    return shadow;
  }

  onAppend(replica: ReplicaId, write: LogWrite): void {
    const shadow = this.#shadow(replica);
    for (const entry of write.entries) this.#onEntry(replica, shadow, entry);
  }

  #onEntry(replica: ReplicaId, shadow: Shadow, entry: Entry): void {
    const offset = entry.index - shadow.base - 1;
    demand(
      offset >= 0 && offset <= shadow.terms.length,
      'log-matching',
      () =>
        `${replica} wrote entry ${entry.index} to a log of ${shadow.base + 1} to ${shadow.base + shadow.terms.length}`,
    );
    if (offset < shadow.terms.length) {
      shadow.terms.length = offset;
      shadow.membershipEntries = shadow.membershipEntries.filter((index) => index < entry.index);
      shadow.promised = Math.min(shadow.promised, entry.index - 1);
      const committed = this.committed[entry.index];
      demand(
        committed === undefined || committed.term === entry.term,
        'leader-completeness',
        () =>
          `${replica} replaced the committed entry ${entry.index} of term ${committed?.term} by one of term ${entry.term}`,
      );
    }
    const previousTerm = offset === 0 ? shadow.baseTerm : (shadow.terms[offset - 1] as Term);
    shadow.terms.push(entry.term);
    if (entry.kind === entryKinds.membership) shadow.membershipEntries.push(entry.index);
    const key = entry.term * 0x1_0000_0000 + entry.index;
    const digest = digestOf(entry);
    const known = this.#known.get(key);
    if (known === undefined) {
      this.#known.set(key, { digest, previousTerm });
      return;
    }
    demand(
      known.digest === digest && known.previousTerm === previousTerm,
      'log-matching',
      () =>
        `Entry ${entry.index} of term ${entry.term} differs at ${replica}: digest ${digest} after term ${previousTerm}, ` +
        `elsewhere ${known.digest} after term ${known.previousTerm}`,
    );
  }

  onReset(replica: ReplicaId, position: SnapshotPosition): void {
    const shadow = this.#shadow(replica);
    for (let i = Math.max(0, position.index - shadow.base); i < shadow.terms.length; i++) {
      const committed = this.committed[shadow.base + i + 1];
      demand(
        committed === undefined || committed.term !== shadow.terms[i],
        'leader-completeness',
        () => `${replica} gave up the committed entry ${shadow.base + i + 1} for a snapshot at ${position.index}`,
      );
    }
    shadow.base = position.index;
    shadow.baseTerm = position.term;
    shadow.terms = [];
    shadow.membershipEntries = [];
    // What was acknowledged behind it was replaced by the leader's log, which has other entries there.
    shadow.promised = Math.min(shadow.promised, position.index);
  }

  onSend(message: Message): void {
    if (message.type !== 'append-response' || message.isRejected) return;
    const shadow = this.#shadow(message.from);
    const last = shadow.base + shadow.terms.length;
    // Waited for the disk while a leader of a later term replaced the entries: as good as delayed on the way.
    if (message.term < (shadow.terms.at(-1) ?? shadow.baseTerm)) return;
    demand(
      message.index <= last,
      'promise-kept',
      () => `${message.from} acknowledged entry ${message.index}; its log ends at ${last}`,
    );
    if (message.index > shadow.promised) shadow.promised = message.index;
  }

  /** Whether some log has a change of the membership behind `index`, which may be committed or not. */
  hasMembershipAfter(index: LogIndex): boolean {
    for (const { membershipEntries } of this.#shadows.values()) {
      if ((membershipEntries.at(-1) ?? 0) > index) return true;
    }
    return false;
  }

  /** The log as a restarted replica found it, and up to where its state makes up for what the log lacks. */
  onStart(replica: ReplicaId, log: LogReader, applied: LogIndex): void {
    const shadow = this.#shadow(replica);
    const first = log.firstIndex();
    const last = log.lastIndex();
    demand(
      Math.max(last, applied) >= shadow.promised,
      'promise-kept',
      () =>
        `${replica} came back with a log up to ${last}, applied ${applied}, and had acknowledged ${shadow.promised}`,
    );
    const terms: Term[] = [];
    for (let index = first; index <= last; index++) {
      const term = log.term(index) as Term;
      const before = shadow.terms[index - shadow.base - 1];
      demand(
        index <= applied || index > shadow.promised || before === undefined || before === term,
        'promise-kept',
        () => `${replica} came back with term ${term} at the acknowledged entry ${index}, it was ${before}`,
      );
      terms.push(term);
    }
    shadow.base = first - 1;
    shadow.baseTerm = log.term(first - 1) ?? 0;
    shadow.terms = terms;
    shadow.membershipEntries = shadow.membershipEntries.filter((index) => index >= first && index <= last);
  }

  /** The new leader of `term` must have everything that was known to be committed in earlier terms. */
  onLeader(replica: ReplicaId, term: Term): void {
    const shadow = this.#shadow(replica);
    for (let index = this.committed.length - 1; index > shadow.base; index--) {
      const committed = this.committed[index];
      if (committed === undefined || committed.knownInTerm > term) continue;
      const mine = shadow.terms[index - shadow.base - 1];
      demand(
        mine === committed.term,
        'leader-completeness',
        () =>
          `${replica} leads term ${term} with term ${mine} at entry ${index}, which was committed with ${committed.term}`,
      );
      // With log matching the rest agrees too.
      return;
    }
  }

  /**
   * The leader of `term` applies an entry before everybody else: while it leads it may only have committed by counting who
   * holds an entry of its own term (section 5.4.2 of the Raft paper).
   */
  onLeaderCommit(replica: ReplicaId, term: Term, commit: LogIndex): void {
    const shadow = this.#shadow(replica);
    const mine = shadow.terms[commit - shadow.base - 1];
    demand(
      mine === undefined || mine === term,
      'commit-rule',
      () => `${replica} leads term ${term} and has committed entry ${commit} of term ${mine} by itself`,
    );
  }

  /** The end of the longest log. */
  get lastIndexMax(): LogIndex {
    let last = 0;
    for (const { base, terms } of this.#shadows.values()) last = Math.max(last, base + terms.length);
    return last;
  }
}
