/**
 * Access control of a real broker with two workers: users, rules, templates, live changes, SCRAM, blocks, the administration
 * API and the command line, with MQTT.js as the client.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt';
import type { IAuthPacket } from 'mqtt-packet';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { BrokerProcess } from '../support/broker-process.ts';
import { ScramClient } from '../support/scram-client.ts';
import { runCli } from '../unit/cli/support.ts';

let broker: BrokerProcess;
let folder: string;
let rulesFile: string;
const clients: MqttClient[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ringmq-access-'));
  rulesFile = join(folder, 'rules.yaml');
  writeFileSync(rulesFile, 'rules:\n  - permission: deny\n    topics: ["file/denied"]\n');
  const settings = { 'access.rulesFile': rulesFile, 'http.token': 'a-token-of-some-length' };
  broker = await BrokerProcess.start({ settings, expectedErrors: [/Rule file cannot be used/] });
  await api('/users', { name: 'ann', password: 'secret-word', scram: ['scram-sha-256'], groups: ['staff'] });
  await api('/users', { name: 'bob', password: 'other-word' });
  await api('/users', { name: 'root', password: 'super-word', isSuperuser: true, isAdministrator: true });
});

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.endAsync(true)));
});

afterAll(async () => {
  await broker.stop();
  rmSync(folder, { recursive: true, force: true });
});

async function api(
  path: string,
  body?: object,
  headers: Record<string, string> = {},
): Promise<{ status: number; body: unknown }> {
  const response = await fetch(`http://127.0.0.1:${broker.port('http')}/api/v1${path}`, {
    method: body === undefined ? 'GET' : 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: response.status, body: await response.json() };
}

async function connect(options: IClientOptions = {}): Promise<MqttClient> {
  const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${broker.port()}`, {
    reconnectPeriod: 0,
    protocolVersion: 5,
    ...options,
  });
  client.on('error', () => undefined);
  clients.push(client);
  return client;
}

/** MQTT.js has no call for AUTH by itself. */
function sendPacket(client: MqttClient, packet: IAuthPacket): void {
  (client as unknown as { _sendPacket(packet: IAuthPacket): void })._sendPacket(packet);
}

const ann: IClientOptions = { username: 'ann', password: 'secret-word' };

/** Reason code of the refusal, or 0. */
async function codeOf(options: IClientOptions): Promise<number> {
  try {
    await connect(options);
    return 0;
  } catch (error) {
    return (error as { code: number }).code;
  }
}

async function publishCode(client: MqttClient, topic: string): Promise<number> {
  try {
    const packet = await client.publishAsync(topic, 'x', { qos: 1 });
    return (packet as { reasonCode?: number } | undefined)?.reasonCode ?? 0;
  } catch (error) {
    return (error as { code: number }).code;
  }
}

/** What SUBACK says of one filter. */
function subscribeCode(client: MqttClient, topic: string): Promise<number> {
  return new Promise((resolve) => {
    client.subscribe(topic, (_error, _granted, packet) => resolve(Number(packet?.granted[0] ?? -1)));
  });
}

/** Rules travel to the workers in the background. */
async function eventually(isTrue: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await isTrue())) await sleep(10);
}

async function withRules(rules: readonly object[], work: () => Promise<void>): Promise<void> {
  for (const [order, rule] of rules.entries()) {
    expect(await api('/acl', { name: `rule-${order}`, order, ...rule })).toMatchObject({ status: 201 });
  }
  try {
    await work();
  } finally {
    for (const order of rules.keys()) await api('/acl/delete', { name: `rule-${order}` });
    await eventually(async () => {
      const { body } = await api('/acl/check', { action: 'publish', topic: 'any/where', user: 'ann', client: 'c' });
      return (body as { isAllowed: boolean }).isAllowed;
    });
  }
}

