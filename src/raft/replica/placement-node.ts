/**
 * The placement centre as the API of this node calls it: promises around a `Replica`, and the policy of the event loop.
 * Thread: the Raft worker.
 *
 * The work of one turn is done in one go after its input was read: all requests that arrived in the turn share one write
 * to the log, one sync, one round of reads.
 */
import {
  type Command,
  type CommandResult,
  type GroupStatus,
  type LeaseId,
  PlacementError,
  type PlacementNode,
  type Query,
  type QueryResult,
  type RequestId,
  type Watcher,
  type WatchRequest,
} from '../../core/ports/placement.ts';
import type { ReplicaId } from '../consensus/types.ts';
import { Replica } from './replica.ts';
import type { NewMember, ReplicaOptions, ReplicaPorts, Reply } from './replica-ports.ts';

/** How long a change of the membership may take. */
const MEMBERSHIP_TIMEOUT_MS = 10_000;
const ADDRESS_LENGTH_MAX = 300;
const NAME_LENGTH_MAX = 64;
/** How often it is looked whether another replica leads by now. */
const HAND_OVER_POLL_MS = 10;

interface Member {
  readonly replica: string;
  readonly name: string;
  readonly address: string;
  readonly staysLearner?: boolean;
}

interface TimeLimit {
  readonly timeoutMs: number;
}

/** Everything but when to call the replica, which is the policy of this class. */
export type LocalNodePorts = Omit<ReplicaPorts, 'wake' | 'wakeLater'>;

/** Followers whose callers wait for nothing hear of a commit at most about twice as late. */
const TELL_COMMIT_MS = 1;

export class LocalPlacementNode implements PlacementNode {
  readonly replica: Replica;
  private readonly now: () => number;
  private isTicking = false;
  private isWoken = false;
  private later: NodeJS.Timeout | null = null;

  /** Starts to take part at once. Throws `CorruptionError` for a log or state that cannot be used. */
  constructor(ports: LocalNodePorts, options: ReplicaOptions) {
    this.now = () => ports.now();
    const process = (): void => replica.process();
    const replica: Replica = new Replica(
      {
        log: ports.log,
        state: ports.state,
        transport: ports.transport,
        now: () => ports.now(),
        random: (below) => ports.random(below),
        freeBytes: () => ports.freeBytes(),
        stateBytes: () => ports.stateBytes(),
        onFault: (fault) => ports.onFault(fault),
        onChange: () => ports.onChange(),
        wake: () => {
          if (this.isTicking) this.isWoken = true;
          else setImmediate(process);
        },
        wakeLater: () => this.wakeLater(),
      },
      options,
    );
    this.replica = replica;
  }

  /** To be called by the host once in its unit of time of elections. What is due is done before it returns. */
  tick(): void {
    this.isTicking = true;
    this.replica.tick();
    this.isTicking = false;
    if (!this.isWoken) return;
    this.isWoken = false;
    this.replica.process();
  }

  /** Leads a group that has no other member. */
  get isAlone(): boolean {
    return this.replica.isAlone;
  }

  execute(command: Command, options: { readonly requestId: RequestId; readonly timeoutMs: number }) {
    return promised<CommandResult>((reply) =>
      this.replica.propose(command, options.requestId, this.now() + options.timeoutMs, reply),
    );
  }

  query(query: Query, { timeoutMs }: TimeLimit): Promise<QueryResult> {
    return promised((reply) => this.replica.read(query, this.now() + timeoutMs, reply));
  }

  watch(request: WatchRequest, watcher: Watcher): { cancel(): void } {
    return this.replica.watch(request, watcher);
  }

  keepAlive(lease: LeaseId, { timeoutMs }: TimeLimit): Promise<CommandResult> {
    return promised((reply) => this.replica.keepAlive(lease, this.now() + timeoutMs, reply));
  }

  heartbeat(node: string, epoch: number, { timeoutMs }: TimeLimit): Promise<CommandResult> {
    return promised((reply) => this.replica.heartbeat(node, epoch, this.now() + timeoutMs, reply));
  }

  status(): GroupStatus {
    return this.replica.status();
  }

  addLearner(member: Member): Promise<GroupStatus> {
    return this.change((deadline, reply) => this.replica.addLearner(newMemberOf(member), deadline, reply));
  }

  /** As `addLearner`; the leader promotes the member when it has caught up, unless it is to stay a learner. */
  join(member: Member): Promise<GroupStatus> {
    return this.change((deadline, reply) => this.replica.join(newMemberOf(member), deadline, reply));
  }

  promote(replica: string): Promise<GroupStatus> {
    return this.change((deadline, reply) => this.replica.promote(replicaIdOf(replica), deadline, reply));
  }

  remove(replica: string): Promise<GroupStatus> {
    return this.change((deadline, reply) => this.replica.remove(replicaIdOf(replica), deadline, reply));
  }

  transferLeadership(replica: string): Promise<GroupStatus> {
    return this.change((deadline, reply) => this.replica.transferLeadership(replicaIdOf(replica), deadline, reply));
  }

  /** Hands leadership over, for at most `limitMs`, then stops. Ticks go on until it resolves. Log and store are still open. */
  async stop(limitMs: number): Promise<void> {
    const limit = this.now() + limitMs;
    this.replica.handOver();
    while (this.replica.isHandingOver && this.now() < limit) {
      await new Promise((resolve) => setTimeout(resolve, HAND_OVER_POLL_MS));
    }
    if (this.later !== null) clearTimeout(this.later);
    this.replica.stop();
  }

  private wakeLater(): void {
    if (this.later === null) this.later = setTimeout(() => this.replica.tellCommit(), TELL_COMMIT_MS);
    else this.later.refresh();
  }

  private change(start: (deadline: number, reply: Reply<GroupStatus>) => void): Promise<GroupStatus> {
    return promised((reply) => start(this.now() + MEMBERSHIP_TIMEOUT_MS, reply));
  }
}

function promised<T>(call: (reply: Reply<T>) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    call((outcome) => {
      if (outcome instanceof PlacementError) reject(outcome);
      else resolve(outcome);
    });
  });
}

function newMemberOf({ replica, name, address, staysLearner = false }: Member): NewMember {
  const isAddress = address.length <= ADDRESS_LENGTH_MAX && /^[^\s:]+:\d{1,5}$|^\[[^\s\]]+\]:\d{1,5}$/.test(address);
  if (!isAddress) {
    const shown = JSON.stringify(address.slice(0, 64));
    throw new PlacementError('MEMBERSHIP_REFUSED', `Cannot use address ${shown}: it is not HOST:PORT`);
  }
  if (name === '' || name.length > NAME_LENGTH_MAX) {
    throw new PlacementError('MEMBERSHIP_REFUSED', `Cannot use the name: it has 1 to ${NAME_LENGTH_MAX} characters`);
  }
  return { replica: replicaIdOf(replica), name, address, staysLearner };
}

function replicaIdOf(text: string): ReplicaId {
  const id = /^[1-9]\d{0,15}$/.test(text) ? Number(text) : 0;
  if (id >= 1 && Number.isSafeInteger(id)) return id;
  throw new PlacementError('MEMBERSHIP_REFUSED', `Cannot use replica id "${text.slice(0, 32)}": it is no such number`);
}
