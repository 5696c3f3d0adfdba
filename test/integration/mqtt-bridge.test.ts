// Bridges between real brokers: both directions, absence of the remote broker, kill -9 of both, loops, what an administrator sees.
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { BrokerProcess } from '../support/broker-process.ts';
import { FaultLink } from '../support/fault-proxy.ts';
import { findFixedPort } from '../support/fixed-port.ts';
import { bridgeIs, bridgeOf, eventually, NotingClient, startWithBridges } from '../support/mqtt/bridge-rig.ts';

const run = promisify(execFile);
const root = join(import.meta.dirname, '../..');
let remote: BrokerProcess;
/** The bridges reach the remote broker through it. */
let link: FaultLink;
let data: string;
const clients: NotingClient[] = [];

async function client(broker: BrokerProcess, options = {}): Promise<NotingClient> {
  const made = await NotingClient.connect(broker.port(), options);
  clients.push(made);
  return made;
}

function startLocal(): Promise<BrokerProcess> {
  const servers = [`mqtt://${link.address}`];
  const pauses = { reconnectMs: 20, reconnectMaxMs: 100 };
  const both = {
    ...{ name: 'both', servers, clientId: 'local-both', ...pauses },
    out: [{ filter: 'out/#', qos: 2 }, { filter: 'shared/#' }],
    in: [{ filter: 'in/#', qos: 2, addPrefix: 'far/' }, { filter: 'shared/#' }],
  };
  const old = {
    // Nobody listens at the first one.
    ...{ name: 'old', servers: ['mqtt://127.0.0.1:1', ...servers], clientId: 'local-old', version: '3.1.1', ...pauses },
    out: [{ filter: 'old/#', removePrefix: 'old/', addPrefix: 'from-old/' }],
  };
  const echo = {
    ...{ name: 'echo', servers, clientId: 'local-echo', version: '3.1.1', ...pauses },
    ...{ out: [{ filter: 'echo/#' }], in: [{ filter: 'echo/+' }] },
  };
  return startWithBridges([both, old, echo], { data });
}

