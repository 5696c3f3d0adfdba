import { createHash } from 'node:crypto';
import { afterEach, describe, expect, test } from 'vitest';
import { PlacementError } from '../../../../src/core/ports/placement.ts';
import type { BackupSource } from '../../../../src/raft/api/backup-provider.ts';
import { ClusterServiceService as cluster } from '../../../../src/rpc/generated/ringmq/placement/v1/cluster.ts';
import { MemberRole, ReplicaRole } from '../../../../src/rpc/generated/ringmq/placement/v1/group.ts';
import {
  type LeaseKeepAliveResponse,
  LeaseServiceService as leases,
} from '../../../../src/rpc/generated/ringmq/placement/v1/lease.ts';
import {
  type BackupResponse,
  MaintenanceServiceService as maintenance,
} from '../../../../src/rpc/generated/ringmq/placement/v1/maintenance.ts';
import { MemberServiceService as members } from '../../../../src/rpc/generated/ringmq/placement/v1/member.ts';
import {
  WatchEventType,
  type WatchResponse,
  WatchServiceService as watches,
} from '../../../../src/rpc/generated/ringmq/placement/v1/watch.ts';
import { rpcStatus } from '../../../../src/rpc/status.ts';
import { until } from '../../cli/support.ts';
import { event } from './fake-node.ts';
import { endOf, ServerFixture } from './server-fixture.ts';

const none = new Uint8Array(0);
let fixture: ServerFixture;

afterEach(async () => {
  await fixture.stop();
  expect(fixture.defects).toEqual([]);
});

describe('LeaseService', () => {
  test('grant(), get(), list() and revoke() pass through', async () => {
    fixture = await ServerFixture.start();
    const granted = await fixture.call(leases.grant, { lease: 5, ttlMs: 3000, requestId: Buffer.alloc(16, 2) });
    expect(granted.response).toEqual({ lease: 5, epoch: 7, ttlMs: 3000 });
    expect(fixture.node.executed[0].requestId).toHaveLength(16);
    const found = await fixture.call(leases.get, { lease: 5, consistency: 0 });
    // The node in memory does not lead, so it knows no remaining time.
    expect(found.response?.lease).toEqual({ lease: 5, epoch: 7, ttlMs: 3000, remainingMs: undefined, keys: [] });
    expect((await fixture.call(leases.list, { consistency: 0 })).response?.leases).toHaveLength(1);
    expect((await fixture.call(leases.revoke, { lease: 5, requestId: none })).status).toBe(0);
    const gone = await fixture.call(leases.revoke, { lease: 5, requestId: none });
    expect(gone).toMatchObject({ status: rpcStatus.NOT_FOUND, code: 'LEASE_NOT_FOUND', field: 'lease' });
    const missing = await fixture.call(leases.get, { lease: 5, consistency: 0 });
    expect(missing).toMatchObject({ status: rpcStatus.NOT_FOUND, code: 'LEASE_NOT_FOUND' });
  });

  test('grant() chooses an id where the caller did not', async () => {
    fixture = await ServerFixture.start();
    const granted = await fixture.call(leases.grant, { lease: 0, ttlMs: 3000, requestId: none });
    expect(granted.response?.lease).toBeGreaterThan(0);
    const invalid = await fixture.call(leases.grant, { lease: 0, ttlMs: 0, requestId: none });
    expect(invalid).toMatchObject({ status: rpcStatus.INVALID_ARGUMENT, field: 'ttl_ms' });
  });

  test('keepAlive() answers each message, with the error in the answer', async () => {
    fixture = await ServerFixture.start({ keepAlivesMax: 2 });
    await fixture.call(leases.grant, { lease: 5, ttlMs: 3000, requestId: none });
    const { path, requestSerialize, responseDeserialize } = leases.keepAlive;
    const stream = fixture.client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize);
    const answers: LeaseKeepAliveResponse[] = [];
    stream.on('data', (answer: LeaseKeepAliveResponse) => answers.push(answer));
    for (const lease of [5, 6, 0, 5]) stream.write({ lease });
    stream.end();
    expect((await endOf(stream)).status).toBe(0);
    const texts = answers.map(({ lease, remainingMs, error }) => `${lease} ${remainingMs} ${error?.code ?? 'fine'}`);
    expect(texts.sort()).toEqual(['0 0 INVALID_ARGUMENT', '5 3000 fine', '5 3000 fine', '6 0 LEASE_NOT_FOUND']);
  });
});

