/** What a real broker of two workers tells of itself: `$SYS`, events, alarms, slow subscriptions. */
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { type Broker, startBroker } from '../../src/main/index.ts';
import { TestAuthority } from '../support/certificates.ts';
import type { AnyPacket } from '../support/mqtt/mqtt-host.ts';
import { connectPacket, RawClient, type RawConnect } from '../support/mqtt/raw-client.ts';

let broker: Broker;
let authority: TestAuthority;
const open: RawClient[] = [];
const never = { enabled: false };

beforeAll(async () => {
  authority = new TestAuthority();
  const { certificate, key } = authority.issue('broker', ['IP:127.0.0.1']);
  broker = await startBroker({
    workers: 2,
    settings: {
      sharding: 'round-robin',
      http: { address: '127.0.0.1:0' },
      mqtt: {
        system: {
          intervalS: 1,
          heartbeatS: 1,
          slowSubscriptions: { enabled: true, thresholdMs: 20 },
        },
      },
      alarms: {
        intervalMs: 50,
        ...{ memory: never, cpu: never, disk: never, eventLoop: never },
        connections: { activateAtPercent: 60, deactivateAtPercent: 40, durationS: 0 },
      },
      limits: { connectionsMax: 10 },
      access: { anonymous: 'always' },
      listeners: [
        { name: 'mqtt', protocol: 'mqtt', address: '127.0.0.1:0' },
        { name: 'secure', protocol: 'mqtt', address: '127.0.0.1:0', transport: 'tls', tls: { certificate, key } },
        {
          ...{ name: 'proxied', protocol: 'mqtt', address: '127.0.0.1:0' },
          proxyProtocol: { enabled: true, trusted: ['127.0.0.1'] },
        },
      ],
    },
  });
});
afterEach(async () => {
  for (const client of open.splice(0)) await client.cut();
});
afterAll(async () => {
  await broker.stop();
  authority.remove();
});

/** Each further connection is on the other worker. */
async function connect(options: RawConnect): Promise<RawClient> {
  const client = await RawClient.connect(broker.port(), { level: 5, ...options });
  open.push(client);
  return client;
}

/** The next publication whose topic ends so. */
async function next(client: RawClient, end: string): Promise<AnyPacket> {
  for (;;) {
    const packet = await client.packet('publish');
    if (String(packet.topic).endsWith(end)) return packet;
  }
}

async function nextJson(client: RawClient, end: string): Promise<Record<string, unknown>> {
  return JSON.parse(String((await next(client, end)).payload));
}

async function ctl(...argv: string[]): Promise<string> {
  return runCtl([...argv, '--server', `127.0.0.1:${broker.port('http')}`]);
}

async function runCtl(argv: string[]): Promise<string> {
  const { ctl: command } = await import('../../src/cli/commands/ctl.ts');
  let output = '';
  await command.run(argv, {
    stdin: process.stdin,
    out: (text) => {
      output += String(text);
    },
    err: (text) => {
      output += text;
    },
    setExitCode: () => undefined,
    onStop: () => () => undefined,
  });
  return output;
}

