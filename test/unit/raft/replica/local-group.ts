/**
 * Placement nodes of one process for tests: real core, log, store and state machine in temporary folders, with a network
 * that hands messages over in memory. Everything is closed by `close`.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command, GroupStatus, Query, QueryResult } from '../../../../src/core/ports/placement.ts';
import type { Message, ReplicaId } from '../../../../src/raft/consensus/types.ts';
import { openStorage, type Storage } from '../../../../src/raft/node/storage.ts';
import type { RaftLog, Transport } from '../../../../src/raft/ports.ts';
import { foundGroup } from '../../../../src/raft/replica/founding.ts';
import { LocalPlacementNode } from '../../../../src/raft/replica/placement-node.ts';
import {
  defaultReplicaOptions,
  type NewMember,
  type ReplicaOptions,
} from '../../../../src/raft/replica/replica-ports.ts';

function unexpectedFault(error: Error): void {
  throw error;
}

export const timeLimit = { timeoutMs: 5_000 };

export interface GroupNode {
  readonly member: NewMember;
  readonly folder: string;
  storage: Storage;
  node: LocalPlacementNode;
  ticker: NodeJS.Timeout | undefined;
  freeBytes: number;
  readonly faults: Error[];
  /** Number of `append` calls, and what they do instead when it is set. */
  appends: number;
  failWith: Error | null;
  isRunning: boolean;
}

export class LocalGroup {
  readonly nodes: GroupNode[] = [];
  readonly folder = mkdtempSync(join(tmpdir(), 'ringmq-replica-'));
  private readonly options: Partial<ReplicaOptions>;
  private readonly cut = new Set<ReplicaId>();

  constructor(options: Partial<ReplicaOptions> = {}) {
    this.options = options;
  }

  static async found(count: number, options: Partial<ReplicaOptions> = {}): Promise<LocalGroup> {
    const group = new LocalGroup(options);
    const founders = Array.from({ length: count }, (_, index) => group.memberOf(index + 1));
    for (const founder of founders) await group.add(founder, founders);
    return group;
  }

  memberOf(replica: ReplicaId): NewMember {
    return { replica, name: `node-${replica}`, address: `127.0.0.1:${10_000 + replica}` };
  }

  /** Starts a node; with `founders` on the first entries of their group. */
  async add(member: NewMember, founders: readonly NewMember[] | null = null): Promise<GroupNode> {
    const folder = join(this.folder, String(member.replica));
    if (founders !== null) {
      const { log, close } = openStorage(folder, member.replica, 0, unexpectedFault);
      await new Promise<void>((resolve, reject) => {
        foundGroup(log, founders, 'test', (error) => (error === null ? resolve() : reject(error)));
      });
      await close();
    }
    return this.open(member, folder);
  }

  /** Starts the node that lies in the folder. */
  open(member: NewMember, folder: string): GroupNode {
    const made: GroupNode = {
      member,
      folder,
      storage: openStorage(folder, member.replica, 0, unexpectedFault),
      node: null as never,
      ticker: undefined,
      freeBytes: 2 ** 40,
      faults: [],
      appends: 0,
      failWith: null,
      isRunning: true,
    };
    this.nodes.push(made);
    this.run(made);
    return made;
  }

  async restart(made: GroupNode): Promise<void> {
    await this.kill(made);
    made.storage = openStorage(made.folder, made.member.replica, 0, unexpectedFault);
    this.run(made);
  }

  /** Ends a node without handing leadership over or flushing its state. */
  async kill(made: GroupNode): Promise<void> {
    if (!made.isRunning) return;
    made.isRunning = false;
    await made.node.stop(0);
    clearInterval(made.ticker);
    await made.storage.close();
  }

  disconnect(made: GroupNode): void {
    this.cut.add(made.member.replica);
  }

  reconnect(made: GroupNode): void {
    this.cut.delete(made.member.replica);
  }

  /** The leader that a majority follows. */
  async leader(): Promise<GroupNode> {
    return this.until('a leader', () => {
      const running = this.nodes.filter(({ isRunning }) => isRunning);
      const found = running.find(({ node, member }) => {
        if (node.status().role !== 'leader' || this.cut.has(member.replica)) return false;
        const followers = running.filter((other) => other.node.status().leader === String(member.replica));
        return followers.length * 2 > node.status().members.filter(({ role }) => role === 'voter').length;
      });
      return found ?? null;
    });
  }

  async follower(): Promise<GroupNode> {
    const leader = await this.leader();
    return this.nodes.find((made) => made !== leader && made.isRunning) as GroupNode;
  }

