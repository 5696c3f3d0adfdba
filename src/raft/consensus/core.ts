/**
 * The state that the parts of the consensus core share, and its outbox. Raft worker. The parts are files of functions over
 * this: `roles` (who am I), `election`, `replication` and `transfer` (leader), `following`, `reads`, `reconfiguration`.
 */
import { LogView } from './log-view.ts';
import { isVoter } from './membership.ts';
import type { ConsensusOptions } from './options.ts';
import { Progress } from './progress.ts';
import { ReadRequests } from './read-requests.ts';
import type { LogIndex, Membership, Message, ReadState, ReplicaId, Role, Term } from './types.ts';

/** Durable entries that may stay in memory because they are not applied yet; the rest is read again when its turn comes. */
const tailBytesMax = 8 * 1024 * 1024;

/** What a leader knows, for the time of its leadership. */
export class Leadership {
  /** Everybody in the membership except the leader. */
  readonly progress = new Map<ReplicaId, Progress>();
  readonly reads = new ReadRequests();
  /** Its first entry: once that is committed, the commit index is that of the whole group. */
  readonly firstIndex: LogIndex;
  /** No membership change is begun before everything up to here is applied. */
  pendingMembershipIndex: LogIndex;
  /** Who is to lead next; 0 for nobody. Nothing is proposed in the meantime. */
  transferTarget: ReplicaId = 0;
  /** Ticks since the transfer began. */
  transferElapsed = 0;
  /** All followers are to know of what is committed up to here, with an append of its own if there is no other. */
  announcedCommit: LogIndex = 0;
  /** Of entries of this term that were not handed out for applying yet. */
  uncommittedBytes = 0;

  constructor(lastIndex: LogIndex) {
    this.firstIndex = lastIndex + 1;
    this.pendingMembershipIndex = lastIndex;
  }
}

export class Core {
  readonly replica: ReplicaId;
  readonly options: ConsensusOptions;
  readonly log: LogView;

  term: Term;
  /** Whom this replica voted for in `term`; 0 for nobody. */
  vote: ReplicaId;
  role: Role = 'follower';
  leader: ReplicaId = 0;
  /** Not null exactly while `role` is `leader`. */
  leadership: Leadership | null = null;
  membership: Membership;
  /** Answers of the election under way. */
  readonly votes = new Map<ReplicaId, boolean>();

  /** Ticks since the leader was heard of; on a leader: since its last check of the quorum. */
  electionElapsed = 0;
  heartbeatElapsed = 0;
  electionTimeout = 0;

  messages: Message[] = [];
  messagesAfterPersist: Message[] = [];
  readStates: ReadState[] = [];

  constructor(options: ConsensusOptions) {
    const { hardState, snapshot } = options.log.initialState();
    this.replica = options.replica;
    this.options = options;
    this.log = new LogView(options.log, options.applied, Math.max(hardState.commit, snapshot.index), {
      committedBytesMax: options.committedBytesMax,
      tailBytesMax,
    });
    // A snapshot that was installed right before a crash may be of a newer term than the hard state; then nothing was
    // promised in that term.
    const isBehind = this.log.lastTerm > hardState.term;
    this.term = isBehind ? this.log.lastTerm : hardState.term;
    this.vote = isBehind ? 0 : hardState.vote;
    this.membership = options.membership;
    this.randomizeElectionTimeout();
  }

  /** Sent at once: promises nothing that has to be durable. */
  send(message: Message): void {
    this.messages.push(message);
  }

  /** Sent when everything that was decided up to now is durable: a vote, the request for one, an acknowledgement. */
  sendAfterPersist(message: Message): void {
    this.messagesAfterPersist.push(message);
  }

  /** This replica's log agrees with the leader's up to `index`. */
  acknowledge(to: ReplicaId, index: LogIndex): void {
    const waiting = this.messagesAfterPersist;
    const last = waiting[waiting.length - 1];
    // The acknowledgements of one round become one.
    if (last?.type === 'append-response' && !last.isRejected && last.to === to && last.term === this.term) {
      if (last.index >= index) return;
      waiting.pop();
    }
    this.sendAfterPersist({
      type: 'append-response',
      from: this.replica,
      to,
      term: this.term,
      index,
      isRejected: false,
      hintIndex: 0,
      hintTerm: 0,
    });
  }

  /** Whether it has a vote in the membership that it knows. */
  get isVoter(): boolean {
    return isVoter(this.membership, this.replica);
  }

  /** Whether a leader was heard of within the shortest election time-out: no reason to want another one. */
  get hasLiveLeader(): boolean {
    return this.leader !== 0 && this.electionElapsed < this.options.electionTicks;
  }

  /**
   * Up to where entries may be applied. A leader applies what a quorum of others has made durable; everybody else waits for
   * its own disk, so that its state is not ahead of its log after a crash.
   */
  get applicable(): LogIndex {
    return this.role === 'leader' ? this.log.commit : Math.min(this.log.commit, this.log.durable);
  }

  randomizeElectionTimeout(): void {
    const { electionTicks } = this.options;
    this.electionTimeout = electionTicks + this.options.random(electionTicks);
  }

  newProgress(replica: ReplicaId, isActive: boolean): Progress {
    return new Progress(replica, this.log.lastIndex + 1, isActive, this.options);
  }
}
