/**
 * The placement centre of one node, put together: identity, storage, replica, cluster port, joining. Thread: the Raft
 * worker; `raft.worker.ts` feeds it with the messages of the main thread.
 */

import { randomInt, randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { MessagePort } from 'node:worker_threads';
import { PlacementError } from '../../core/ports/placement.ts';
import { EventLoopMeter } from '../../observability/event-loop-metrics.ts';
import type { Logger } from '../../observability/log.ts';
import { ThreadMetrics } from '../../observability/metrics.ts';
import { CounterBlock } from '../../shm/counters.ts';
import { Heartbeat } from '../../shm/heartbeat.ts';
import { toError } from '../../std/errors.ts';
import type { BackupSource } from '../api/backup-provider.ts';
import { ClientServer } from '../client/client-server.ts';
import type { ReplicaId } from '../consensus/types.ts';
import type { NodeAnswerMessage, NodeCallMessage, RaftStart, RaftToMain } from '../messages.ts';
import type { Transport } from '../ports.ts';
import { foundGroup } from '../replica/founding.ts';
import { LocalPlacementNode } from '../replica/placement-node.ts';
import { defaultReplicaOptions } from '../replica/replica-ports.ts';
import {
  type JoinAnswer,
  type JoinApplication,
  newTransportCounters,
  type SnapshotMessage,
  type SnapshotReceiver,
} from '../transport/peer-ports.ts';
import type { ClusterPort } from './cluster-port.ts';
import { type Identity, openIdentity, seedsInForce, writeIdentity } from './identity.ts';
import { findGroup, type JoiningOptions, keepAsking } from './joining.ts';
import { MeasuredLog } from './measured-log.ts';
import { NodeCallRelay } from './node-call-relay.ts';
import { NodeSwitch } from './node-switch.ts';
import { newRaftCounts, publishRaftMetrics, raftMetricsLayout } from './raft-metrics.ts';
import { openStorage, type Storage } from './storage.ts';

/** One timer for all that an idle node does: each wake-up of an idle thread costs a quarter of a millisecond. */
const BEAT_MS = 250;
const BEATS_PER_PUBLISHING = 2;
/** Share of the time for the end that another replica is given to take over. */
const HAND_OVER_SHARE = 0.5;
const SERVER_GRACE_MS = 500;
/** A node that is alone needs a few syncs until it leads itself; nothing waits longer for it than this. */
const LONE_LEADER_MS = 5_000;

/** Nobody can be reached without a cluster port. */
const noTransport: Transport = {
  send: () => undefined,
  sendSnapshot: (_message, done) => setImmediate(() => done(false)),
};

export class RaftRuntime {
  private readonly start: RaftStart;
  private readonly log: Logger;
  private readonly post: (message: RaftToMain) => void;
  private readonly storage: Storage;
  private readonly nodes: NodeSwitch;
  private readonly counts = newRaftCounts();
  private readonly traffic = newTransportCounters();
  private readonly clients = new Set<ClientServer>();
  /** Those whose threads read the store by themselves. */
  private readonly storeReaders = new Set<ClientServer>();
  private readonly joining = new AbortController();
  private readonly calls: NodeCallRelay;
  private readonly metrics: ThreadMetrics;
  private readonly heartbeat: Heartbeat;
  private readonly eventLoopMeter: EventLoopMeter;
  private readonly beater: NodeJS.Timeout;
  private beats = 0;
  /** Ticks of a node that has others to hear of; null for one that is alone. */
  private ticker: NodeJS.Timeout | null = null;
  /** The status that was told last, as text. */
  private told = '';
  private identity: Identity;
  private port: ClusterPort | null = null;
  private node: LocalPlacementNode | null = null;
  /** As other nodes know it; '' without a port. */
  private ownAddress = '';
  private seen = { leader: '', role: '' };

  private constructor(start: RaftStart, log: Logger, post: (message: RaftToMain) => void) {
    this.start = start;
    this.log = log;
    this.post = post;
    this.calls = new NodeCallRelay(post);
    this.metrics = new ThreadMetrics(raftMetricsLayout(), new CounterBlock(start.counters));
    this.heartbeat = new Heartbeat(start.heartbeats, 0);
    this.identity = openIdentity(start.folder);
    this.nodes = new NodeSwitch(String(this.identity.replica), this.counts);
    this.storage = openStorage(start.folder, this.identity.replica, start.cluster.diskReserveBytes, (error) =>
      this.node?.replica.reportFault(error),
    );
    const { tornTail } = this.storage.log;
    if (tornTail !== null) log.warn('Log ended in a write that was not finished; it was cut off', { ...tornTail });
    this.eventLoopMeter = new EventLoopMeter(this.metrics, BEAT_MS);
    this.heartbeat.beat();
    this.beater = setInterval(() => this.beat(), BEAT_MS);
  }

  /** Resolves when the node listens and takes part, or looks for a group to take part in. */
  static async start(start: RaftStart, log: Logger, post: (message: RaftToMain) => void): Promise<RaftRuntime> {
    const runtime = new RaftRuntime(start, log, post);
    try {
      await runtime.begin();
      await runtime.ledWhenAlone();
      // Who the members are is known before the node serves.
      runtime.tellStatus();
    } catch (error) {
      await runtime.stop(0);
      throw error;
    }
    return runtime;
  }

  /** Where the node listens; null when it does not. */
  get address(): { readonly host: string; readonly port: number } | null {
    return this.port === null ? null : { host: this.port.host, port: this.port.port };
  }

  /** Serves another thread of the process. */
  connect(port: MessagePort): void {
    const node = this.port?.forwarding(this.nodes) ?? this.nodes;
    const { state } = this.storage;
    const gone = (): void => {
      this.clients.delete(client);
      this.storeReaders.delete(client);
      state.setStoreRead(this.storeReaders.size > 0);
    };
    const client: ClientServer = new ClientServer(port, node, gone, () => {
      this.storeReaders.add(client);
      state.setStoreRead(true);
    });
    this.clients.add(client);
  }

  /** The main thread calls another node, or answers one. */
  handleCall(message: NodeCallMessage | NodeAnswerMessage): void {
    if (message.type === 'node-answer') {
      this.calls.answered(message);
      return;
    }
    const { node, subject, body, timeoutMs } = message;
    const { port, identity } = this;
    const replica = this.replicaOf(node);
    const address = replica === null ? null : this.addressOf(replica);
    this.calls.pass(message, () => {
      if (port === null || address === null) return Promise.reject(new Error('its address is not known'));
      const request = { clusterId: identity.clusterId, from: this.name, to: node, subject, body };
      return port.call(address, request, timeoutMs);
    });
  }

  /** The member of that name; null when there is none. */
  private replicaOf(name: string): ReplicaId | null {
    for (const [replica, member] of this.storage.state.members) if (member.name === name) return replica;
    return null;
  }

  /** Hands leadership over and closes everything, within `limitMs` as far as that depends on others. */
  async stop(limitMs: number): Promise<void> {
    this.joining.abort();
    await this.node?.stop(limitMs * HAND_OVER_SHARE);
    for (const client of [...this.clients]) client.close();
    await this.port?.close(Math.min(SERVER_GRACE_MS, limitMs));
    clearInterval(this.beater);
    if (this.ticker !== null) clearInterval(this.ticker);
    if (this.node !== null && this.node.replica.fault === null) await this.flush();
    await this.storage.close();
  }

  // --- start ---

  private async begin(): Promise<void> {
    await this.openPort();
    const name = this.start.cluster.name || this.identity.name || this.defaultName();
    if (name !== this.identity.name) this.remember({ name });
    const { identity } = this;
    if (identity.clusterId === '') this.joinOrFound();
    else if (identity.isFounder && this.storage.log.lastIndex() === 0) await this.found(identity.clusterId);
    else this.takePart();
    if (identity.clusterId === '' && this.start.cluster.join.length === 0) await this.found(randomUUID());
  }

  /** Whoever has started a node on its own may use it at once. */
  private async ledWhenAlone(): Promise<void> {
    if (this.node === null || this.knownMembers().size > 0) return;
    const limit = performance.now() + LONE_LEADER_MS;
    while (this.node.status().leader === null && this.node.replica.fault === null && performance.now() < limit) {
      await sleep(1);
    }
    this.tellStatus();
  }

  private async openPort(): Promise<void> {
    const { cluster, version } = this.start;
    const { address } = cluster;
    if (address === null) return;
    const { ClusterPort } = await import('./cluster-port.ts');
    const port = await ClusterPort.open({
      settings: { ...cluster, address },
      lastPort: this.identity.port,
      version,
      node: this.nodes,
      backup: { openBackup: () => this.openBackup() },
      handlers: {
        onMessages: (messages) => this.node?.replica.receive(messages),
        beginInstall: (message) => this.beginInstall(message),
        join: (application) => this.takeIn(application),
      },
      transport: {
        addressOf: (replica) => this.addressOf(replica),
        openSnapshot: () => this.storage.state.openSnapshot(),
        onUnreachable: (replica) => this.node?.replica.reportUnreachable(replica),
        onSourceError: (error) => this.node?.replica.reportFault(error),
      },
      identity: () => ({
        clusterId: this.identity.clusterId,
        replica: this.identity.replica,
        name: this.name,
      }),
      isMember: (name) => this.replicaOf(name) !== null,
      answerCall: this.calls.answer,
      counters: this.traffic,
      log: this.log,
    });
    this.port = port;
    const host = port.host.includes(':') ? `[${port.host}]` : port.host;
    this.ownAddress = cluster.advertise ?? `${host}:${port.port}`;
    if (this.identity.port !== port.port) this.remember({ port: port.port });
  }

  /** It joins as a learner, and an operator is to promote it. */
  private get staysLearner(): boolean {
    return this.start.cluster.joinAs === 'learner';
  }

  /** As the node is known to the others. */
  get name(): string {
    return this.identity.name;
  }

  private defaultName(): string {
    const host = hostname()
      .replaceAll(/[^A-Za-z0-9._-]/g, '-')
      .slice(0, 48);
    return this.port === null ? host : `${host}-${this.port.port}`;
  }

  /** Looks for the group in the background: the others may not have started yet. */
  private joinOrFound(): void {
    if (this.start.cluster.join.length === 0) return;
    this.inBackground(async () => {
      const added = await findGroup(this.joiningOptions());
      if (added === null) {
        await this.found(randomUUID());
        return;
      }
      this.log.info('Node was taken into a group', { clusterId: added.clusterId, members: added.members.length });
      const seeds = added.members.map(({ replica, name, address }) => ({ replica, name, address }));
      this.remember({ clusterId: added.clusterId, wantsVote: !this.staysLearner, seeds });
      this.takePart();
    });
  }

  private async found(clusterId: string): Promise<void> {
    this.remember({ clusterId, isFounder: true });
    const founder = { replica: this.identity.replica, name: this.name, address: this.ownAddress };
    await new Promise<void>((resolve, reject) => {
      foundGroup(this.storage.log, [founder], clusterId, (error) => {
        if (error === null) resolve();
        else reject(error);
      });
    });
    this.log.info('Node founds a group', { clusterId, replica: founder.replica, address: this.ownAddress });
    this.takePart();
  }

  private takePart(): void {
    const { log, state, store } = this.storage;
    const { diskReserveBytes } = this.start.cluster;
    const node = new LocalPlacementNode(
      {
        log: new MeasuredLog(log, this.counts),
        state,
        transport: this.port?.transport ?? noTransport,
        now: () => performance.now(),
        random: (below) => randomInt(below),
        freeBytes: () => store.freeBytes(),
        stateBytes: () => store.sizeBytes(),
        onFault: (fault) => this.faulted(fault),
        onChange: () => this.changed(),
      },
      { ...defaultReplicaOptions, replica: this.identity.replica, diskReserveBytes },
    );
    this.node = node;
    this.keepTime();
    this.nodes.connect(node);
    this.port?.connect(this.knownMembers());
    if (this.identity.wantsVote) this.askForVote();
    else this.announceAddress();
  }

  /** A member that is reached elsewhere than before lets the group know. */
  private announceAddress(): void {
    const isDone = (): boolean => this.ownAddress === '' || this.isKnownHere();
    if (isDone()) return;
    this.inBackground(() =>
      keepAsking(
        this.joiningOptions(),
        () => this.addressesOfMembers(),
        isDone,
        async () => {
          await this.node?.join({ ...this.ownMember(), staysLearner: true }).catch(ignorePlacementError);
        },
      ),
    );
  }

  /** The group knows this replica under its name and address of now. A group that was restored does not, at first. */
  private isKnownHere(): boolean {
    const known = this.storage.state.members.get(this.identity.replica);
    return known !== undefined && known.address === this.ownAddress && known.name === this.name;
  }

  private ownMember(): { readonly replica: string; readonly name: string; readonly address: string } {
    return { replica: String(this.identity.replica), name: this.name, address: this.ownAddress };
  }

  private addressesOfMembers(): string[] {
    return [...this.knownMembers()].map((replica) => this.addressOf(replica) ?? '');
  }

  /** The leader promotes a learner that asked for it, and forgets it when it is replaced. */
  private askForVote(): void {
    this.inBackground(async () => {
      await keepAsking(
        this.joiningOptions(),
        () => this.addressesOfMembers(),
        () => this.isVoter(),
      );
      this.remember({ wantsVote: false });
      this.log.info('Node votes', { replica: this.identity.replica });
    });
  }

  private joiningOptions(): JoiningOptions {
    const { replica } = this.identity;
    return {
      own: this.ownAddress,
      addresses: this.start.cluster.join,
      ask: async (address) => {
        const { clusterId } = this.identity;
        const own = { replica, name: this.name, address: this.ownAddress };
        const application = { ...own, clusterId, staysLearner: this.staysLearner && !this.identity.wantsVote };
        return (await this.port?.ask(address, application)) ?? { type: 'failed', reason: 'there is no cluster port' };
      },
      random: () => Math.random(),
      signal: this.joining.signal,
      log: this.log,
    };
  }

  private inBackground(work: () => Promise<void>): void {
    work().catch((error: unknown) => {
      if (this.joining.signal.aborted) return;
      this.faulted(toError(error));
    });
  }

  // --- what other nodes ask ---

  /**
   * This leader's own address comes into the log before the new member does, so a state that has the new member also says
   * where to answer.
   */
  private async takeIn({ clusterId, ...member }: JoinApplication): Promise<JoinAnswer> {
    const { node, identity } = this;
    if (node === null || identity.clusterId === '') return { type: 'unfounded' };
    if (clusterId !== '' && clusterId !== identity.clusterId) {
      return { type: 'refused', reason: 'It belongs to another cluster' };
    }
    try {
      if (!this.isKnownHere()) await node.join(this.ownMember());
      await node.join({ ...member, replica: String(member.replica) });
    } catch (error) {
      if (!(error instanceof PlacementError)) throw error;
      const { code, leaderAddress, message } = error;
      if (code === 'NOT_LEADER' || code === 'NO_LEADER') {
        return { type: 'not-leader', leaderAddress: leaderAddress ?? '' };
      }
      if (code === 'MEMBERSHIP_REFUSED') return { type: 'refused', reason: message };
      throw error;
    }
    const { learners } = this.storage.state.membership;
    // Its own place is known here before the group has heard of it.
    const members = [...this.storage.state.members].map(([replica, { name, address }]) => ({
      replica,
      name: replica === identity.replica ? this.name : name,
      address: replica === identity.replica ? this.ownAddress : address,
      isLearner: learners.includes(replica),
    }));
    return { type: 'added', clusterId: identity.clusterId, members };
  }

  private beginInstall(message: SnapshotMessage): SnapshotReceiver {
    if (this.node === null) throw new Error('Cannot install the snapshot: the node takes no part yet');
    return this.node.replica.receiveSnapshot(message);
  }

  private async openBackup(): Promise<BackupSource> {
    const { state } = this.storage;
    if (this.node === null || this.node.replica.fault !== null) {
      throw new PlacementError('STOPPED', 'The node has no state that could be saved');
    }
    await this.flush();
    const source = state.openSnapshot();
    const { index, term } = source.position;
    return {
      clusterId: state.clusterId,
      index,
      term,
      revision: state.revision,
      next: () => source.next(),
      close: () => source.close(),
    };
  }

  /** What the configuration says wins, then the seeds: while they count, they are newer than the state. */
  private addressOf(replica: ReplicaId): string | null {
    const seed = seedsInForce(this.identity, this.storage.state.members).find(
      (candidate) => candidate.replica === replica,
    );
    const known = seed ?? this.storage.state.members.get(replica);
    if (known === undefined) return null;
    const address = this.start.cluster.peers.get(known.name) ?? known.address;
    return address === '' ? null : address;
  }

  private knownMembers(): Set<ReplicaId> {
    const members = new Set([
      ...this.storage.state.members.keys(),
      ...seedsInForce(this.identity, this.storage.state.members).map(({ replica }) => replica),
    ]);
    members.delete(this.identity.replica);
    return members;
  }

  // --- what changes ---

  private isVoter(): boolean {
    return this.storage.state.membership.voters.includes(this.identity.replica);
  }

  private remember(change: Partial<Identity>): void {
    this.identity = { ...this.identity, ...change };
    writeIdentity(this.start.folder, this.identity);
  }

  private changed(): void {
    const { role, leader, term } = this.nodes.status();
    if (role === 'candidate' && this.seen.role !== 'candidate') this.counts.elections++;
    if (leader !== null && leader !== this.seen.leader) {
      this.counts.leaderChanges++;
      this.log.info('Leader of the placement group', { leader, term, role });
    }
    this.seen = { leader: leader ?? '', role };
    this.keepTime();
    this.tellStatus();
  }

  private tellStatus(): void {
    const status = this.nodes.status();
    const text = JSON.stringify(status);
    if (text === this.told) return;
    this.told = text;
    this.post({ type: 'status', status });
    for (const client of this.clients) client.sendStatus();
  }

  private faulted(fault: Error): void {
    this.log.error('Replica of the placement group has left service', { error: fault.message, stack: fault.stack });
    this.post({ type: 'fault', message: fault.message });
    this.tellStatus();
  }

  private beat(): void {
    this.heartbeat.beat();
    this.eventLoopMeter.sample();
    if (++this.beats % BEATS_PER_PUBLISHING !== 0) return;
    if (this.ticker === null) this.node?.tick();
    this.publish();
  }

  /** Without others there are no elections, and what else waits for ticks (leases, free space) can do with two a second. */
  private keepTime(): void {
    const { tickMs } = this.start.cluster;
    const takesBeats = this.node === null || (this.node.isAlone && tickMs < BEAT_MS * BEATS_PER_PUBLISHING);
    if (takesBeats && this.ticker !== null) {
      clearInterval(this.ticker);
      this.ticker = null;
    } else if (!takesBeats) {
      this.ticker ??= setInterval(() => this.node?.tick(), tickMs);
    }
  }

  private publish(): void {
    publishRaftMetrics(this.metrics, this.nodes.status(), this.counts, this.traffic);
    this.storage.state.watchProgress();
    this.tellStatus();
  }

  private flush(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.storage.state.flush((error) => {
        if (error === null) resolve();
        else reject(error);
      });
    });
  }
}

/** It was not the leader, or had none: the next try is later. */
function ignorePlacementError(error: unknown): void {
  if (!(error instanceof PlacementError)) throw error;
}