  async until<T>(what: string, look: () => T | null | false): Promise<T> {
    const limit = performance.now() + 20_000;
    for (;;) {
      const found = look();
      if (found !== null && found !== false) return found;
      if (performance.now() > limit) {
        const states = this.nodes.map(({ node }) => JSON.stringify(node.status()));
        throw new Error(`There was never ${what}:\n${states.join('\n')}`);
      }
      await sleep(5);
    }
  }

  async close(): Promise<void> {
    for (const made of this.nodes) await this.kill(made);
    rmSync(this.folder, { recursive: true, force: true });
  }

  private run(made: GroupNode): void {
    made.isRunning = true;
    made.node = new LocalPlacementNode(
      {
        log: this.observed(made),
        state: made.storage.state,
        transport: this.transportOf(made),
        now: () => performance.now(),
        random: (below) => Math.floor(Math.random() * below),
        freeBytes: () => made.freeBytes,
        stateBytes: () => made.storage.store.sizeBytes(),
        onFault: (fault) => made.faults.push(fault),
        onChange: () => undefined,
      },
      { ...defaultReplicaOptions, ...this.options, replica: made.member.replica },
    );
    made.ticker = setInterval(() => made.node.tick(), 10);
  }

  private observed(made: GroupNode): RaftLog {
    const { log } = made.storage;
    return new Proxy(log, {
      get: (target, name) => {
        if (name === 'append') {
          return (...[write, done]: Parameters<RaftLog['append']>) => {
            made.appends++;
            if (made.failWith === null) target.append(write, done);
            else done(made.failWith);
          };
        }
        const value = Reflect.get(target, name, target) as unknown;
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
  }

  private transportOf(from: GroupNode): Transport {
    const isCut = (to: ReplicaId): boolean => this.cut.has(from.member.replica) || this.cut.has(to);
    const targetOf = (to: ReplicaId) => this.nodes.find(({ member, isRunning }) => isRunning && member.replica === to);
    return {
      send: (messages: readonly Message[]) => {
        for (const message of messages) {
          setImmediate(() => {
            if (from.isRunning && !isCut(message.to)) targetOf(message.to)?.node.replica.receive([message]);
          });
        }
      },
      sendSnapshot: (message, done) => {
        void this.stream(from, message, targetOf(message.to)).then(
          () => done(true),
          () => done(false),
        );
      },
    };
  }

  private async stream(
    from: GroupNode,
    message: Parameters<Transport['sendSnapshot']>[0],
    to: GroupNode | undefined,
  ): Promise<void> {
    if (to === undefined) throw new Error('it does not run');
    const source = from.node.replica.openSnapshot();
    try {
      const receiver = to.node.replica.receiveSnapshot({ ...message, position: source.position });
      for (let chunk = source.next(); chunk !== null; chunk = source.next()) {
        const sent = chunk;
        await new Promise<void>((resolve, reject) => {
          receiver.write(sent, (error) => (error === null ? resolve() : reject(error)));
        });
      }
      await new Promise<void>((resolve, reject) => {
        receiver.finish((error) => (error === null ? resolve() : reject(error)));
      });
    } finally {
      source.close();
    }
  }
}

export function setOf(key: string, value: string): Command {
  return {
    type: 'transaction',
    compares: [],
    success: [{ type: 'set', key: Buffer.from(key), value: Buffer.from(value), lease: 0, returnPrevious: false }],
    failure: [],
  };
}

export function deletionOf(key: string): Command {
  return {
    type: 'transaction',
    compares: [],
    success: [{ type: 'delete', key: Buffer.from(key), end: null, returnPrevious: false }],
    failure: [],
  };
}

export function getOf(key: string, consistency: 'linearizable' | 'serializable' = 'linearizable'): Query {
  return {
    type: 'range',
    key: Buffer.from(key),
    end: null,
    limit: 1,
    isReverse: false,
    keysOnly: false,
    countOnly: false,
    consistency,
  };
}

/** The value that a `getOf` found; null for none. */
export function valueIn(result: QueryResult): string | null {
  if (result.type !== 'range') throw new Error(`it is ${JSON.stringify(result)}`);
  return result.items.length === 0 ? null : Buffer.from(result.items[0].value).toString();
}

export function write(made: GroupNode, key: string, value: string, timeoutMs = timeLimit.timeoutMs) {
  return made.node.execute(setOf(key, value), { requestId: null, timeoutMs });
}

export async function read(
  made: GroupNode,
  key: string,
  consistency: 'linearizable' | 'serializable' = 'linearizable',
) {
  return valueIn(await made.node.query(getOf(key, consistency), timeLimit));
}

export function memberIn(status: GroupStatus, replica: ReplicaId) {
  return status.members.find((member) => member.replica === String(replica));
}