describe('ClusterService', () => {
  test('nodes register, live and leave', async () => {
    fixture = await ServerFixture.start();
    const request = {
      node: 'n1',
      addresses: [{ listener: 'mqtt', address: 'h:1883' }],
      roles: ['broker'],
      rack: 'r1',
      ttlMs: 5000,
      requestId: none,
    };
    expect((await fixture.call(cluster.registerNode, request)).response).toEqual({ node: 'n1', epoch: 5 });
    expect(fixture.node.executed[0].command).toEqual({
      type: 'node-register',
      node: 'n1',
      addresses: [['mqtt', 'h:1883']],
      roles: ['broker'],
      rack: 'r1',
      ttlMs: 5000,
    });
    expect((await fixture.call(cluster.heartbeat, { node: 'n1', epoch: 5 })).response).toEqual({ epoch: 5 });
    const fenced = await fixture.call(cluster.heartbeat, { node: 'n1', epoch: 4 });
    expect(fenced).toMatchObject({ status: rpcStatus.FAILED_PRECONDITION, code: 'NODE_FENCED', field: 'epoch' });
    const report = {
      cpuShare: 0.5,
      memoryBytes: 1,
      diskFreeBytes: 2,
      connections: 3,
      bytesInPerS: 4.5,
      bytesOutPerS: 5.5,
    };
    await fixture.call(cluster.reportMonitor, { node: 'n1', epoch: 5, report, requestId: none });
    expect(fixture.node.executed[1].command).toEqual({ type: 'node-report', node: 'n1', epoch: 5, report });
    await fixture.call(cluster.unregisterNode, { node: 'n1', epoch: 5, requestId: none });
    expect(fixture.node.executed[2].command).toEqual({ type: 'node-unregister', node: 'n1', epoch: 5 });
    expect((await fixture.call(cluster.nodeList, { consistency: 2 })).response?.nodes).toEqual([]);
  });

  test('topics and partitions pass through', async () => {
    fixture = await ServerFixture.start();
    const partition = {
      tenant: 't',
      topic: 'o',
      partition: 0,
      replicas: ['a', 'b'],
      leader: 'a',
      leaderEpoch: 1,
      partitionEpoch: 2,
      isr: ['a'],
    };
    fixture.node.answers.push({ type: 'topic', partitions: [partition] });
    const create = { tenant: 't', topic: 'o', partitions: 1, replicationFactor: 2, requestId: none };
    expect((await fixture.call(cluster.createTopic, create)).response?.partitions).toEqual([partition]);
    fixture.node.answers.push({ type: 'partition', partition });
    const change = { ...partition, node: 'a', nodeEpoch: 4, requestId: none };
    expect((await fixture.call(cluster.changeIsr, change)).response?.partition).toEqual(partition);
    expect(fixture.node.executed[1].command).toEqual({
      type: 'isr-change',
      ...{
        tenant: 't',
        topic: 'o',
        partition: 0,
        node: 'a',
        nodeEpoch: 4,
        leaderEpoch: 1,
        partitionEpoch: 2,
        isr: ['a'],
      },
    });
    await fixture.call(cluster.deleteTopic, { tenant: 't', topic: 'o', requestId: none });
    expect(fixture.node.executed[2].command).toEqual({ type: 'topic-delete', tenant: 't', topic: 'o' });
    const listed = await fixture.call(cluster.listPartitions, { tenant: 't', topic: '', consistency: 0 });
    expect(listed.response?.partitions).toEqual([]);
    fixture.node.answers.push({ type: 'refused', code: 'EPOCH_MISMATCH', message: 'The epoch has moved on' });
    expect(await fixture.call(cluster.changeIsr, change)).toMatchObject({
      status: rpcStatus.ABORTED,
      code: 'EPOCH_MISMATCH',
    });
  });

  test('bad fields are named', async () => {
    fixture = await ServerFixture.start();
    const node = { node: 'n', addresses: [], roles: [], rack: '', ttlMs: 1, requestId: none };
    const topic = { tenant: 't', topic: 'o', partitions: 1, replicationFactor: 1, requestId: none };
    const outcomes = [
      await fixture.call(cluster.registerNode, { ...node, node: '' }),
      await fixture.call(cluster.registerNode, { ...node, ttlMs: 0 }),
      await fixture.call(cluster.registerNode, { ...node, addresses: [{ listener: 'a', address: '' }] }),
      await fixture.call(cluster.heartbeat, { node: 'n', epoch: 0 }),
      await fixture.call(cluster.reportMonitor, { node: 'n', epoch: 1, report: undefined, requestId: none }),
      await fixture.call(cluster.createTopic, { ...topic, tenant: '' }),
      await fixture.call(cluster.createTopic, { ...topic, topic: '' }),
      await fixture.call(cluster.createTopic, { ...topic, partitions: 0 }),
      await fixture.call(cluster.createTopic, { ...topic, replicationFactor: 0 }),
      await fixture.call(cluster.createTopic, { ...topic, requestId: Buffer.alloc(3) }),
    ];
    expect(outcomes.map(({ field }) => field)).toEqual([
      'node',
      'ttl_ms',
      'addresses[0].address',
      'epoch',
      'report',
      'tenant',
      'topic',
      'partitions',
      'replication_factor',
      'request_id',
    ]);
    expect(fixture.node.executed).toEqual([]);
  });

  test('clusterStatus() tells the state of the group', async () => {
    fixture = await ServerFixture.start();
    fixture.node.state.fault = 'A record is damaged';
    const { response } = await fixture.call(cluster.clusterStatus, {});
    expect(response?.group).toMatchObject({
      clusterId: 'c1',
      leader: '1',
      role: ReplicaRole.LEADER,
      lastIndex: 11,
      fault: 'A record is damaged',
    });
    expect(response?.group?.members).toEqual([
      {
        ...{ replica: '1', name: 'a', address: '127.0.0.1:1', role: MemberRole.VOTER },
        ...{ isLeader: true, matchIndex: 10, isReachable: true },
      },
    ]);
  });
});