describe('logins', () => {
  test('CONNECT is accepted and refused with the codes of each version', async () => {
    expect(await codeOf(ann)).toBe(0);
    expect(await codeOf({})).toBe(0);
    expect(await codeOf({ ...ann, password: 'secret-wort' })).toBe(0x86);
    expect(await codeOf({ ...ann, password: 'secret-wort', protocolVersion: 4 })).toBe(4);
    expect(await codeOf({ username: 'nobody', password: 'secret-word' })).toBe(0x86);
    expect(await codeOf({ username: '', password: 'secret-word' })).toBe(0x86);
    expect(await codeOf({ username: 'ann', password: 'secret-word\u0000' })).toBe(0x86);
    expect(await codeOf({ properties: { authenticationMethod: 'CRAM-MD5' } })).toBe(0x8c);
  });

  test('a password is never in the log, nor in an answer', async () => {
    expect(broker.log).not.toMatch(/secret-wor|super-word|\$scrypt/);
    const { body } = await api('/users');
    expect(JSON.stringify(body)).not.toMatch(/\$scrypt\$|\$scram|secret/);
  });

  test('AUTH goes through SCRAM, and again while the client is connected', async () => {
    const scram = new ScramClient('sha256', 'ann', 'secret-word');
    const method = 'SCRAM-SHA-256';
    const answers: { reasonCode: number; data: string }[] = [];
    let exchange = scram;
    const client = mqtt.connect(`mqtt://127.0.0.1:${broker.port()}`, {
      reconnectPeriod: 0,
      protocolVersion: 5,
      manualConnect: true,
      properties: { authenticationMethod: method, authenticationData: Buffer.from(scram.first) },
    });
    clients.push(client);
    client.handleAuth = (packet, callback) => {
      const data = String(packet.properties?.authenticationData ?? '');
      answers.push({ reasonCode: packet.reasonCode, data });
      if (packet.reasonCode !== 0x18) {
        callback();
        return;
      }
      const properties = { authenticationMethod: method, authenticationData: Buffer.from(exchange.final(data)) };
      callback(undefined, { cmd: 'auth', reasonCode: 0x18, properties });
    };
    const connected = new Promise<{ properties?: { authenticationData?: Buffer } }>((resolve, reject) => {
      client.once('connect', (packet) => resolve(packet as never));
      client.once('error', reject);
    });
    client.connect();
    const connack = await connected;
    expect(scram.isServer(String(connack.properties?.authenticationData))).toBe(true);
    exchange = new ScramClient('sha256', 'ann', 'secret-word', 'another-nonce');
    const properties = { authenticationMethod: method, authenticationData: Buffer.from(exchange.first) };
    sendPacket(client, { cmd: 'auth', reasonCode: 0x19, properties });
    await eventually(() => answers.some(({ reasonCode }) => reasonCode === 0));
    expect(exchange.isServer(answers.at(-1)?.data ?? '')).toBe(true);
    expect(await publishCode(client, 'after/scram')).toBeLessThan(0x80);
  });
});

describe('rules', () => {
  test('publications and subscriptions are denied with the code of not authorized', async () => {
    const rules = [
      { permission: 'allow', users: ['ann'], topics: [`devices/\${clientid}/#`, `groups/\${username}`] },
      { permission: 'deny', users: ['ann'], topics: ['devices/#', 'groups/#'] },
      { permission: 'deny', actions: ['connect'], clients: ['kept-out'] },
    ];
    await withRules(rules, async () => {
      const client = await connect({ ...ann, clientId: 'c1' });
      await eventually(async () => (await publishCode(client, 'devices/c2/up')) === 0x87);
      expect(await publishCode(client, 'devices/c1/up')).toBeLessThan(0x80);
      expect(await publishCode(client, 'groups/ann')).toBeLessThan(0x80);
      expect(await publishCode(client, 'file/denied')).toBe(0x87);
      expect(await subscribeCode(client, 'devices/c1/#')).toBe(0);
      for (const filter of ['devices/+/up', '#', 'devices/#', '$share/g/devices/c2/#']) {
        expect(await subscribeCode(client, filter), filter).toBe(0x87);
      }
      const wild = await connect({ ...ann, clientId: '+' });
      expect(await publishCode(wild, 'devices/c1/up')).toBe(0x87);
      expect(await subscribeCode(wild, 'devices/+/up')).toBe(0x87);
      expect(await codeOf({ ...ann, clientId: 'kept-out' })).toBe(0x87);
      const root = await connect({ username: 'root', password: 'super-word' });
      expect(await publishCode(root, 'devices/c2/up')).toBeLessThan(0x80);
    });
  });

  test('a rule that is added applies to clients that are there: publisher, subscriber, waiting messages, will', async () => {
    const subscriber = await connect({ ...ann, clientId: 'watcher' });
    await subscriber.subscribeAsync(['live/#', 'else/#']);
    const publisher = await connect({ username: 'bob', password: 'other-word' });
    const dying = await connect({
      username: 'bob',
      password: 'other-word',
      protocolVersion: 4,
      will: { topic: 'live/will', payload: Buffer.from('gone'), qos: 0, retain: false },
    });
    const witness = await connect({ username: 'root', password: 'super-word' });
    await witness.subscribeAsync(['live/#', 'end']);
    const seen: string[] = [];
    witness.on('message', (topic) => seen.push(topic));
    const told = new Promise<number | undefined>((resolve) => {
      subscriber.once('disconnect', (packet) => resolve(packet.reasonCode));
    });
    await withRules([{ permission: 'deny', users: ['ann', 'bob'], topics: ['live/#'] }], async () => {
      expect(await told).toBe(0x87);
      expect(await publishCode(publisher, 'live/a')).toBe(0x87);
      dying.stream.destroy();
      await eventually(async () => /Publication was denied.*live\/will/.test(broker.log));
      await publisher.publishAsync('end', '');
      await eventually(() => seen.includes('end'));
      expect(seen).toEqual(['end']);
    });
  });

  test('the rule file is read again; a broken one changes nothing, an empty one denies everything and says why', async () => {
    const client = await connect(ann);
    expect(await publishCode(client, 'file/denied')).toBe(0x87);
    writeFileSync(rulesFile, 'rules: [[[');
    broker.signal('SIGHUP');
    await eventually(() => /the rules before it stay in force/.test(broker.log));
    expect(await publishCode(client, 'file/denied')).toBe(0x87);
    expect(await publishCode(client, 'file/other')).toBeLessThan(0x80);
    writeFileSync(rulesFile, '# nothing\n');
    broker.signal('SIGHUP');
    await eventually(async () => (await publishCode(client, 'file/other')) === 0x87);
    expect((await api('/acl/status')).body).toMatchObject({ problem: expect.stringContaining('holds no rules') });
    writeFileSync(rulesFile, 'rules:\n  - permission: deny\n    topics: ["file/denied"]\n');
    broker.signal('SIGHUP');
    await eventually(async () => (await publishCode(client, 'file/other')) < 0x80);
  });
});

