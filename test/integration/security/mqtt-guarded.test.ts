/**
 * Classes of published vulnerabilities of message brokers, against a running one that knows its users and has rules: what is
 * escaped by names, kept after a change, told to strangers, or open beside the front door. Which test stands for which class
 * is told in `docs/security/mqtt-cve-classes.md`.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { BrokerProcess } from '../../support/broker-process.ts';
import { RawClient, type RawConnect } from '../../support/mqtt/raw-client.ts';

const token = 'a-token-of-some-length';
const folder = mkdtempSync(join(tmpdir(), 'ringmq-guarded-'));
const placeholder = (name: string): string => `$\{${name}}`;
const clients: RawClient[] = [];
const ann = { username: 'ann', password: 'secret-word' };
const bob = { username: 'bob', password: 'other-word' };
let broker: BrokerProcess;
let names = 0;

beforeAll(async () => {
  const rulesFile = join(folder, 'rules.yaml');
  writeFileSync(
    rulesFile,
    [
      'rules:',
      `  - { permission: allow, topics: ["devices/${placeholder('clientid')}/#", "homes/${placeholder('username')}/#"] }`,
      '  - { permission: deny, topics: ["devices/#", "homes/#"] }',
    ].join('\n'),
  );
  broker = await BrokerProcess.start({
    settings: {
      'access.rulesFile': rulesFile,
      'access.anonymous': 'never',
      'access.failuresMax': 2,
      'http.authentication': 'required',
      'http.token': token,
    },
  });
  for (const { username: name, password } of [ann, bob]) await made('/users', { name, password });
  await made('/users', { name: 'tied', password: 'third-word', clients: ['tied-1'] });
});

afterEach(async () => {
  for (const { socket } of clients.splice(0)) socket.destroy();
  expect(broker.unexpectedErrors).toEqual([]);
  expect(broker.log).not.toContain('worker died');
});

afterAll(async () => {
  await broker.stop();
  rmSync(folder, { recursive: true, force: true });
});

async function api(path: string, init: RequestInit = {}, isKnown = true): Promise<{ status: number; body: string }> {
  const headers = { 'content-type': 'application/json', ...(isKnown && { authorization: `Bearer ${token}` }) };
  const response = await fetch(`http://127.0.0.1:${broker.port('http')}${path}`, { ...init, headers });
  return { status: response.status, body: await response.text() };
}

async function made(path: string, body: object | string): Promise<void> {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const answer = await api(`/api/v1${path}`, { method: 'POST', body: text });
  expect(answer.status, answer.body).toBeLessThan(300);
}

async function tryConnect(options: RawConnect): Promise<RawClient> {
  const client = await RawClient.tryConnect(broker.port(), { clientId: `guarded-${names++}`, level: 5, ...options });
  clients.push(client);
  return client;
}

async function connect(options: RawConnect = ann): Promise<RawClient> {
  const client = await tryConnect({ ...ann, ...options });
  expect(client.connack.reasonCode ?? client.connack.returnCode).toBe(0);
  return client;
}

async function publishCode(client: RawClient, topic: string): Promise<unknown> {
  client.publish(topic, 'x', { qos: 1 });
  return (await client.packet('puback')).reasonCode;
}

const subscribeCode = async (client: RawClient, filter: string): Promise<unknown> =>
  ((await client.subscribe(filter, 1)).granted as number[])[0];

async function eventually(isTrue: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await isTrue())) await sleep(5);
}

describe('placeholders of rules', () => {
  it('are filled in literally: no client id and no user name reaches beyond itself', async () => {
    for (const clientId of [
      '+',
      '#',
      '+/x',
      'a/b',
      'victim/#',
      '$share',
      '.*',
      '[a-z]+',
      '\u0001',
      placeholder('username'),
    ]) {
      const client = await connect({ clientId });
      const own = /[+#/$]/.test(clientId) ? 0x87 : 0;
      for (const filter of [
        'devices/victim/up',
        'devices/+/up',
        'devices/#',
        '#',
        '+/victim/up',
        `devices/${clientId}x/#`,
      ])
        expect(await subscribeCode(client, filter), `${clientId} ${filter}`).not.toBe(1);
      if (own === 0) expect(await subscribeCode(client, `devices/${clientId}/#`), clientId).toBe(1);
      expect(await publishCode(client, 'devices/victim/up')).toBe(0x87);
    }
  });

  it('and prefixes of subscriptions are no way around them', async () => {
    const client = await connect({ clientId: 'walker' });
    for (const filter of ['$share/g/devices/victim/#', '$queue/devices/victim/#', '$exclusive/devices/victim/#'])
      expect(await subscribeCode(client, filter), filter).toBe(0x87);
    expect(await subscribeCode(client, '$share/g/devices/walker/#')).toBe(1);
    expect(await subscribeCode(client, '$share/devices/walker/#')).toBe(1);
    client.publish('devices/victim/up', 'x', { qos: 2, properties: { topicAlias: 1 } });
    expect((await client.packet('pubrec')).reasonCode).toBe(0x87);
    client.publish('', 'x', { qos: 1, properties: { topicAlias: 1 } });
    expect((await client.packet('puback')).reasonCode).toBe(0x87);
  });

  it("stay in force for $ topics, which are the broker's", async () => {
    const client = await connect();
    for (const topic of ['$SYS/broker/uptime', '$CONTROL/dynamic-security/v1', '$share/g/t', '$made/up'])
      expect(await publishCode(client, topic), topic).toBe(0x87);
    for (const topic of ['$SYS/x', '$CONTROL/x']) {
      const will = { topic, payload: 'x', qos: 0, retain: false };
      expect((await tryConnect({ ...ann, will })).connack.reasonCode, topic).not.toBe(0);
    }
  });
});

describe('a permission that is taken away', () => {
  it('is gone for subscriptions, groups, retained messages, wills, sessions and QoS 2 under way', async () => {
    const will = { topic: 'live/will', payload: 'x', qos: 1, retain: true };
    const reader = await connect({ level: 4 });
    for (const filter of ['live/#', '$share/g/live/+']) expect(await subscribeCode(reader, filter)).toBe(1);
    const lasting = { clientId: 'lasting', clean: false, properties: { sessionExpiryInterval: 60 } };
    const away = await connect(lasting);
    for (const filter of ['live/#', 'calm/#']) await away.subscribe(filter, 1);
    away.publish('live-not/half', 'x', { qos: 2, messageId: 77 });
    await away.packet('pubrec');
    await away.cut();
    const publisher = await connect();
    await publisher.publishTaken('live/retained', 'secret', { qos: 1, retain: true });
    await reader.packets(2);
    await made('/acl', { name: 'no-more', order: 1, permission: 'deny', topics: ['live/#'], users: ['ann'] });
    await eventually(async () => (await publishCode(publisher, 'live/a')) === 0x87);
    const dying = await connect({ will });
    const outsider = await connect({ ...bob });
    await outsider.subscribe('live/will', 1);
    await dying.cut();
    await publishCode(outsider, 'live/new');
    await reader.barrier(); // What was published before the rule was in force.
    await publishCode(outsider, 'live/newer');
    await publishCode(outsider, 'calm/after');
    expect(await subscribeCode(reader, 'live/retained')).toBe(0x80);
    expect(await reader.barrier()).toEqual([]);
    const back = await connect(lasting);
    expect(back.connack.sessionPresent).toBe(true);
    // What it sent before is finished; what it may not read any more does not come, what it may does.
    back.send({ cmd: 'pubrel', messageId: 77 });
    const answers = [await back.frame(), await back.frame()].map((frame) => frame[0] >> 4);
    expect(answers.sort()).toEqual([3, 7]);
    expect((await back.barrier()).filter(({ cmd }) => cmd === 'publish')).toEqual([]);
    expect((await outsider.barrier()).filter(({ cmd }) => cmd === 'publish')).toEqual([]);
    await made('/acl/delete', { name: 'no-more' });
  });

  it('is gone with the user, at once', async () => {
    await made('/users', { name: 'leaver', password: 'fourth-word' });
    const leaver = { username: 'leaver', password: 'fourth-word' };
    const client = await connect(leaver);
    await made('/users/delete', { name: 'leaver' });
    expect(await client.closed()).toMatchObject([{ cmd: 'disconnect', reasonCode: 0x98 }]);
    expect((await tryConnect(leaver)).connack.reasonCode).toBe(0x86);
  });
});

describe('a client id', () => {
  it('of another user gives nothing that its user may not read, and can be tied to one user', async () => {
    const session = { clientId: 'shared-id', clean: false, properties: { sessionExpiryInterval: 60 } };
    const owner = await connect(session);
    for (const filter of ['homes/ann/#', 'everyone']) expect(await subscribeCode(owner, filter)).toBe(1);
    await owner.cut();
    const writer = await connect();
    expect(await publishCode(writer, 'homes/ann/door')).toBeLessThan(0x80);
    expect(await publishCode(writer, 'everyone')).toBeLessThan(0x80);
    const other = await connect({ ...session, ...bob });
    expect((await other.packet('publish')).topic).toBe('everyone');
    expect(await publishCode(writer, 'homes/ann/door')).toBeLessThan(0x80);
    expect(await other.barrier()).toEqual([]);
    const tied = { username: 'tied', password: 'third-word' };
    expect((await tryConnect({ ...tied, clientId: 'tied-1' })).connack.reasonCode).toBe(0);
    expect((await tryConnect({ ...tied, clientId: 'tied-2' })).connack.reasonCode).not.toBe(0);
    await made('/acl', { name: 'its', order: 1, permission: 'allow', actions: ['connect'], users: ['tied'] });
    await made('/acl', { name: 'not', order: 2, permission: 'deny', actions: ['connect'], clients: ['tied-1'] });
    await eventually(async () => (await tryConnect({ ...bob, clientId: 'tied-1' })).connack.reasonCode === 0x87);
    expect((await tryConnect({ ...tied, clientId: 'tied-1' })).connack.reasonCode).toBe(0);
  });
});

describe('a stranger', () => {
  it('is told the same of a name that nobody has and of a wrong password, and no more after some of them', async () => {
    const codeOf = async (username: string): Promise<unknown> =>
      (await tryConnect({ username, password: 'guessed-word' })).connack.reasonCode;
    expect([await codeOf('ann'), await codeOf('nobody'), await codeOf('__proto__')]).toEqual([0x86, 0x86, 0x86]);
    expect([await codeOf('nobody'), await codeOf('nobody')]).toEqual([0x86, 0x9f]);
    expect((await tryConnect({})).connack.reasonCode).toBe(0x87);
    expect(broker.log).not.toMatch(/guessed-word|secret-word|other-word/);
  });

  it('is told nothing by the administration API but that it lives', async () => {
    for (const path of ['/', '/metrics', '/api/v1/users', '/api/v1/acl', '/api/v1/streams', '/api/v1/cluster/members'])
      expect((await api(path, {}, false)).status, path).toBe(401);
    const change = { method: 'POST', body: JSON.stringify({ name: 'mallory', password: 'fifth-word' }) };
    expect((await api('/api/v1/users', change, false)).status).toBe(401);
    expect((await api('/livez', {}, false)).status).toBe(200);
    expect((await api('/api/v1/users')).body).not.toMatch(/mallory|\$scrypt|verifiers/);
  });
});

describe('the administration API', () => {
  it('takes no body beyond its limit, and what it is not asked for is refused', async () => {
    const body = JSON.stringify({ name: 'x'.repeat(5 * 1_048_576) });
    const status = await api('/api/v1/users', { method: 'POST', body }).then(
      (answer) => answer.status,
      () => 413, // The connection was cut while it was still sending.
    );
    expect(status).toBe(413);
    for (const path of ['/api/v1/plugins', '/api/v1/bridges', '/api/v1/configuration']) {
      const foreign = { method: 'POST', body: '{"server":"file:///etc/passwd","url":"http://127.0.0.1:1/"}' };
      expect([404, 405], path).toContain((await api(path, foreign)).status);
    }
  });

  it('takes no rights from keys that every object has', async () => {
    const pollution = '{"name":"eve","password":"sixth-word","__proto__":{"isSuperuser":true,"isAdministrator":true}}';
    const answer = await api('/api/v1/users', { method: 'POST', body: pollution });
    expect(answer.status).toBe(400);
    const nested = '{"name":"eve","password":"sixth-word","constructor":{"prototype":{"isSuperuser":true}}}';
    expect((await api('/api/v1/users', { method: 'POST', body: nested })).status).toBe(400);
    expect((await api('/api/v1/users')).body).not.toContain('eve');
    const client = await connect();
    expect(await publishCode(client, 'devices/victim/up')).toBe(0x87);
  });

  it('answers names of clients as data that no browser runs', async () => {
    const name = '<script>alert(1)</script>';
    await made('/blocks', { kind: 'client', value: name, reason: name });
    const response = await fetch(`http://127.0.0.1:${broker.port('http')}/api/v1/blocks`, {
      headers: { authorization: `Bearer ${token}` },
    });
    expect(response.headers.get('content-type')).toMatch(/^application\/json/);
    expect(response.headers.get('x-content-type-options')).toBe('nosniff');
    expect(response.headers.get('content-security-policy')).toContain("default-src 'none'");
    expect(await response.text()).toContain('<script>');
  });
});