describe('MemberService', () => {
  test('changes pass through and answer with the group', async () => {
    fixture = await ServerFixture.start();
    const learner = { replica: '9007199254740991', name: 'b', address: '[::1]:7' };
    expect((await fixture.call(members.addLearner, learner)).response?.group?.clusterId).toBe('c1');
    await fixture.call(members.promote, { replica: '2' });
    await fixture.call(members.transferLeadership, { replica: '2' });
    await fixture.call(members.remove, { replica: '2' });
    expect(fixture.node.changes).toEqual(['add 9007199254740991 b [::1]:7', 'promote 2', 'transfer 2', 'remove 2']);
    expect((await fixture.call(members.list, {})).response?.members).toHaveLength(1);
  });

  test('what is refused says why, and who could do it', async () => {
    fixture = await ServerFixture.start();
    fixture.node.errors.push(new PlacementError('MEMBERSHIP_REFUSED', 'It would lose the quorum'));
    const refused = await fixture.call(members.remove, { replica: '2' });
    expect(refused).toMatchObject({ status: rpcStatus.FAILED_PRECONDITION, code: 'MEMBERSHIP_REFUSED', leader: '' });
    fixture.node.errors.push(new PlacementError('NOT_LEADER', 'Another node leads', 'h:4'));
    const elsewhere = await fixture.call(members.remove, { replica: '2' });
    expect(elsewhere).toMatchObject({ code: 'NOT_LEADER', leader: 'h:4' });
  });

  test('bad fields are named', async () => {
    fixture = await ServerFixture.start();
    for (const replica of ['', '0', '-1', '1.5', 'x', '9007199254740992', '012']) {
      expect(await fixture.call(members.promote, { replica })).toMatchObject({ status: 3, field: 'replica' });
    }
    for (const address of ['', 'h', 'h:', 'h:0', 'h:70000', ':1', 'a b:1', '::1:5']) {
      const outcome = await fixture.call(members.addLearner, { replica: '1', name: '', address });
      expect(outcome, address).toMatchObject({ status: 3, field: 'address' });
    }
    expect(fixture.node.changes).toEqual([]);
  });

  test('a change that hangs ends with the deadline', async () => {
    fixture = await ServerFixture.start({ callTimeoutMsMax: 30 });
    fixture.node.gate = new Promise(() => undefined);
    const outcome = await fixture.call(members.promote, { replica: '2' });
    expect(outcome).toMatchObject({ status: rpcStatus.DEADLINE_EXCEEDED, code: 'TIMED_OUT' });
  });
});

