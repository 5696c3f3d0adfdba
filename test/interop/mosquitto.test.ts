/** The clients of mosquitto, `mosquitto_pub` and `mosquitto_sub`, with MQTT 3.1, 3.1.1 and 5. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ensureMosquittoClients } from '../../scripts/interop-setup.ts';
import { BrokerProcess } from '../support/broker-process.ts';
import { commonSettings, setupLimitMs, unique } from './support/fixture.ts';
import { MosquittoSub, type MosquittoVersion, mosquittoPub, mosquittoVersions } from './support/mosquitto.ts';

let broker: BrokerProcess;
const running: MosquittoSub[] = [];

beforeAll(async () => {
  ensureMosquittoClients();
  broker = await BrokerProcess.start({ settings: commonSettings });
}, setupLimitMs);
afterEach(async () => {
  for (const each of running.splice(0)) await each.stop('SIGKILL');
});
afterAll(() => broker.stop());

function subscribe(version: MosquittoVersion, ...args: string[]): Promise<MosquittoSub> {
  const client = new MosquittoSub(broker.port(), version, args);
  running.push(client);
  return client.subscribed();
}

async function publish(version: MosquittoVersion, args: readonly string[], input = ''): Promise<void> {
  const { code, output } = await mosquittoPub(broker.port(), version, args, input);
  expect(output).toBe('');
  expect(code).toBe(0);
}

describe.each(mosquittoVersions)('mosquitto clients with %s', (version) => {
  it.each([0, 1, 2])('lines published at QoS %i arrive in order, none lost and none twice', async (qos) => {
    const topic = unique('lines');
    const subscriber = await subscribe(version, '-t', topic, '-q', '2', '-C', '500');
    const lines = Array.from({ length: 500 }, (_, index) => `line ${index}`);
    await publish(version, ['-t', topic, '-q', `${qos}`, '-l'], `${lines.join('\n')}\n`);
    const { code } = await subscriber.ended;
    expect(code).toBe(0);
    expect(subscriber.messages.map(({ payload }) => payload)).toEqual(lines);
    expect(subscriber.messages.every((message) => message.qos === qos && message.retain === 0)).toBe(true);
  });

  it('a retained message is set, replaced and cleared', async () => {
    const topic = unique('retained');
    for (const text of ['one', 'two']) await publish(version, ['-t', topic, '-q', '1', '-r', '-m', text]);
    const [message] = await (await subscribe(version, '-t', `${topic}/#`, '-q', '1', '-C', '1')).received(1);
    expect(message).toMatchObject({ topic, payload: 'two', retain: 1, qos: 1 });
    await publish(version, ['-t', topic, '-q', '1', '-r', '-n']);
    const late = await subscribe(version, '-t', topic, '-q', '1');
    await publish(version, ['-t', topic, '-q', '1', '-m', 'live']);
    expect(await late.received(1)).toMatchObject([{ payload: 'live', retain: 0 }]);
  });

  it('--remove-retained clears what a wildcard matches', async () => {
    const topic = unique('retained');
    for (const name of ['a', 'b']) await publish(version, ['-t', `${topic}/${name}`, '-q', '1', '-r', '-m', name]);
    const remover = await subscribe(
      version,
      '-t',
      `${topic}/+`,
      '-q',
      '1',
      '--remove-retained',
      '--retained-only',
      '-W',
      '1',
    );
    await remover.ended;
    const late = await subscribe(version, '-t', `${topic}/+`, '-q', '1');
    await publish(version, ['-t', `${topic}/fence`, '-q', '1', '-m', 'fence']);
    expect(await late.received(1)).toMatchObject([{ payload: 'fence' }]);
  });

  it('a will comes when the client is killed and not when it leaves', async () => {
    const topic = unique('will');
    const watcher = await subscribe(version, '-t', topic, '-q', '2');
    const will = ['--will-topic', topic, '--will-qos', '2', '--will-payload'];
    const other = unique('other');
    // Not by a signal: with MQTT 5 it then asks for its will.
    const leaving = await subscribe(version, '-t', other, '-C', '1', ...will, 'left');
    await publish(version, ['-t', other, '-m', 'leave']);
    expect((await leaving.ended).code).toBe(0);
    const killed = await subscribe(version, '-t', unique('other'), ...will, 'killed');
    await killed.stop('SIGKILL');
    expect(await watcher.received(1)).toMatchObject([{ payload: 'killed', qos: 2 }]);
  });

  it('a persistent session gets what came while it was away', async () => {
    const [topic, clientId] = [unique('session'), unique('client')];
    const session = ['-t', topic, '-q', '2', '-i', clientId, '-c', ...(version === 'mqttv5' ? ['-x', '300'] : [])];
    await (await subscribe(version, ...session)).stop();
    const lines = Array.from({ length: 20 }, (_, index) => `${index}`);
    await publish(version, ['-t', topic, '-q', '2', '-l'], `${lines.join('\n')}\n`);
    const back = await subscribe(version, ...session, '-C', '20');
    await back.ended;
    expect(back.messages.map(({ payload }) => payload)).toEqual(lines);
  });

  it('a denied subscription is reported', async () => {
    const client = new MosquittoSub(broker.port(), version, ['-t', 'denied/topic']);
    running.push(client);
    expect((await client.ended).output).toMatch(/All subscription requests were denied/);
  });
});

describe('mosquitto clients of different versions', () => {
  const pairs = mosquittoVersions.flatMap((from) => mosquittoVersions.map((to) => [from, to] as const));

  it.each(pairs)('%s publishes to %s', async (from, to) => {
    const topic = `${unique('versions')}/ü`;
    const subscriber = await subscribe(to, '-t', topic, '-q', '2');
    for (const qos of ['0', '1', '2']) await publish(from, ['-t', topic, '-q', qos, '-m', `grüße ${qos}`]);
    const received = await subscriber.received(3);
    expect(received.map(({ payload }) => payload)).toEqual(['grüße 0', 'grüße 1', 'grüße 2']);
    expect(received.map(({ qos }) => qos)).toEqual([0, 1, 2]);
  });
});

describe('mosquitto clients with what MQTT 5 adds', () => {
  it('properties pass through', async () => {
    const topic = unique('properties');
    const subscriber = await subscribe('mqttv5', '-t', topic, '-q', '1');
    const property = (...words: string[]): string[] => ['-D', 'publish', ...words];
    await publish('mqttv5', [
      ...['-t', topic, '-q', '1', '-m', 'text'],
      ...property('content-type', 'text/plain'),
      ...property('response-topic', 'answers'),
      ...property('correlation-data', 'abc'),
      ...property('payload-format-indicator', '1'),
      ...property('message-expiry-interval', '100'),
      ...property('user-property', '__proto__', 'polluted'),
      ...property('user-property', 'name', 'value'),
    ]);
    const [message] = await subscriber.received(1);
    expect(message?.properties).toMatchObject({ 'content-type': 'text/plain', 'response-topic': 'answers' });
    // As text: what the JSON of mosquitto_sub says about user properties depends on its version.
    expect(JSON.stringify(message?.properties)).toMatch(/name.*value/);
  });

  it('members of a shared group get each message once', async () => {
    const topic = unique('shared');
    const members = await Promise.all([1, 2, 3].map(() => subscribe('mqttv5', '-t', `$share/g/${topic}`, '-q', '1')));
    const lines = Array.from({ length: 90 }, (_, index) => `${index}`);
    await publish('mqttv5', ['-t', topic, '-q', '1', '-l'], `${lines.join('\n')}\n`);
    await Promise.all(members.map((member) => member.received(20)));
    await new Promise((resolve) => setTimeout(resolve, 300));
    const all = members.flatMap(({ messages }) => messages.map(({ payload }) => payload));
    expect(all.sort()).toEqual([...lines].sort());
  });

  it('a delayed will and the expiry of a session come in time', async () => {
    const topic = unique('will');
    const watcher = await subscribe('mqttv5', '-t', topic, '-q', '1');
    const will = ['--will-topic', topic, '--will-payload', 'late', '-D', 'will', 'will-delay-interval', '1'];
    const dying = await subscribe('mqttv5', '-t', unique('other'), '-i', unique('client'), '-c', '-x', '100', ...will);
    await dying.stop('SIGKILL');
    expect(watcher.messages).toEqual([]);
    await watcher.received(1);
  });
});
