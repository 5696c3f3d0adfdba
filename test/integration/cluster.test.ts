/** Clusters of real processes: how they form, what they survive, and what the program says when one cannot go on. */
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { GroupStatus } from '../../src/core/ports/placement.ts';
import { PlacementClient } from '../../src/rpc/client/placement-client.ts';
import { BrokerProcess } from '../support/broker-process.ts';
import { TestAuthority } from '../support/certificates.ts';

const program = join(import.meta.dirname, '../../bin/ringmq.js');
const patient = { timeout: 20_000, interval: 50 };
const limitMs = 60_000;

let folder: string;
let brokers: BrokerProcess[];
let clients: PlacementClient[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ringmq-cluster-'));
  brokers = [];
  clients = [];
});
afterEach(async () => {
  for (const client of clients) client.close();
  await Promise.all(brokers.map((broker) => broker.kill()));
  rmSync(folder, { recursive: true, force: true });
});

async function start(name: string, flags: readonly string[]): Promise<BrokerProcess> {
  const data = join(folder, name);
  mkdirSync(data, { recursive: true });
  const broker = await BrokerProcess.start({ workers: 1, data, flags });
  brokers.push(broker);
  return broker;
}

function addressOf(broker: BrokerProcess): string {
  return `127.0.0.1:${broker.port('cluster')}`;
}

async function clientOf(...servers: readonly BrokerProcess[]): Promise<PlacementClient> {
  const client = await PlacementClient.create({ servers: servers.map(addressOf), timeoutMs: 20_000 });
  clients.push(client);
  return client;
}

async function readKey(client: PlacementClient, key: string): Promise<string | null> {
  const { item } = await client.get(key);
  return item === undefined ? null : Buffer.from(item.value).toString();
}

async function statusOf(broker: BrokerProcess): Promise<GroupStatus> {
  const response = await fetch(`http://127.0.0.1:${broker.port('http')}/api/v1/cluster/status`);
  return (await response.json()) as GroupStatus;
}

/** Waits until all see `count` voters and a leader. */
async function formed(count: number, ...members: readonly BrokerProcess[]): Promise<GroupStatus> {
  for (const broker of members) {
    await expect
      .poll(async () => {
        const { members: known, leader } = await statusOf(broker);
        return leader === null ? 0 : known.filter(({ role }) => role === 'voter').length;
      }, patient)
      .toBe(count);
  }
  return statusOf(members[0]);
}

async function leaderOf(...members: readonly BrokerProcess[]): Promise<BrokerProcess> {
  let found: BrokerProcess | undefined;
  await expect
    .poll(async () => {
      for (const broker of members) if ((await statusOf(broker)).role === 'leader') found = broker;
      return found !== undefined;
    }, patient)
    .toBe(true);
  return found as BrokerProcess;
}

async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, () => {
      const server = createServer();
      return new Promise<typeof server>((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
    }),
  );
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

async function threeNodes(): Promise<[BrokerProcess, BrokerProcess, BrokerProcess]> {
  const one = await start('one', ['--cluster', '127.0.0.1:0']);
  const two = await start('two', ['--cluster', '127.0.0.1:0', '--join', addressOf(one)]);
  const three = await start('three', ['--cluster', '127.0.0.1:0', '--join', `${addressOf(two)},${addressOf(one)}`]);
  await formed(3, one, two, three);
  return [one, two, three];
}

function ringmq(...flags: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return promisify(execFile)(process.execPath, [program, ...flags], { timeout: 30_000 }).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    ({ code, stdout, stderr }: { code: number; stdout: string; stderr: string }) => ({ code, stdout, stderr }),
  );
}

