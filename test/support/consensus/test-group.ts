/** A group of replicas and a network that delivers in order, for tests that play one situation. */
import type { Membership, Message, ReplicaId } from '../../../src/raft/consensus/types.ts';
import { command, membershipOf, positionOf, type TestOptions, TestReplica } from './test-replica.ts';

export class TestGroup {
  readonly replicas = new Map<ReplicaId, TestReplica>();
  readonly #options: TestOptions;
  readonly #membership: Membership;
  /** Messages under way, oldest first. */
  network: Message[] = [];
  /** Messages for which this is true are lost. */
  isLost: (message: Message) => boolean = () => false;
  /** Everything that was sent, also what was lost. */
  sent: Message[] = [];

  constructor(voters: readonly ReplicaId[], options: TestOptions = {}, learners: readonly ReplicaId[] = []) {
    this.#options = options;
    this.#membership = membershipOf(voters, learners);
    for (const id of [...voters, ...learners]) this.add(id);
  }

  /** A replica with an empty disk that knows the first membership. */
  add(id: ReplicaId, options: TestOptions = {}): TestReplica {
    const replica = new TestReplica(id, positionOf(0, 0, this.#membership), { ...this.#options, ...options });
    this.replicas.set(id, replica);
    return replica;
  }

  at(id: ReplicaId): TestReplica {
    return this.replicas.get(id)!;
  }

  /** Lets `id` do what it has to do; its messages go on their way. */
  settle(id: ReplicaId): void {
    const replica = this.at(id);
    replica.settle();
    this.collect(replica);
  }

  collect(replica: TestReplica): void {
    for (const message of replica.outbox) {
      this.sent.push(message);
      if (!this.isLost(message)) this.network.push(message);
      else if (message.type === 'snapshot') replica.core.reportSnapshot(message.to, false);
    }
    replica.outbox = [];
  }

  /** Runs until nothing is under way and nothing is left to tell; `only` these take part, what is sent to others is lost. */
  stabilize(only: readonly ReplicaId[] = [...this.replicas.keys()]): void {
    do this.run(only);
    while (only.some((id) => this.#tellCommit(id)));
  }

  /** Runs until nothing is under way. */
  run(only: readonly ReplicaId[] = [...this.replicas.keys()]): void {
    for (let round = 0; round < 1_000; round++) {
      for (const id of only) this.settle(id);
      const messages = this.network;
      this.network = [];
      if (messages.length === 0) return;
      for (const message of messages) if (only.includes(message.to)) this.deliver(message);
    }
    throw new Error('The group does not come to rest');
  }

  /** As the driver does when nothing else came for a moment. */
  #tellCommit(id: ReplicaId): boolean {
    const { core } = this.at(id);
    const index = core.untoldCommit();
    if (index > 0) core.tellCommit(index);
    return index > 0;
  }

  deliver(message: Message): void {
    const target = this.replicas.get(message.to);
    if (target === undefined) return;
    target.receive(message);
    if (message.type === 'snapshot') this.replicas.get(message.from)?.core.reportSnapshot(message.to, true);
  }

  elect(id: ReplicaId, only?: readonly ReplicaId[]): void {
    this.at(id).core.campaign();
    this.stabilize(only);
  }

  tick(id: ReplicaId, times = 1): void {
    for (let i = 0; i < times; i++) this.at(id).core.tick();
  }

  propose(id: ReplicaId, ...texts: readonly string[]): string {
    return this.at(id).core.propose(texts.map(command));
  }

  leader(): ReplicaId {
    for (const { id, core } of this.replicas.values()) if (core.status().role === 'leader') return id;
    return 0;
  }
}