describe('WatchService', () => {
  function watch(key = 'k') {
    const { path, requestSerialize, responseDeserialize } = watches.watch;
    const request = { key: Buffer.from(key), end: undefined, fromRevision: 3, withPrevious: true };
    const stream = fixture.client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request);
    const responses: WatchResponse[] = [];
    stream.on('data', (response: WatchResponse) => responses.push(response));
    stream.on('error', () => undefined);
    return { stream, responses };
  }

  test('watch() streams batches and ends with the node', async () => {
    fixture = await ServerFixture.start();
    const { stream, responses } = watch();
    await until(() => fixture.node.watches.size === 1);
    const [[watcher, request]] = fixture.node.watches;
    expect(request).toMatchObject({ end: null, fromRevision: 3, withPrevious: true });
    await fixture.node.emit({ revision: 4, events: [event('set', 'k', 3), event('delete', 'k', 4)] });
    await fixture.node.emit({ revision: 9, events: [] });
    await until(() => responses.length === 2);
    expect(responses[0].events.map(({ type }) => type)).toEqual([WatchEventType.SET, WatchEventType.DELETE]);
    expect(responses.map(({ revision, isPartial }) => [revision, isPartial])).toEqual([
      [4, false],
      [9, false],
    ]);
    const ended = endOf(stream);
    watcher.onEnd({ code: 'COMPACTED', compactedRevision: 12 });
    expect(await ended).toMatchObject({ status: rpcStatus.OUT_OF_RANGE, code: 'COMPACTED' });
    expect(fixture.node.watches.size).toBe(0);
  });

  test('watch() is cancelled with its call', async () => {
    fixture = await ServerFixture.start();
    const { stream } = watch();
    await until(() => fixture.node.watches.size === 1);
    const ended = endOf(stream);
    stream.cancel();
    await until(() => fixture.node.watches.size === 0);
    expect((await ended).status).toBe(rpcStatus.CANCELLED);
  });

  test('watch() ends in an orderly way when the server closes', async () => {
    fixture = await ServerFixture.start();
    const { stream } = watch();
    await until(() => fixture.node.watches.size === 1);
    const ended = endOf(stream);
    await fixture.server.close(1000);
    expect(await ended).toMatchObject({ status: rpcStatus.UNAVAILABLE, code: 'STOPPED' });
  });

  test('watch() holds the node back while the reader does not read', async () => {
    fixture = await ServerFixture.start();
    const { stream, responses } = watch();
    await until(() => fixture.node.watches.size === 1);
    stream.pause();
    let doneCount = 0;
    const emitAll = async (): Promise<void> => {
      for (let revision = 1; revision <= 200; revision++, doneCount++) {
        await fixture.node.emit({ revision, events: [event('set', 'k', revision, 'v'.repeat(100_000))] });
      }
    };
    const emitted = emitAll();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(doneCount).toBeLessThan(100);
    stream.resume();
    await emitted;
    await until(() => responses.length === 200);
    stream.cancel();
    await endOf(stream);
  });

  test('watch() refuses an empty key and too many watches', async () => {
    fixture = await ServerFixture.start({ watchesMax: 1 });
    expect(await endOf(watch('').stream)).toMatchObject({ status: 3, code: 'EMPTY_KEY', field: 'key' });
    const { stream } = watch();
    await until(() => fixture.node.watches.size === 1);
    expect(await endOf(watch().stream)).toMatchObject({ status: rpcStatus.RESOURCE_EXHAUSTED, code: 'OVERLOADED' });
    stream.cancel();
    await endOf(stream);
  });
});

