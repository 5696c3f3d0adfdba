/**
 * The transport between real nodes: one link per peer for messages, one call per snapshot. Thread: the Raft worker; made by
 * whoever puts the node together, called by the replica.
 */

import type { Logger } from '../../observability/log.ts';
import { assert } from '../../std/assert.ts';
import { toError } from '../../std/errors.ts';
import type { Message, ReplicaId } from '../consensus/types.ts';
import type { Transport } from '../ports.ts';
import { defaultPeerLimits, type PeerLimits } from './peer-limits.ts';
import { type LinkEnvironment, PeerLink } from './peer-link.ts';
import type { PeerIdentity, PeerTls, SnapshotMessage, SnapshotSource, TransportCounters } from './peer-ports.ts';
import { SnapshotSender } from './snapshot-sender.ts';

export interface PeerTransportOptions {
  identity(): PeerIdentity;
  /** `host:port` of a replica; null when it is unknown. May change at any time. */
  addressOf(replica: ReplicaId): string | null;
  /** A state to read out, at least as new as `message.position`. Throws when the state is damaged. */
  openSnapshot(message: SnapshotMessage): SnapshotSource;
  /** Messages to the peer got lost; for `Consensus.reportUnreachable`. Never called inside of `send`. */
  onUnreachable(replica: ReplicaId): void;
  /** The state could not be read: the replica must not go on. Never called inside of `sendSnapshot`. */
  onSourceError(error: Error): void;
  readonly tls: PeerTls | null;
  readonly counters: TransportCounters;
  readonly logger: Logger;
  readonly limits?: Partial<PeerLimits>;
}

export class PeerTransport implements Transport {
  private readonly options: PeerTransportOptions;
  private readonly environment: LinkEnvironment;
  private readonly links = new Map<ReplicaId, PeerLink>();
  private readonly snapshots = new Map<ReplicaId, SnapshotSender>();
  private isClosed = false;

  constructor(options: PeerTransportOptions) {
    const { tls, counters, logger } = options;
    this.options = options;
    this.environment = {
      identity: () => options.identity(),
      addressOf: (replica) => options.addressOf(replica),
      onUnreachable: (replica) => options.onUnreachable(replica),
      limits: { ...defaultPeerLimits, ...options.limits },
      tls,
      counters,
      logger,
    };
  }

  send(messages: readonly Message[]): void {
    for (const message of messages) {
      assert(message.type !== 'snapshot', 'Snapshots go through sendSnapshot');
      const link = this.linkTo(message.to);
      if (link === null) this.options.counters.droppedUnknownPeer += 1;
      else link.send(message);
    }
  }

  flush(): void {
    for (const link of this.links.values()) link.flush();
  }

  sendSnapshot(message: SnapshotMessage, done: (hasArrived: boolean) => void): void {
    const address = this.isClosed ? null : this.options.addressOf(message.to);
    const earlier = this.snapshots.get(message.to);
    // The one under way is as good; one of an earlier term would be refused at its end.
    if (address === null || (earlier !== undefined && earlier.message.term >= message.term)) {
      setImmediate(() => done(false));
      return;
    }
    earlier?.cancel('a newer one is sent');
    const source = this.openSource(message);
    if (source === null) {
      setImmediate(() => done(false));
      return;
    }
    const sender: SnapshotSender = new SnapshotSender(message, address, source, this.environment, {
      done: (failure) => {
        if (this.snapshots.get(message.to) === sender) this.snapshots.delete(message.to);
        this.account(message, failure);
        done(failure === null);
      },
      onSourceError: (error) => this.options.onSourceError(error),
    });
    this.snapshots.set(message.to, sender);
  }

  /**
   * Connects to replicas before there is something to send. A node that starts does it for all members, so that they
   * learn at once that it is back.
   */
  open(replicas: Iterable<ReplicaId>): void {
    const { replica: self } = this.options.identity();
    for (const replica of replicas) if (replica !== self) this.linkTo(replica)?.open();
  }

  /** `replica` has opened a stream to this node. */
  peerSeen(replica: ReplicaId): void {
    this.links.get(replica)?.peerSeen();
  }

  /** Whether messages to `replica` leave at the moment. */
  isConnected(replica: ReplicaId): boolean {
    return this.links.get(replica)?.isOpen ?? false;
  }

  /** Cancels everything; later messages are dropped. */
  close(): void {
    this.isClosed = true;
    for (const link of this.links.values()) link.close();
    this.links.clear();
    for (const sender of this.snapshots.values()) sender.cancel('the node stops');
  }

  private linkTo(replica: ReplicaId): PeerLink | null {
    const address = this.isClosed ? null : this.options.addressOf(replica);
    const present = this.links.get(replica);
    if (present !== undefined && present.address === address) return present;
    present?.close();
    this.links.delete(replica);
    if (address === null) return null;
    const link = new PeerLink(replica, address, this.environment);
    this.links.set(replica, link);
    return link;
  }

  private openSource(message: SnapshotMessage): SnapshotSource | null {
    try {
      return this.options.openSnapshot(message);
    } catch (error) {
      const cause = toError(error);
      setImmediate(() => this.options.onSourceError(cause));
      return null;
    }
  }

  private account(message: SnapshotMessage, failure: string | null): void {
    const { counters, logger } = this.options;
    if (failure === null) {
      counters.snapshotsSent += 1;
      logger.info('Snapshot is installed at peer', { peer: message.to, index: message.position.index });
      return;
    }
    counters.snapshotsFailed += 1;
    logger.warn('Snapshot did not arrive', { peer: message.to, index: message.position.index, reason: failure });
  }
}
