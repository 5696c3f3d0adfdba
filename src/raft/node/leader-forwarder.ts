/**
 * Passes calls that only the leader can do on to it, for the threads of this process: they need not know who leads.
 * Callers over the network are told where the leader is instead. Thread: the Raft worker; loaded only by nodes that have
 * a cluster address.
 */
import {
  type CommandResult,
  type GroupStatus,
  type LeaseId,
  PlacementError,
  type PlacementErrorCode,
  type PlacementNode,
  type Query,
  type RefusalCode,
  type Watcher,
  type WatchRequest,
} from '../../core/ports/placement.ts';
import { PlacementCallError } from '../../rpc/client/errors.ts';
import { PlacementClient } from '../../rpc/client/placement-client.ts';
import type { PeerTls } from '../transport/peer-ports.ts';

const MEMBERSHIP_TIMEOUT_MS = 10_000;

/** Errors that are no refusals of the state machine. */
const errorCodes: ReadonlyMap<string, PlacementErrorCode> = new Map(
  (
    [
      'NO_LEADER',
      'TIMED_OUT',
      'OVERLOADED',
      'DISK_FULL',
      'NOT_LEADER',
      'MEMBERSHIP_REFUSED',
      'STOPPED',
      'CORRUPTED',
    ] as const
  ).map((code) => [code, code]),
);
/** Errors of the connection: the leader is gone, or about to be. */
const connectionCodes = new Set(['NOT_CONNECTED', 'UNAVAILABLE', 'CLOSED']);

interface TimeLimit {
  readonly timeoutMs: number;
}

export class LeaderForwarder implements PlacementNode {
  private readonly node: PlacementNode;
  private readonly tls: PeerTls | null;
  private client: { readonly address: string; readonly calls: Promise<PlacementClient> } | null = null;

  constructor(node: PlacementNode, tls: PeerTls | null) {
    this.node = node;
    this.tls = tls;
  }

  execute(...parameters: Parameters<PlacementNode['execute']>): Promise<CommandResult> {
    return this.node.execute(...parameters);
  }

  query(query: Query, options: TimeLimit): ReturnType<PlacementNode['query']> {
    return this.node.query(query, options);
  }

  watch(request: WatchRequest, watcher: Watcher): { cancel(): void } {
    return this.node.watch(request, watcher);
  }

  status(): GroupStatus {
    return this.node.status();
  }

  /** Only on the leader itself: who holds a lease keeps it with a client of its own. */
  keepAlive(lease: LeaseId, options: TimeLimit): Promise<CommandResult> {
    return this.node.keepAlive(lease, options);
  }

  heartbeat(node: string, epoch: number, options: TimeLimit): Promise<CommandResult> {
    return this.orLeader<CommandResult>(
      () => this.node.heartbeat(node, epoch, options),
      async (client) => {
        await client.cluster.heartbeat(node, epoch, options);
        return { type: 'node', node, epoch };
      },
    ).catch(refusalOf);
  }

  addLearner(member: Parameters<PlacementNode['addLearner']>[0]): Promise<GroupStatus> {
    const { replica, name, address } = member;
    return this.change(
      () => this.node.addLearner(member),
      (client, options) => client.members.addLearner(replica, name, address, options),
    );
  }

  promote(replica: string): Promise<GroupStatus> {
    return this.change(
      () => this.node.promote(replica),
      (client, options) => client.members.promote(replica, options),
    );
  }

  remove(replica: string): Promise<GroupStatus> {
    return this.change(
      () => this.node.remove(replica),
      (client, options) => client.members.remove(replica, options),
    );
  }

  transferLeadership(replica: string): Promise<GroupStatus> {
    return this.change(
      () => this.node.transferLeadership(replica),
      (client, options) => client.members.transferLeadership(replica, options),
    );
  }

  close(): void {
    void this.client?.calls.then((client) => client.close());
    this.client = null;
  }

  private async change(
    here: () => Promise<GroupStatus>,
    there: (client: PlacementClient, options: TimeLimit) => Promise<unknown>,
  ): Promise<GroupStatus> {
    try {
      await this.orLeader<unknown>(here, (client) => there(client, { timeoutMs: MEMBERSHIP_TIMEOUT_MS }));
    } catch (error) {
      throw error instanceof RefusedThere ? new PlacementError('MEMBERSHIP_REFUSED', error.message) : error;
    }
    return this.node.status();
  }

  private async orLeader<T>(here: () => Promise<T>, there: (client: PlacementClient) => Promise<T>): Promise<T> {
    try {
      return await here();
    } catch (error) {
      const address = error instanceof PlacementError && error.code === 'NOT_LEADER' ? error.leaderAddress : null;
      if (address === null || address === '') throw error;
      return await this.at(address, there);
    }
  }

  private async at<T>(address: string, call: (client: PlacementClient) => Promise<T>): Promise<T> {
    try {
      return await call(await this.clientOf(address));
    } catch (error) {
      if (error instanceof PlacementCallError) throw errorOf(error);
      // An address that is none: the member gave a wrong one.
      throw error instanceof TypeError ? new PlacementError('NO_LEADER', error.message) : error;
    }
  }

  private clientOf(address: string): Promise<PlacementClient> {
    if (this.client?.address === address) return this.client.calls;
    this.close();
    const calls = PlacementClient.create({ servers: address, tls: this.tls, followLeader: false });
    this.client = { address, calls };
    return calls;
  }
}

/** A refusal of the state machine, on its way through an error. */
class RefusedThere extends Error {
  readonly refusal: CommandResult;

  constructor(code: string, message: string) {
    super(message);
    // Whatever the leader of the same version names beside the errors is a refusal.
    this.refusal = { type: 'refused', code: code as RefusalCode, message };
  }
}

function refusalOf(error: unknown): CommandResult {
  if (error instanceof RefusedThere) return error.refusal;
  throw error;
}

function errorOf({ code, message, leaderAddress }: PlacementCallError): Error {
  const known = errorCodes.get(code);
  if (known !== undefined) return new PlacementError(known, message, leaderAddress === '' ? null : leaderAddress);
  if (connectionCodes.has(code)) return new PlacementError('NO_LEADER', message);
  return new RefusedThere(code, message);
}