describe('MaintenanceService', () => {
  const chunks = [Buffer.from('one'), Buffer.from('two')];

  function source(next: () => Uint8Array | null, onClose: () => void): BackupSource {
    return { clusterId: 'c1', index: 10, term: 3, revision: 8, next, close: onClose };
  }

  async function read(): Promise<{ parts: BackupResponse[]; status: number; code: string }> {
    const { path, requestSerialize, responseDeserialize } = maintenance.backup;
    const stream = fixture.client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, {});
    const parts: BackupResponse[] = [];
    stream.on('data', (part: BackupResponse) => parts.push(part));
    const { status, code } = await endOf(stream);
    return { parts, status, code };
  }

  test('status() tells version and state of one node', async () => {
    fixture = await ServerFixture.start();
    const { response } = await fixture.call(maintenance.status, {});
    expect(response).toMatchObject({ version: '1.2.3', group: { clusterId: 'c1' } });
  });

  test('backup() streams header, chunks and digest, and closes its source', async () => {
    let closedCount = 0;
    const rest = [...chunks];
    const openBackup = () =>
      source(
        () => rest.shift() ?? null,
        () => closedCount++,
      );
    fixture = await ServerFixture.start({}, { backup: { openBackup } });
    const { parts, status } = await read();
    expect(status).toBe(0);
    expect(parts.map(({ part }) => part?.$case)).toEqual(['header', 'chunk', 'chunk', 'end']);
    expect(parts[0].part?.value).toEqual({ clusterId: 'c1', index: 10, term: 3, revision: 8 });
    const end = parts[3].part?.$case === 'end' ? parts[3].part.value : undefined;
    expect(end).toMatchObject({ chunkCount: 2, byteCount: 6 });
    expect(Buffer.from(end?.sha256 ?? none)).toEqual(createHash('sha256').update(Buffer.concat(chunks)).digest());
    expect(closedCount).toBe(1);
  });

  test('backup() ends with the error of its source, without an end', async () => {
    let closedCount = 0;
    const next = () => {
      throw new PlacementError('CORRUPTED', 'A record is damaged');
    };
    fixture = await ServerFixture.start({}, { backup: { openBackup: () => source(next, () => closedCount++) } });
    const { parts, status, code } = await read();
    expect([status, code, parts.length]).toEqual([rpcStatus.DATA_LOSS, 'CORRUPTED', 1]);
    expect(closedCount).toBe(1);
  });

  test('backup() closes its source when the caller goes away', async () => {
    let closedCount = 0;
    const backup = {
      openBackup: () =>
        source(
          () => Buffer.alloc(100_000),
          () => closedCount++,
        ),
    };
    fixture = await ServerFixture.start({}, { backup });
    const { path, requestSerialize, responseDeserialize } = maintenance.backup;
    const stream = fixture.client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, {});
    stream.on('error', () => undefined);
    stream.once('data', () => stream.cancel());
    await until(() => closedCount === 1);
  });

  test('backup() is UNIMPLEMENTED where there is none', async () => {
    fixture = await ServerFixture.start();
    expect((await read()).status).toBe(rpcStatus.UNIMPLEMENTED);
  });
});