describe('ringmq start --cluster', { timeout: limitMs }, () => {
  it('forms a cluster with --join, survives the loss of its leader, and takes it back', async () => {
    const all = await threeNodes();
    const client = await clientOf(...all);
    await client.set('before', '1');
    for (const broker of all) {
      expect(await readKey(await clientOf(broker), 'before')).toBe('1');
      const ready = await fetch(`http://127.0.0.1:${broker.port('http')}/readyz`);
      expect(await ready.json()).toEqual({ ready: true });
    }
    await expect.poll(async () => (await client.cluster.nodes()).length, patient).toBe(3);

    const leader = await leaderOf(...all);
    const name = ['one', 'two', 'three'][all.indexOf(leader)];
    await leader.kill();
    await client.set('after', '2');
    const rest = all.filter((broker) => broker !== leader);
    expect(await readKey(await clientOf(...rest), 'before')).toBe('1');

    // Port 0 takes the port of its earlier life, and the way in is not asked for again.
    const back = await start(name, ['--cluster', '127.0.0.1:0', '--join', '127.0.0.1:1']);
    expect(back.port('cluster')).toBe(leader.port('cluster'));
    await formed(3, back);
    expect(await readKey(await clientOf(back), 'after')).toBe('2');
  });

  it('forms one cluster of nodes that all have the same list', async () => {
    const list = (await freePorts(3)).map((port) => `127.0.0.1:${port}`);
    const names = ['a', 'b', 'c'];
    const nodes = await Promise.all(
      list.map((address, index) => start(names[index], ['--cluster', address, '--join', list.join(',')])),
    );
    const { clusterId } = await formed(3, ...nodes);
    for (const broker of nodes) expect((await statusOf(broker)).clusterId).toBe(clusterId);
  });

  it('a node that joins as a learner has no vote before it is promoted, and none asks for it again', async () => {
    const one = await start('one', ['--cluster', '127.0.0.1:0']);
    const flags = ['--cluster', '127.0.0.1:0', '--join', addressOf(one), '--set', 'cluster.joinAs=learner'];
    const two = await start('two', [...flags, '--set', 'cluster.name=two']);
    const client = await clientOf(one);
    await client.set('key', 'value');
    expect(await readKey(await clientOf(two), 'key')).toBe('value');
    const roles = async () => (await statusOf(one)).members.map(({ role }) => role).sort();
    expect(await roles()).toEqual(['learner', 'voter']);
    await two.kill();
    const back = await start('two', [...flags, '--set', 'cluster.name=two']);
    await client.set('key', 'other');
    expect(await readKey(await clientOf(back), 'key')).toBe('other');
    expect(await roles()).toEqual(['learner', 'voter']);
    const promote = () => ringmq('ctl', '--server', addressOf(one), 'member', 'promote', 'two');
    await expect.poll(async () => (await promote()).code, patient).toBe(0);
    await formed(2, one, back);
  });

  it('a node whose disk was wiped comes back as a new replica in the place of the old one', async () => {
    const [one, two, three] = await threeNodes();
    const client = await clientOf(one, two);
    await client.set('key', 'value');
    const { replica: old } = await statusOf(three);
    const port = three.port('cluster');
    await three.kill();
    rmSync(join(folder, 'three'), { recursive: true });
    const back = await start('three', ['--cluster', `127.0.0.1:${port}`, '--join', addressOf(one)]);
    const membersOf = async () => (await statusOf(back)).members.map(({ replica }) => replica);
    await expect.poll(membersOf, patient).not.toContain(old);
    await formed(3, back, one);
    expect((await statusOf(back)).replica).not.toBe(old);
    expect(await readKey(await clientOf(back), 'key')).toBe('value');
  });

  it('SIGTERM on the leader hands leadership over and loses no call of a client', async () => {
    const all = await threeNodes();
    const client = await clientOf(...all);
    const leader = await leaderOf(...all);
    let isOver = false;
    const writing = (async () => {
      let count = 0;
      while (!isOver) await client.set('counter', `${++count}`);
      return count;
    })();
    await leader.stop();
    await client.set('after', 'value');
    isOver = true;
    const count = await writing;
    expect(await readKey(client, 'counter')).toBe(`${count}`);
  });

  it('a single node keeps its data and is a member at its new address when it is given one', async () => {
    const alone = await start('one', []);
    await expect.poll(async () => (await statusOf(alone)).role, patient).toBe('leader');
    await alone.stop();
    const one = await start('one', ['--cluster', '127.0.0.1:0']);
    await expect
      .poll(async () => (await statusOf(one)).members.map(({ address }) => address), patient)
      .toEqual([addressOf(one)]);
    const two = await start('two', ['--cluster', '127.0.0.1:0', '--join', addressOf(one)]);
    await formed(2, one, two);
  });
});

describe('ringmq start --cluster with mutual TLS and a join token', { timeout: limitMs }, () => {
  it('takes in who has a certificate and knows the token, and nobody else', async () => {
    const authority = new TestAuthority();
    try {
      const flagsOf = (name: string, token: string): string[] => {
        const tls = authority.issue(name, ['IP:127.0.0.1']);
        const settings = [
          `cluster.joinToken=${token}`,
          ...Object.entries(tls).map(([key, path]) => `cluster.tls.${key}=${path}`),
        ];
        return ['--cluster', '127.0.0.1:0', ...settings.flatMap((setting) => ['--set', setting])];
      };
      const one = await start('one', flagsOf('one', 'secret'));
      const two = await start('two', [...flagsOf('two', 'secret'), '--join', addressOf(one)]);
      await formed(2, one, two);
      const follower = (await leaderOf(one, two)) === one ? two : one;
      // What only the leader can do goes through the same door.
      const replica = (await statusOf(follower)).replica;
      const response = await fetch(`http://127.0.0.1:${follower.port('http')}/api/v1/cluster/members/transfer`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ replica }),
      });
      expect([response.status, await response.text()]).toEqual([200, expect.any(String)]);
      const stranger = await start('three', [...flagsOf('three', 'guess'), '--join', addressOf(one)]);
      await expect.poll(() => stranger.log, patient).toContain('The join token is wrong');
      const plain = await start('four', ['--cluster', '127.0.0.1:0', '--join', addressOf(one)]);
      await expect.poll(() => plain.log, patient).toContain('Cannot ask node');
      expect((await statusOf(one)).members).toHaveLength(2);
      expect((await statusOf(stranger)).clusterId).toBe('');
    } finally {
      authority.remove();
    }
  });
});

