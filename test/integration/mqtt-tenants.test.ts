/**
 * Tenants against a real broker with two workers and the same names in all of them: listeners of a tenant, by host name and by certificate,
 * clients that choose theirs, durable sessions and shared groups over kill -9, retained and delayed messages, wills, `$SYS`.
 */
import { readFileSync } from 'node:fs';
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Broker, startBroker } from '../../src/main/index.ts';
import { DurableBroker, lasting, payloadsOf, publishStored } from '../support/mqtt/durable-client.ts';
import { RawClient, type RawConnect } from '../support/mqtt/raw-client.ts';
import { ScramClient } from '../support/scram-client.ts';
import { RevokingAuthority } from '../support/transports/authority.ts';
import { runCli } from '../unit/cli/support.ts';

const tenants = ['default', 'acme', 'a/b'] as const;
const settings = {
  sharding: 'round-robin',
  'mqtt.tenants': { choice: true, open: ['acme', 'a/b'] },
  listeners: [
    { name: 'mqtt', protocol: 'mqtt', address: '127.0.0.1:0' },
    { name: 'of-acme', protocol: 'mqtt', address: '127.0.0.1:0', tenant: { name: 'acme' } },
  ],
};

/** In the tenant, by the user property. */
function of(tenant: string, clientId: string, more: RawConnect & { expiry?: number } = {}): RawConnect {
  const { properties, ...others } = more;
  return lasting(clientId, { ...others, properties: { userProperties: { tenant }, ...properties } });
}

function passing(tenant: string, clientId: string, more: RawConnect = {}): RawConnect {
  return of(tenant, clientId, { clean: true, expiry: 0, ...more });
}

