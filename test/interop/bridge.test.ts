// Bridges to mosquitto: all versions, TLS, a remote broker that dies, and kill -9 of our own under load.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { BrokerProcess } from '../support/broker-process.ts';
import { TestAuthority } from '../support/certificates.ts';
import { Inspector, inspectorFlags, inspectorLines } from '../support/inspector.ts';
import { bridgeIs, bridgeOf, eventually, NotingClient, startWithBridges } from '../support/mqtt/bridge-rig.ts';
import { ensureMosquittoServer, MosquittoServer } from './support/mosquitto-server.ts';

const pauses = { reconnectMs: 20, reconnectMaxMs: 200 };
const versions = ['3.1', '3.1.1', '5'] as const;
const clients: NotingClient[] = [];
let mosquitto: MosquittoServer;

async function client(port: number, options = {}): Promise<NotingClient> {
  const made = await NotingClient.connect(port, options);
  clients.push(made);
  return made;
}

beforeAll(async () => {
  ensureMosquittoServer();
  mosquitto = await MosquittoServer.start(['max_inflight_messages 50', 'max_queued_messages 100000']);
});
afterEach(() => {
  for (const each of clients.splice(0)) each.end();
});
afterAll(() => mosquitto.stop());

describe.each(versions)('a bridge to mosquitto with MQTT %s', (version) => {
  let broker: BrokerProcess;
  const name = `v${version.replaceAll('.', '')}`;

  beforeAll(async () => {
    const rules = [{ filter: `${name}/both/#`, qos: 2 }];
    broker = await startWithBridges([
      {
        ...{ name, version, servers: [`mqtt://127.0.0.1:${mosquitto.port}`], clientId: name, ...pauses },
        out: [...rules, { filter: `${name}/out/#`, qos: 2, removePrefix: `${name}/`, addPrefix: `got-${name}/` }],
        in: [...rules, { filter: `${name}/in/+`, qos: 2, addPrefix: 'far/' }],
      },
    ]);
    await bridgeIs(broker, name, 'connected');
  });
  afterAll(() => broker.stop());

  it.each([1, 2] as const)('passes 300 messages of QoS %i on in each direction, in order, each once', async (qos) => {
    const [here, there] = [await client(broker.port()), await client(mosquitto.port)];
    await here.subscribe(`far/${name}/in/q${qos}`);
    await there.subscribe(`got-${name}/out/q${qos}`);
    const texts = Array.from({ length: 300 }, (_, index) => `m-${index}`);
    await Promise.all([
      here.stream(`${name}/out/q${qos}`, 'm', 300, qos),
      there.stream(`${name}/in/q${qos}`, 'm', 300, qos),
    ]);
    expect((await there.received(300)).map(({ text }) => text)).toEqual(texts);
    expect((await here.received(300)).map(({ text }) => text)).toEqual(texts);
    expect(here.noted.every((message) => message.qos === qos)).toBe(true);
  });

  it('does not get back what it sent', async () => {
    const [here, there] = [await client(broker.port()), await client(mosquitto.port)];
    await here.subscribe(`${name}/both/#`);
    await there.subscribe(`${name}/both/#`);
    await here.publish(`${name}/both/a`, 'one');
    await there.publish(`${name}/both/a`, 'two');
    await Promise.all([here.receivedAll(['one', 'two']), there.receivedAll(['one', 'two'])]);
    await here.publish(`${name}/both/a`, 'end');
    await there.receivedAll(['end']);
    expect([here.texts().length, there.texts().length]).toEqual([3, 3]);
  });

  it('keeps the retain flag', async () => {
    const here = await client(broker.port());
    await here.publish(`${name}/out/kept`, 'value', { qos: 1, retain: true });
    await eventually('it was sent', async () => (await bridgeOf(broker, name))?.waiting === 0);
    const late = await (await client(mosquitto.port)).subscribe(`got-${name}/out/kept`);
    expect(await late.received(1)).toMatchObject([{ text: 'value', retain: true }]);
    const there = await client(mosquitto.port);
    await there.publish(`${name}/in/kept`, 'theirs', { qos: 1, retain: true });
    const here2 = await client(broker.port());
    await eventually('it is kept here', async () => (await broker.metric('ringmq_retained_messages')) > 0);
    await here2.subscribe(`far/${name}/in/kept`);
    await here2.received(1);
    expect(here2.noted[0]).toMatchObject({ text: 'theirs' });
  });
});