describe('a bridge between two brokers', () => {
  let local: BrokerProcess;

  beforeAll(async () => {
    data = mkdtempSync(join(tmpdir(), 'ringmq-bridge-'));
    remote = await BrokerProcess.start();
    link = await FaultLink.to({ host: '127.0.0.1', port: remote.port() });
    local = await startLocal();
    await Promise.all([bridgeIs(local, 'both', 'connected'), bridgeIs(local, 'old', 'connected')]);
  }, 60_000);

  afterEach(() => {
    link.heal();
    for (const each of clients.splice(0)) each.end();
  });

  afterAll(async () => {
    await local.stop();
    await link.close();
    await remote.stop();
    rmSync(data, { recursive: true, force: true });
  });

  it('passes messages on in both directions, with QoS, retain and properties', async () => {
    const [here, there] = [await client(local), await client(remote)];
    await there.subscribe('out/#');
    await here.subscribe('far/#');
    const properties = { contentType: 'text/plain', userProperties: { k: ['1', '2'] } };
    for (const qos of [1, 2] as const) await here.publish('out/a', `q${qos}`, { qos, retain: qos === 2, properties });
    const sent = await there.received(2);
    expect(sent.map(({ text, qos, via }) => [text, qos, via])).toEqual([
      ['q1', 1, ['local-both']],
      ['q2', 2, ['local-both']],
    ]);
    expect(sent[1]?.retain).toBe(true);
    for (const qos of [0, 1, 2] as const) await there.publish('in/b', `r${qos}`, { qos });
    const fetched = await here.received(3);
    expect(new Set(fetched.map(({ topic, text, qos }) => `${topic} ${text} ${qos}`))).toEqual(
      new Set(['far/in/b r0 0', 'far/in/b r1 1', 'far/in/b r2 2']),
    );
    await here.publish('out/zero', 'live', { qos: 0 });
    expect((await there.received(3))[2]).toMatchObject({ topic: 'out/zero', text: 'live', qos: 0 });
  });

  it('gives topics other names, and speaks MQTT 3 without the bridge bit where it is not known', async () => {
    const [here, there] = [await client(local), await client(remote)];
    await there.subscribe('from-old/#');
    await here.publish('old/1/x', 'renamed');
    expect(await there.received(1)).toMatchObject([{ topic: 'from-old/1/x', text: 'renamed', via: [] }]);
  });

  it('does not get back what it sent, though both directions have the topic', async () => {
    const [here, there] = [await client(local), await client(remote)];
    await here.subscribe('shared/#');
    await there.subscribe('shared/#');
    await here.publish('shared/a', 'from here');
    await there.publish('shared/a', 'from there');
    await Promise.all([here.receivedAll(['from there']), there.receivedAll(['from here'])]);
    // Both ways were used since: whatever came back would be there before this.
    await here.publish('shared/a', 'end');
    await there.receivedAll(['end']);
    expect(here.texts().toSorted()).toEqual(['end', 'from here', 'from there']);
    expect(there.texts().toSorted()).toEqual(['end', 'from here', 'from there']);
  });

  it('stores while the remote broker is away, over kill -9 of its own broker, and sends in order afterwards', async () => {
    const there = await (await client(remote)).subscribe('out/stored');
    link.set({ isCut: true });
    await bridgeIs(local, 'both', 'waiting');
    const here = await client(local);
    for (let index = 0; index < 50; index++) await here.publish('out/stored', `stored ${index}`);
    await here.publish('out/lost', 'nobody waits', { qos: 0 });
    await local.kill();
    local = await startLocal();
    const again = await client(local);
    await again.publish('out/stored', 'stored 50');
    // More, when the answer to an earlier one was cut off.
    await eventually('all of them wait', async () => Number((await bridgeOf(local, 'both'))?.waiting) >= 51);
    link.heal();
    const noted = await there.received(51);
    expect(noted.map(({ text }) => text)).toEqual(Array.from({ length: 51 }, (_, index) => `stored ${index}`));
    await eventually('the place is kept', async () => (await bridgeOf(local, 'both'))?.waiting === 0);
  });

  it('loses nothing that was acknowledged when connections break and brokers die under load', async () => {
    const there = await (await client(remote)).subscribe('out/load');
    const here = await client(local);
    const first = here.stream('out/load', 'first', 2_000, 1);
    await there.received(50);
    link.reset();
    await there.received(there.noted.length + 50);
    await local.kill();
    await first;
    local = await startLocal();
    const second = await client(local);
    const streaming = second.stream('out/load', 'second', 500, 2);
    link.reset();
    await streaming;
    expect(second.acknowledged.size).toBe(500);
    await there.receivedAll([...here.acknowledged, ...second.acknowledged]);
  });

  it('fetches what came while it was away, each QoS 2 message once', async () => {
    const here = await (await client(local)).subscribe('far/#');
    const there = await client(remote);
    link.set({ isCut: true });
    await bridgeIs(local, 'both', 'waiting');
    for (let index = 0; index < 20; index++) await there.publish('in/away', `away ${index}`, { qos: 2 });
    link.heal();
    await here.received(20);
    await bridgeIs(local, 'both', 'connected');
    await there.publish('in/away', 'end', { qos: 2 });
    await here.receivedAll(['end']);
    const expected = [...Array.from({ length: 20 }, (_, index) => `away ${index}`), 'end'];
    expect(here.texts()).toEqual(expected);
  });

  it('is seen by administrators', async () => {
    const args = ['bin/ringmq.js', 'ctl', 'bridge', 'list', '--server', `127.0.0.1:${local.port('http')}`];
    const { stdout } = await run(process.execPath, args, { cwd: root });
    expect(stdout).toMatch(/^NAME +STATE +SINCE +SERVER/);
    expect(stdout).toMatch(/^both +connected .*127\.0\.0\.1/m);
    expect(await bridgeOf(local, 'old')).toMatchObject({ clientId: 'local-old', problem: '', droppedIn: 0 });
    expect(await local.metric('ringmq_mqtt_bridge_connected', 'bridge="both"')).toBe(1);
    // RingMQ does not know the bridge bit, and without it everything would come back.
    await eventually('the bridge that would echo says why it stays away', async () =>
      String((await bridgeOf(local, 'echo'))?.problem).includes('what "echo/#" sends would come back through "echo/+"'),
    );
  });
});

describe('two brokers that send each other everything', () => {
  it('pass each message on once and no more', async () => {
    const port = await findFixedPort();
    const loop = (name: string, servers: string[]) => {
      const rules = { out: [{ filter: 'loop/#' }], reconnectMs: 20, reconnectMaxMs: 100 };
      return startWithBridges([{ name, servers, clientId: name, ...rules }], { workers: 1 });
    };
    const one = await loop('one', [`mqtt://127.0.0.1:${port}`]);
    onTestFinished(() => one.kill());
    const other = await startWithBridges(
      [
        {
          ...{ name: 'other', servers: [`mqtt://127.0.0.1:${one.port()}`], clientId: 'other' },
          ...{ out: [{ filter: 'loop/#' }], reconnectMs: 20, reconnectMaxMs: 100 },
        },
      ],
      { workers: 1, flags: ['--set', `listeners.0.address=127.0.0.1:${port}`] },
    );
    onTestFinished(() => other.kill());
    await Promise.all([bridgeIs(one, 'one', 'connected'), bridgeIs(other, 'other', 'connected')]);
    const here = await (await client(one)).subscribe('loop/#');
    const there = await (await client(other)).subscribe('loop/#');
    await here.publish('loop/a', 'round', { qos: 1 });
    await there.receivedAll(['round']);
    // It comes back once, marked by both bridges, and goes no further.
    await here.received(2);
    await eventually(
      'the loop is seen',
      async () => (await one.metric('ringmq_mqtt_bridge_dropped_total', 'loop')) > 0,
    );
    expect(here.noted.map(({ via }) => via)).toEqual([[], ['one', 'other']]);
    expect(there.noted.map(({ via }) => via)).toEqual([['one']]);
    for (const each of clients.splice(0)) each.end();
    await Promise.all([one.stop(), other.stop()]);
  });
});