describe('clients that choose their tenant', () => {
  let broker: DurableBroker;
  beforeAll(async () => {
    broker = await DurableBroker.start({ settings });
    await api('/users', { tenant: 'closed', name: 'ann', password: 'secret-word' });
  });
  afterAll(() => broker.end());

  async function api(path: string, body: object): Promise<void> {
    const response = await fetch(`http://127.0.0.1:${broker.process.port('http')}/api/v1${path}`, {
      ...{ method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) },
    });
    if (!response.ok) throw new Error(await response.text());
  }

  function each<T>(work: (tenant: string) => Promise<T>): Promise<T[]> {
    return Promise.all(tenants.map(work));
  }

  it('have their publications on every worker, of every QoS, and nobody else does', async () => {
    const readers = await each((tenant) => broker.connect(passing(tenant, 'reader')));
    const second = await each((tenant) => broker.connect(passing(tenant, 'second')));
    for (const reader of [...readers, ...second]) await reader.subscribe('#', 0);
    await each(async (tenant) => {
      const writer = await broker.connect(passing(tenant, 'writer'));
      for (const qos of [0, 1, 2]) await writer.publishTaken('x/y', `${qos} of ${tenant}`, qos === 0 ? {} : { qos });
      await writer.disconnect();
    });
    for (const all of [readers, second])
      for (const [index, reader] of all.entries()) {
        const found = await reader.packets(3);
        expect(payloadsOf(found)).toEqual([0, 1, 2].map((qos) => `${qos} of ${tenants[index]}`));
        expect(found.map(({ topic }) => topic)).toEqual(['x/y', 'x/y', 'x/y']);
        expect(await reader.barrier()).toEqual([]);
        await reader.disconnect();
      }
  });

  it('find their sessions, shared groups and retained messages again after kill -9, and no others', async () => {
    await each(async (tenant) => {
      const session = await broker.connect(of(tenant, 'c'));
      expect(await session.subscribe('d/+', 2)).toMatchObject({ granted: [2] });
      const member = await broker.connect(of(tenant, 'member'));
      expect(await member.subscribe('$share/g/k/#', 1)).toMatchObject({ granted: [1] });
      const lone = await broker.connect(
        of(tenant, 'lone', { will: { topic: 'd/will', payload: `will of ${tenant}`, qos: 1 } }),
      );
      expect(await lone.subscribe('$exclusive/e', 1)).toMatchObject({ granted: [1] });
      await session.cut();
      await member.cut();
      await lone.cut();
    });
    await each(async (tenant) => {
      const writer = await broker.connect(passing(tenant, 'writer'));
      await publishStored(writer, 'd/1', `one of ${tenant}`);
      await publishStored(writer, 'd/2', `two of ${tenant}`, 2);
      await publishStored(writer, 'k/1', `shared of ${tenant}`);
      writer.publish('r', `kept of ${tenant}`, { qos: 1, retain: true });
      await writer.packet('puback');
      await writer.disconnect();
    });
    await broker.restart();
    await each(async (tenant) => {
      const session = await broker.connect(of(tenant, 'c'));
      expect(session.connack).toMatchObject({ sessionPresent: true });
      const found = await session.packets(3);
      expect(found.map(({ topic, payload }) => `${topic} ${payload}`).toSorted()).toEqual([
        `d/1 one of ${tenant}`,
        `d/2 two of ${tenant}`,
        `d/will will of ${tenant}`,
      ]);
      for (const { qos, messageId } of found) session.send({ cmd: qos === 1 ? 'puback' : 'pubrec', messageId });
      const { messageId: released } = await session.packet('pubrel');
      session.send({ cmd: 'pubcomp', messageId: released });
      expect(await session.barrier()).toEqual([]);
      const member = await broker.connect(of(tenant, 'member'));
      expect(payloadsOf(await member.packets(1))).toEqual([`shared of ${tenant}`]);
      const reader = await broker.connect(passing(tenant, 'reader'));
      await reader.subscribe('#', 0);
      expect(payloadsOf(await reader.packets(1))).toEqual([`kept of ${tenant}`]);
      expect(await reader.barrier()).toEqual([]);
      const rival = await broker.connect(passing(tenant, 'rival'));
      expect(await rival.subscribe('$exclusive/e', 1)).toMatchObject({ granted: [0x97] });
      for (const client of [session, member, reader, rival]) await client.disconnect();
    });
  });

  it('keep their session on whichever worker they come, and take over nobody of another tenant', async () => {
    const first = await each((tenant) => broker.connect(of(tenant, 'mover')));
    for (const client of first) await client.subscribe('m', 1);
    for (const [index, tenant] of tenants.entries()) {
      // Connections go round: one of these two is on another worker than the first.
      for (let turn = 0; turn < 2; turn++) {
        const next = await broker.connect(of(tenant, 'mover'));
        expect(next.connack).toMatchObject({ sessionPresent: true });
        expect(await (first[index] as RawClient).closed()).toMatchObject([{ cmd: 'disconnect', reasonCode: 0x8e }]);
        first[index] = next;
        await broker.connect(passing(tenant, `step-${turn}`));
      }
      const others = first.filter((_, at) => at !== index);
      for (const other of others) expect(await other.barrier()).toEqual([]);
    }
    for (const client of first) await client.disconnect();
  });

  it('publish later in their tenant', async () => {
    const readers = await each((tenant) => broker.connect(passing(tenant, 'late-reader')));
    for (const reader of readers) await reader.subscribe('late', 1);
    await each(async (tenant) => {
      const writer = await broker.connect(passing(tenant, 'late-writer'));
      await publishStored(writer, '$delayed/1/late', `late of ${tenant}`);
      await writer.disconnect();
    });
    for (const [index, reader] of readers.entries()) {
      expect(payloadsOf(await reader.packets(1))).toEqual([`late of ${tenants[index]}`]);
      expect(await reader.barrier()).toEqual([]);
      await reader.disconnect();
    }
  });

  it('read nothing of the node, and of other tenants no events', async () => {
    const [plain, acme, other] = (await each((tenant) => broker.connect(passing(tenant, 'watch')))) as [
      RawClient,
      RawClient,
      RawClient,
    ];
    for (const watcher of [plain, acme, other]) await watcher.subscribe('$SYS/#', 0);
    expect((await plain.barrier()).length).toBeGreaterThan(10);
    const client = await broker.connect(passing('acme', 'watched'));
    const told: string[] = [];
    while (!told.some((topic) => topic.endsWith('/clients/watched/connected')))
      told.push(...(await acme.packets(1)).map(({ topic }) => String(topic)));
    expect(told.filter((topic) => !topic.includes('/clients/watch'))).toEqual([]);
    const ofOther = (await other.barrier()).map(({ topic }) => String(topic));
    expect(ofOther.filter((topic) => !topic.endsWith('/clients/watch/subscribed'))).toEqual([]);
    const seen = (await plain.barrier()).map(({ topic }) => String(topic));
    expect(seen.filter((topic) => topic.includes('/watched/'))).toEqual([]);
    for (const each of [plain, acme, other, client]) await each.cut();
  });

  it('need an account where the tenant is not open', async () => {
    const code = async (options: RawConnect): Promise<unknown> => {
      const { connack, socket } = await broker.tryConnect({ level: 5, ...options });
      socket.destroy();
      return connack.reasonCode;
    };
    const password = 'secret-word';
    expect(await code({ clientId: 'c', username: 'closed@ann', password })).toBe(0);
    expect(await code(passing('closed', 'c', { username: 'ann', password }))).toBe(0);
    expect(await code({ clientId: 'closed@c', username: 'ann', password })).toBe(0);
    expect(await code({ clientId: 'c', username: 'closed@ann', password: 'wrong-word' })).toBe(0x86);
    expect(await code({ clientId: 'c', username: 'unknown@ann', password })).toBe(0x86);
    expect(await code({ clientId: 'unknown@c' })).toBe(0x87);
    expect(await code(passing('closed', 'c'))).toBe(0x87);
    expect(await code(passing('', 'c'))).toBe(0x87);
  });

  it('log in with SCRAM to the account that their tenant has of that name', async () => {
    for (const tenant of ['first', 'second'])
      await api('/users', { tenant, name: 'eve', password: `word-of-${tenant}`, scram: ['scram-sha-256'] });
    /** The reason code of CONNACK, and whether the server has shown that it knows the password. */
    const logIn = async (tenant: string, word: string, options: IClientOptions): Promise<[unknown, boolean]> => {
      const scram = new ScramClient('sha256', 'eve', word);
      const authenticationMethod = 'SCRAM-SHA-256';
      const client = mqtt.connect(`mqtt://127.0.0.1:${broker.process.port('mqtt')}`, {
        ...{ reconnectPeriod: 0, protocolVersion: 5, manualConnect: true, ...options },
        properties: {
          ...{ authenticationMethod, authenticationData: Buffer.from(scram.first) },
          ...(options.clientId === undefined ? { userProperties: { tenant } } : {}),
        },
      });
      client.handleAuth = (packet, callback) => {
        const authenticationData = Buffer.from(scram.final(String(packet.properties?.authenticationData)));
        const properties = { authenticationMethod, authenticationData };
        callback(undefined, { cmd: 'auth', reasonCode: 0x18, properties });
      };
      const over = new Promise<[unknown, boolean]>((resolve) => {
        client.once('connect', ({ reasonCode, properties }) =>
          resolve([reasonCode, scram.isServer(String(properties?.authenticationData))]),
        );
        client.once('error', (error) => resolve([(error as { code?: number }).code, false]));
      });
      client.connect();
      const outcome = await over;
      await client.endAsync(true);
      return outcome;
    };
    for (const tenant of ['first', 'second']) {
      expect(await logIn(tenant, `word-of-${tenant}`, {})).toEqual([0, true]);
      expect(await logIn(tenant, `word-of-${tenant}`, { clientId: `${tenant}@c` })).toEqual([0, true]);
    }
    expect(await logIn('first', 'word-of-second', {})).toEqual([0x86, false]);
    expect(await logIn('unknown', 'word-of-first', {})).toEqual([0x86, false]);
  });

  it('are in the tenant of their listener, and choose no other', async () => {
    const port = broker.process.port('of-acme');
    const reader = await RawClient.connect(port, { clientId: 'other@there' });
    await reader.subscribe('#', 0);
    const chosen = await broker.connect(passing('acme', 'here'));
    await chosen.publishTaken('from', 'acme', { qos: 1 });
    await (await broker.connect(passing('default', 'here'))).publishTaken('from', 'default', { qos: 1 });
    const found = [...(await reader.packets(2)), ...(await reader.barrier())];
    // The first one is retained from before.
    expect(found.map(({ topic, payload }) => `${topic} ${payload}`)).toEqual(['r kept of acme', 'from acme']);
    const refused = await RawClient.tryConnect(port, passing('a/b', 'c'));
    expect(refused.connack).toMatchObject({ reasonCode: 0x87 });
    await reader.cut();
    refused.socket.destroy();
  });

  it('are told apart by an administrator', async () => {
    const server = ['--server', `127.0.0.1:${broker.process.port('http')}`];
    const list = async (...more: string[]): Promise<unknown> => {
      const { out, err } = await runCli(['ctl', 'retained', 'list', ...server, '--json', ...more]);
      expect(err).toBe('');
      return JSON.parse(out);
    };
    expect(await list()).toMatchObject({ values: [{ topic: 'r', tenant: '' }] });
    expect(await list('--tenant', 'a/b')).toMatchObject({ values: [{ topic: 'r', tenant: 'a/b' }] });
    const get = await runCli(['ctl', 'retained', 'get', 'r', '--tenant', 'a/b', ...server]);
    expect(get.out).toBe('kept of a/b\n');
    await runCli(['ctl', 'retained', 'delete', 'r', '--tenant', 'a/b', ...server]);
    expect(await list('--tenant', 'a/b')).toMatchObject({ values: [] });
    expect(await list('--tenant', 'acme')).toMatchObject({ values: [{ topic: 'r' }] });
  });
});

