/** Watches the messages that replicas send: one leader per term, one vote per term, also across restarts. */
import type { HardState, Message, ReplicaId, Term } from '../../../src/raft/consensus/types.ts';
import { demand } from '../violation.ts';

interface Promise {
  /** Highest term in which the replica voted or accepted entries. */
  term: Term;
  /** Its vote in `term`; 0 when it gave none. */
  vote: ReplicaId;
}

export class ElectionChecker {
  readonly #leaders = new Map<Term, ReplicaId>();
  readonly #promises = new Map<ReplicaId, Promise>();
  /** Called once per term with the replica that leads it. */
  readonly #onLeader: (replica: ReplicaId, term: Term) => void;
  termMax: Term = 0;

  constructor(onLeader: (replica: ReplicaId, term: Term) => void) {
    this.#onLeader = onLeader;
  }

  /** Terms that had a leader. */
  get electionCount(): number {
    return this.#leaders.size;
  }

  onSend(message: Message): void {
    switch (message.type) {
      case 'append':
      case 'heartbeat':
      case 'snapshot':
      case 'timeout-now':
        this.onLeader(message.from, message.term);
        break;
      case 'vote-response':
        if (!message.preVote && message.isGranted) this.#onVote(message.from, message.term, message.to);
        break;
      case 'append-response':
        if (!message.isRejected) this.#onVote(message.from, message.term, 0);
        break;
      default:
    }
  }

  onLeader(replica: ReplicaId, term: Term): void {
    const known = this.#leaders.get(term);
    if (known === replica) return;
    demand(known === undefined, 'election-safety', () => `Term ${term} has two leaders, ${known} and ${replica}`);
    this.#leaders.set(term, replica);
    if (term > this.termMax) this.termMax = term;
    this.#onVote(replica, term, replica);
    this.#onLeader(replica, term);
  }

  #onVote(voter: ReplicaId, term: Term, candidate: ReplicaId): void {
    let promise = this.#promises.get(voter);
    if (promise === undefined) {
      promise = { term: 0, vote: 0 };
      this.#promises.set(voter, promise);
    }
    if (term < promise.term) return;
    if (term > promise.term) {
      promise.term = term;
      promise.vote = 0;
    }
    if (candidate === 0) return;
    const { vote } = promise;
    demand(
      vote === 0 || vote === candidate,
      'vote-once',
      () => `${voter} voted for ${vote} and for ${candidate} in term ${term}`,
    );
    promise.vote = candidate;
  }

  /** What a replica remembers after a restart must cover what it has promised. */
  onStart(replica: ReplicaId, hardState: HardState): void {
    const promise = this.#promises.get(replica);
    if (promise === undefined) return;
    demand(
      hardState.term >= promise.term,
      'promise-kept',
      () => `${replica} came back with term ${hardState.term} after a promise in term ${promise.term}`,
    );
    demand(
      hardState.term > promise.term || promise.vote === 0 || hardState.vote === promise.vote,
      'promise-kept',
      () =>
        `${replica} came back with a vote for ${hardState.vote} in term ${promise.term}, it was for ${promise.vote}`,
    );
  }
}