describe('$SYS of a broker', () => {
  it('shows figures of the whole node on every worker, at once and again and again', async () => {
    const clients = [await connect({ clientId: 'one' }), await connect({ clientId: 'two' })];
    for (const client of clients) {
      await client.subscribe('$SYS/brokers/+/stats/connections/count');
      const first = await next(client, '/connections/count');
      expect([first.retain, String(first.payload)]).toEqual([true, '2']);
      const second = await next(client, '/connections/count');
      expect([second.retain, String(second.payload)]).toEqual([false, '2']);
    }
  });

  it('tells clients of the other worker about a client with awkward characters', async () => {
    const readers = [await connect({ clientId: 'one' }), await connect({ clientId: 'two' })];
    const [reader, other] = readers;
    await reader.subscribe('$SYS/brokers/+/clients/+/connected', 0, { rh: 2 });
    await other.subscribe('$SYS/brokers/+/clients/+/disconnected', 0, { rh: 2 });
    const clientId = 'a/b+#%\u0001 ü';
    const topic = /^\$SYS\/brokers\/[^/]+\/clients\/a%2Fb%2B%23%25%01 ü\/(dis)?connected$/;
    const client = await connect({ clientId, keepalive: 7 });
    const packet = await next(reader, 'ü/connected');
    expect(packet.topic).toMatch(topic);
    const sockport = broker.port();
    expect(JSON.parse(String(packet.payload))).toMatchObject({ clientid: clientId, keepalive: 7, sockport });
    await client.disconnect();
    expect(await nextJson(other, 'ü/disconnected')).toMatchObject({ clientid: clientId, reason: 'normal' });
  });

  it('goes to one member of a shared group', async () => {
    const members = [await connect({ clientId: 'one' }), await connect({ clientId: 'two' })];
    for (const member of members) await member.subscribe('$share/g/$SYS/brokers/+/clients/x/connected');
    await connect({ clientId: 'x' });
    await vi.waitFor(async () => {
      const found = [await members[0].barrier(), await members[1].barrier()].flat();
      expect(found.map(({ topic }) => String(topic).replace(/.*clients/, ''))).toEqual(['/x/connected']);
    });
  });

  it('is not for clients of other machines unless a rule says so', async () => {
    const stranger = await RawClient.open(broker.port('proxied'), 5);
    open.push(stranger);
    stranger.write(Buffer.from('PROXY TCP4 10.1.2.3 10.0.0.1 5000 1883\r\n'));
    stranger.send(connectPacket({ clientId: 'stranger', level: 5 }));
    expect((await stranger.packet('connack')).reasonCode).toBe(0);
    for (const filter of ['$SYS/#', '$share/g/$SYS/#', '$SYS/brokers/+/clients/stranger/connected']) {
      expect((await stranger.subscribe(filter)).granted).toEqual([0x87]);
    }
    expect((await stranger.subscribe('#')).granted).toEqual([0]);
  });

  it('is nothing that a client may publish to', async () => {
    const client = await connect({ clientId: 'one' });
    client.publish('$SYS/brokers/x/clients/y/connected', '{}', { qos: 1 });
    expect((await client.packet('puback')).reasonCode).toBe(0x87);
  });
});

describe('alarms of a broker', () => {
  it('are told to subscribers, listed, and over when their reason is', async () => {
    const reader = await connect({ clientId: 'reader' });
    await reader.subscribe('$SYS/brokers/+/alarms/+');
    const others = [];
    for (let at = 0; at < 6; at++) others.push(await connect({ clientId: `c${at}` }));
    expect(await nextJson(reader, '/activate')).toMatchObject({ name: 'connections-high', details: { threshold: 60 } });
    expect(await ctl('alarm', 'list')).toMatch(/connections-high +\S+ +There are \d+ of 10 connections/);
    for (const client of others) await client.disconnect();
    expect(await nextJson(reader, '/deactivate')).toMatchObject({ name: 'connections-high' });
    expect(await ctl('alarm', 'history')).toContain('connections-high');
    expect(await ctl('alarm', 'clear')).toBe('forgot 1\n');
    expect(await ctl('alarm', 'list')).not.toContain('connections-high');
  });

  it('tell of certificates that end soon', async () => {
    const pattern = /certificate-expiring +\S+ +The certificate "CN=broker" of listener "secure" ends at 20/;
    await vi.waitFor(async () => expect(await ctl('alarm', 'list')).toMatch(pattern));
  });
});

describe('slow subscriptions of a broker', () => {
  it.each([0, 60])('are listed until the list is cleared (expiry %i s)', async (sessionExpiryInterval) => {
    const slow = await connect({ clientId: 'slow', clean: false, properties: { sessionExpiryInterval } });
    await slow.subscribe('t', 1);
    const publisher = await connect({ clientId: 'publisher' });
    publisher.publish('t', 'x', { qos: 1 });
    await publisher.packet('puback');
    const { messageId } = await slow.packet('publish');
    await new Promise((resolve) => setTimeout(resolve, 30));
    slow.send({ cmd: 'puback', messageId });
    await slow.barrier();
    expect(await ctl('slow-subscriptions', 'list')).toMatch(/\n\d+ +slow +t +/);
    expect(await ctl('slow-subscriptions', 'clear')).toBe('cleared\n');
    expect(await ctl('slow-subscriptions', 'list')).not.toContain('slow  ');
  });
});