describe('listeners that go by TLS', () => {
  let authority: RevokingAuthority;
  let broker: Broker;
  const clients: MqttClient[] = [];

  beforeAll(async () => {
    authority = new RevokingAuthority();
    const own = authority.issue('mq', ['DNS:acme.example', 'DNS:localhost']);
    const listener = { protocol: 'mqtt', transport: 'tls', address: '127.0.0.1:0' };
    const byHost = { from: 'server-name', names: [{ value: 'Acme.example', tenant: 'acme' }] };
    const byPart = { from: 'certificate-organization', name: 'rest', names: [{ value: 'Acme, Inc.', tenant: 'acme' }] };
    broker = await startBroker({
      workers: 2,
      logLevel: 'error',
      http: false,
      settings: {
        sharding: 'round-robin',
        tls: { certificate: own.certificate, key: own.key, ca: authority.ca },
        listeners: [
          { ...listener, name: 'host', tenant: byHost },
          { ...listener, name: 'part', tls: { clientCertificate: 'required' }, tenant: byPart },
        ],
      },
    });
  });
  afterAll(async () => {
    for (const client of clients) await client.endAsync(true);
    await broker.stop();
    authority.remove();
  });

  async function connect(listener: string, servername: string, more: IClientOptions = {}): Promise<MqttClient> {
    const options = {
      ca: readFileSync(authority.ca),
      servername,
      reconnectPeriod: 0,
      protocolVersion: 5 as const,
      ...more,
    };
    const client = await mqtt.connectAsync(`mqtts://127.0.0.1:${broker.port(listener)}`, options);
    client.on('error', () => undefined);
    clients.push(client);
    return client;
  }

  function device(name: string, subject: string): IClientOptions {
    const { certificate, key } = authority.issue(name, [`DNS:${name}`], { subject });
    return { cert: readFileSync(certificate), key: readFileSync(key), clientId: name };
  }

  /** What the reader gets while these publish one after the other. */
  async function readBy(reader: MqttClient, writers: readonly MqttClient[]): Promise<string[]> {
    const found: string[] = [];
    reader.on('message', (_, payload) => found.push(payload.toString()));
    await reader.subscribeAsync('#');
    for (const [index, writer] of writers.entries()) await writer.publishAsync('t', `${index}`, { qos: 1 });
    await reader.unsubscribeAsync('#');
    return found;
  }

  it('know the tenant by the host name', async () => {
    const reader = await connect('host', 'acme.example');
    expect(await readBy(reader, [await connect('host', 'ACME.example')])).toEqual(['0']);
    await expect(connect('host', 'localhost')).rejects.toThrow(/Not authorized/i);
  });

  it('know the tenant by the certificate', async () => {
    const acme = device('one', '/O=Acme, Inc./CN=one');
    const other = device('two', '/O=Acme/CN=two');
    const reader = await connect('part', 'localhost', acme);
    const rest = await connect('part', 'localhost', other);
    const byHost = await connect('host', 'acme.example');
    expect(await readBy(reader, [rest, byHost])).toEqual(['1']);
  });
});