describe('accounts and blocks', () => {
  test('a client is cut when its user is switched off, and comes back when it is on again', async () => {
    const client = await connect({ username: 'bob', password: 'other-word' });
    const closed = new Promise<void>((resolve) => client.once('close', () => resolve()));
    await api('/users/change', { name: 'bob', isEnabled: false });
    await closed;
    expect(await codeOf({ username: 'bob', password: 'other-word' })).toBe(0x86);
    await api('/users/change', { name: 'bob', isEnabled: true });
    await eventually(async () => (await codeOf({ username: 'bob', password: 'other-word' })) === 0);
  });

  test('a blocked client id is cut and refused as banned until it is let in again', async () => {
    const client = await connect({ clientId: 'pest' });
    const closed = new Promise<void>((resolve) => client.once('close', () => resolve()));
    await api('/blocks', { kind: 'client', value: 'pest', reason: 'too loud' });
    await closed;
    expect(await codeOf({ clientId: 'pest' })).toBe(0x8a);
    expect(await codeOf({ clientId: 'pest', protocolVersion: 4 })).toBe(5);
    await api('/blocks/delete', { kind: 'client', value: 'pest' });
    await eventually(async () => (await codeOf({ clientId: 'pest' })) === 0);
  });
});

describe('ringmq ctl', () => {
  async function ctl(argv: readonly string[], input = ''): Promise<{ exitCode: number; out: string; err: string }> {
    return runCli(['ctl', ...argv, '--server', `127.0.0.1:${broker.port('http')}`], input);
  }

  test('user, acl and block do what they say, with a password from standard input', async () => {
    expect(await ctl(['user', 'add', 'eve', '--group', 'staff'], 'typed-word\n')).toMatchObject({ exitCode: 0 });
    expect((await ctl(['user', 'list'])).out).toMatch(/^eve +yes +no +no +scrypt +staff$/m);
    expect(await codeOf({ username: 'eve', password: 'typed-word' })).toBe(0);
    expect((await ctl(['user', 'password', 'eve'], 'short')).err).toContain('at least 8 bytes');
    expect(await ctl(['acl', 'add', 'no-eve', 'deny', '--user', 'eve', '--topic', 'eve/#'])).toMatchObject({
      exitCode: 0,
    });
    expect((await ctl(['acl', 'list'])).out).toMatch(/^1000 +no-eve +deny +all +user=eve +eve\/#$/m);
    const check = ['acl', 'check', 'publish', 'eve/a', '--user', 'eve'];
    await eventually(async () => (await ctl(check)).exitCode === 1);
    expect((await ctl(check)).out).toContain('the first rule that matches is "no-eve"');
    expect(JSON.parse((await ctl([...check, '--json'])).out)).toMatchObject({ isAllowed: false, rule: 'no-eve' });
    expect((await ctl(['acl', 'add', 'bad', 'deny', '--topic', 'a#'])).err).toContain('a wildcard of the filter');
    expect(await ctl(['acl', 'remove', 'no-eve'])).toMatchObject({ exitCode: 0 });
    expect(await ctl(['block', 'add', '--address', '10.9.0.0/16', '--for', '60'])).toMatchObject({ exitCode: 0 });
    expect((await ctl(['block', 'list'])).out).toContain('10.9.0.0/16');
    expect(await ctl(['block', 'remove', '--address', '10.9.0.0/16'])).toMatchObject({ exitCode: 0 });
    expect(await ctl(['user', 'remove', 'eve'])).toMatchObject({ exitCode: 0 });
    expect((await ctl(['user', 'show', 'eve'])).err).toContain('ACCESS_USER_UNKNOWN');
  });
});