describe('ringmq start, when the placement centre cannot start', { timeout: limitMs }, () => {
  it('says that its log is damaged, and ends with status 1', async () => {
    const one = await start('one', ['--cluster', '127.0.0.1:0']);
    const client = await clientOf(one);
    for (let index = 0; index < 20; index++) await client.set(`key-${index}`, 'x'.repeat(1_000));
    await one.stop();
    const placement = join(folder, 'one', 'placement');
    const logs = readdirSync(placement).filter((name) => name.startsWith('log-'));
    const [segment] = readdirSync(join(placement, logs[0])).sort();
    const file = join(placement, logs[0], segment);
    const bytes = readFileSync(file);
    bytes[8_000] ^= 1;
    writeFileSync(file, bytes);
    const failed = await ringmq(
      'start',
      '--data',
      join(folder, 'one'),
      '--mqtt',
      '127.0.0.1:0',
      '--http',
      '127.0.0.1:0',
    );
    expect(failed.code).toBe(1);
    expect(failed.stderr).toMatch(/ringmq: Cannot start the placement centre: Cannot read log file/);
    expect(failed.stdout).toBe('');
  });

  it('says that the cluster address is taken, or that it would leave the machine without TLS', async () => {
    const one = await start('one', ['--cluster', '127.0.0.1:0']);
    const flags = ['start', '--data', join(folder, 'two'), '--mqtt', '127.0.0.1:0', '--http', '127.0.0.1:0'];
    const taken = await ringmq(...flags, '--cluster', addressOf(one));
    expect(taken).toMatchObject({ code: 1, stderr: expect.stringContaining('Cannot listen on') });
    const open = await ringmq(...flags, '--cluster', '0.0.0.0:0');
    expect(open).toMatchObject({ code: 1, stderr: expect.stringContaining('cluster.tls is not set') });
  });
});

describe('ringmq ctl snapshot restore and ringmq recover', { timeout: limitMs }, () => {
  it('restore makes a new cluster of a backup', async () => {
    const one = await start('one', ['--cluster', '127.0.0.1:0']);
    const client = await clientOf(one);
    for (let index = 0; index < 20; index++) await client.set(`key-${index}`, 'value');
    const file = join(folder, 'backup');
    expect(await ringmq('ctl', '--server', addressOf(one), 'snapshot', 'save', file)).toMatchObject({ code: 0 });
    const { clusterId: old } = await statusOf(one);
    await one.stop();
    const data = join(folder, 'new');
    const restored = await ringmq('ctl', 'snapshot', 'restore', file, '--data', data, '--json');
    expect(restored).toMatchObject({ code: 0, stderr: '' });
    const { clusterId } = JSON.parse(restored.stdout) as { clusterId: string };
    expect(clusterId).not.toBe(old);
    expect(await ringmq('ctl', 'snapshot', 'restore', file, '--data', data)).toMatchObject({ code: 1 });
    const next = await start('new', ['--cluster', '127.0.0.1:0']);
    expect((await statusOf(next)).clusterId).toBe(clusterId);
    expect(await readKey(await clientOf(next), 'key-19')).toBe('value');
  });

  it('recover makes a cluster of what one node has; the others join it anew', async () => {
    const [one, two, three] = await threeNodes();
    const client = await clientOf(one, two, three);
    for (let index = 0; index < 20; index++) await client.set(`key-${index}`, 'value');
    const data = join(folder, 'two');
    const port = two.port('cluster');
    expect(await ringmq('recover', '--data', data, '--force-new-group')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('has it'),
    });
    await Promise.all([one.kill(), two.kill(), three.kill()]);
    expect(await ringmq('recover', '--data', data)).toMatchObject({ code: 2 });
    const recovered = await ringmq('recover', '--data', data, '--force-new-group');
    expect(recovered).toMatchObject({ code: 0, stderr: expect.stringContaining('never start the old nodes again') });
    const next = await start('two', ['--cluster', `127.0.0.1:${port}`]);
    await formed(1, next);
    expect(await readKey(await clientOf(next), 'key-19')).toBe('value');
    rmSync(join(folder, 'one'), { recursive: true });
    const other = await start('one', ['--cluster', '127.0.0.1:0', '--join', addressOf(next)]);
    await formed(2, next, other);
    // An old life is no part of the new group.
    const stray = await start('three', ['--cluster', `127.0.0.1:${three.port('cluster')}`]);
    await expect.poll(async () => (await statusOf(stray)).leader, patient).toBeNull();
    expect((await statusOf(next)).members).toHaveLength(2);
  });
});