describe('a bridge to a mosquitto that dies', () => {
  it('loses nothing that was acknowledged while it was away, over kill -9 of both', async () => {
    const data = mkdtempSync(join(tmpdir(), 'ringmq-bridge-'));
    const other = await MosquittoServer.start(['max_queued_messages 100000']);
    const bridge = { name: 'up', servers: [`mqtt://127.0.0.1:${other.port}`], clientId: 'up', ...pauses };
    const start = () => startWithBridges([{ ...bridge, out: [{ filter: 'load/#', qos: 2 }] }], { data });
    let broker = await start();
    const wanted = new Set<string>();
    for (let round = 0; round < 4; round++) {
      await other.end('SIGKILL');
      const publisher = await client(broker.port());
      const streaming = publisher.stream('load/a', `round-${round}`, 3_000, round % 2 === 0 ? 1 : 2);
      await eventually('some are acknowledged', () => publisher.acknowledged.size > 500);
      await broker.kill();
      await streaming;
      for (const text of publisher.acknowledged) wanted.add(text);
      publisher.end();
      broker = await start();
    }
    await broker.kill();
    // Whoever wants it is there first: mosquitto keeps nothing for others.
    await other.begin();
    const there = await (await client(other.port)).subscribe('load/#');
    broker = await start();
    expect(wanted.size).toBeGreaterThan(2_000);
    await there.receivedAll(wanted);
    await broker.stop();
    await other.stop();
    rmSync(data, { recursive: true, force: true });
  });

  it('sends what is under way again when mosquitto is killed under load', async () => {
    const other = await MosquittoServer.start(['persistence true', 'max_queued_messages 100000']);
    const bridge = { name: 'up', servers: [`mqtt://127.0.0.1:${other.port}`], clientId: 'up', ...pauses };
    const broker = await startWithBridges([{ ...bridge, out: [{ filter: 'load/#' }] }]);
    await bridgeIs(broker, 'up', 'connected');
    const publisher = await client(broker.port());
    const got = new Set<string>();
    const streaming = publisher.stream('load/a', 'm', 5_000, 1);
    for (let round = 0; round < 3; round++) {
      const there = await (await client(other.port)).subscribe('load/#');
      await there.received(200);
      await other.end('SIGKILL');
      for (const text of there.texts()) got.add(text);
      await other.begin();
    }
    const last = await (await client(other.port)).subscribe('load/#');
    await streaming;
    expect(publisher.acknowledged.size).toBe(5_000);
    await eventually('everything is sent', async () => (await bridgeOf(broker, 'up'))?.waiting === 0);
    // Mosquitto loses what it took in the moments before it died and after it came back; the end is all there.
    await last.receivedAll(['m-4999']);
    const order = last.texts().map((text) => Number(text.slice(2)));
    expect(order.toSorted((one, two) => one - two).at(-1)).toBe(4_999);
    await broker.stop();
    await other.stop();
  });
});

describe('a bridge to mosquitto over TLS', () => {
  it('connects with a client certificate, and to nobody whose name or authority is another', async () => {
    const authority = new TestAuthority();
    const stranger = new TestAuthority();
    const server = authority.issue('server', ['DNS:broker.example', 'IP:127.0.0.1']);
    const own = authority.issue('client', ['DNS:client.example']);
    const secure = await MosquittoServer.start([
      ...[`cafile ${authority.ca}`, `certfile ${server.certificate}`, `keyfile ${server.key}`],
      'require_certificate true',
    ]);
    const servers = [`mqtts://127.0.0.1:${secure.port}`];
    const broken = join(mkdtempSync(join(tmpdir(), 'ringmq-bridge-')), 'broken.key');
    writeFileSync(broken, '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n');
    const make = (name: string, tls: object) => {
      const shown = { certificate: own.certificate, key: own.key };
      return { name, servers, clientId: name, ...pauses, out: [{ filter: 'tls/#' }], tls: { ...shown, ...tls } };
    };
    const broker = await startWithBridges([
      make('good', { ca: authority.ca }),
      make('named', { ca: authority.ca, serverName: 'broker.example', alpn: ['mqtt'] }),
      make('other-name', { ca: authority.ca, serverName: 'other.example' }),
      make('any-name', { ca: authority.ca, serverName: 'other.example', verify: 'ca' }),
      make('stranger', { ca: stranger.ca }),
      make('garbage', { ca: import.meta.filename }),
      make('broken', { ca: authority.ca, key: broken }),
      make('blind', { ca: stranger.ca, verify: 'none' }),
      { ...make('no-certificate', { ca: authority.ca }), tls: { ca: authority.ca } },
    ]);
    for (const name of ['good', 'named', 'any-name', 'blind']) await bridgeIs(broker, name, 'connected');
    for (const [name, problem] of [
      ['other-name', 'other.example'],
      ['stranger', 'certificate'],
      ['garbage', 'PEM'],
      ['broken', ''],
      ['no-certificate', ''],
    ] as const) {
      await eventually(`${name} says why`, async () => {
        const status = await bridgeOf(broker, name);
        return (
          status?.state !== 'connected' && String(status?.problem) !== '' && String(status?.problem).includes(problem)
        );
      });
    }
    await broker.stop();
    await secure.stop();
    authority.remove();
    stranger.remove();
    rmSync(dirname(broken), { recursive: true });
  });
});

describe('a bridge whose worker dies', () => {
  it('goes on in the successor, with what was stored and what came meanwhile', async () => {
    const rules = { out: [{ filter: 'dying/out' }], in: [{ filter: 'dying/in', addPrefix: 'far/' }] };
    const servers = [`mqtt://127.0.0.1:${mosquitto.port}`];
    const broker = await startWithBridges([{ name: 'dying', servers, clientId: 'dying', ...pauses, ...rules }], {
      workers: 1,
      nodeFlags: inspectorFlags,
      expectedErrors: [...inspectorLines, /killed by the test/, /worker died/],
    });
    await bridgeIs(broker, 'dying', 'connected');
    const inspector = await Inspector.attach(broker);
    const there = await (await client(mosquitto.port)).subscribe('dying/out');
    const first = await client(broker.port());
    const streaming = first.stream('dying/out', 'm', 3_000, 1);
    await there.received(500);
    const [worker] = inspector.workers;
    await inspector.throwIn(worker ?? 'main', 'killed by the test');
    await streaming;
    await there.publish('dying/in', 'meanwhile');
    await bridgeIs(broker, 'dying', 'connected');
    const here = await (await client(broker.port())).subscribe('far/dying/in');
    await there.publish('dying/in', 'end');
    await Promise.all([there.receivedAll(first.acknowledged), here.receivedAll(['end'])]);
    expect(first.acknowledged.size).toBeGreaterThan(400);
    inspector.close();
    await broker.stop();
  });
});
