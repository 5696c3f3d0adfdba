/**
 * RingMQ's placement centre as a target: the client that the library exports, one or more per endpoint. Thread of the
 * harness; created by `command.ts`.
 */
import { PlacementClient } from '../../../rpc/client/placement-client.ts';
import { CliError } from '../../exit-codes.ts';
import type { KvDone, KvTarget } from './target.ts';

/** A call that takes longer is counted as an error. */
const CALL_LIMIT_MS = 10_000;

export class RingmqTarget implements KvTarget {
  private readonly endpoints: readonly string[];
  private readonly clients: readonly PlacementClient[];

  private constructor(endpoints: readonly string[], clients: readonly PlacementClient[]) {
    this.endpoints = endpoints;
    this.clients = clients;
  }

  static async open(endpoints: readonly string[], channelsPerEndpoint: number): Promise<RingmqTarget> {
    const clients: PlacementClient[] = [];
    // As for the other target: channel by channel over all endpoints, and no client leaves its endpoint for the leader.
    for (let round = 0; round < channelsPerEndpoint; round++) {
      for (const servers of endpoints) {
        clients.push(await PlacementClient.create({ servers, followLeader: false, timeoutMs: CALL_LIMIT_MS }));
      }
    }
    return new RingmqTarget(endpoints, clients);
  }

  async connect(deadlineMs: number): Promise<void> {
    const attempts = this.clients.map(async (client, index) => {
      try {
        await client.status({ timeoutMs: deadlineMs });
      } catch (error) {
        const endpoint = this.endpoints[index % this.endpoints.length];
        throw new CliError(`Cannot connect to "${endpoint}": ${(error as Error).message}`);
      }
    });
    await Promise.all(attempts);
  }

  set(client: number, key: Uint8Array, value: Uint8Array, done: KvDone): void {
    this.clients[client % this.clients.length].set(key, value).then(
      () => done(null, false),
      (error) => done(describe(error), false),
    );
  }

  get(client: number, key: Uint8Array, isSerializable: boolean, done: KvDone): void {
    const consistency = isSerializable ? 'serializable' : 'linearizable';
    this.clients[client % this.clients.length].get(key, { consistency }).then(
      ({ item }) => done(null, item !== undefined),
      (error) => done(describe(error), false),
    );
  }

  close(): void {
    for (const client of this.clients) client.close();
  }
}

function describe(error: unknown): string {
  return error instanceof Error && 'code' in error ? `${error.code}` : String(error);
}
