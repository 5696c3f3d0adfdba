/**
 * Third-party clients over every transport: MQTT.js, mosquitto's command line (which has no WebSocket here) and paho-mqtt for
 * Python, over TCP, TLS with and without a client certificate, WebSocket, secure WebSocket and Unix socket. Over
 * uWebSockets.js: `listener-uws.test.ts`.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import mqtt, { connectAsync, type IClientOptions, type MqttClient } from 'mqtt';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ensurePahoPython } from '../../scripts/interop-setup.ts';
import { BrokerProcess } from '../support/broker-process.ts';
import { TestAuthority } from '../support/certificates.ts';
import { setupLimitMs } from './support/fixture.ts';

const run = promisify(execFile);
const transports = ['tcp', 'tls', 'mtls', 'ws', 'wss'] as const;
type Transport = (typeof transports)[number];

let authority: TestAuthority;
let broker: BrokerProcess;
let python: string;
let folder: string;
let device: { certificate: string; key: string };

beforeAll(async () => {
  python = await ensurePahoPython();
  authority = new TestAuthority();
  folder = mkdtempSync(join(tmpdir(), 'ringmq-interop-'));
  const { certificate, key } = authority.issue('mq.example', ['DNS:localhost', 'IP:127.0.0.1']);
  device = authority.issue('device-1', ['DNS:device-1']);
  broker = await BrokerProcess.start({
    flags: [
      ...['--tls-certificate', certificate, '--tls-key', key, '--tls-ca', authority.ca],
      ...['--mqtt-tls', '127.0.0.1:0', '--mqtt-ws', '127.0.0.1:0', '--mqtt-wss', '127.0.0.1:0'],
      ...['--mqtt-unix', join(folder, 'mqtt.sock')],
      ...[
        '--set',
        'listeners.5={"name":"mqtt-mtls","protocol":"mqtt","transport":"tls","address":"127.0.0.1:0","tls":{"clientCertificate":"required"}}',
      ],
    ],
  });
}, setupLimitMs);

afterAll(async () => {
  await broker?.stop();
  authority?.remove();
  rmSync(folder, { recursive: true, force: true });
});

const listenerOf = (transport: Transport): string => (transport === 'tcp' ? 'mqtt' : `mqtt-${transport}`);

/** A subscriber gets everything that a publisher sends, with every quality of service. */
async function exchange(publisher: MqttClient, subscriber: MqttClient, topic: string): Promise<number> {
  await subscriber.subscribeAsync(topic, { qos: 2 });
  let received = 0;
  subscriber.on('message', () => received++);
  for (let index = 0; index < 30; index++) {
    await publisher.publishAsync(topic, Buffer.alloc(index * 2_000), { qos: (index % 3) as 0 | 1 | 2 });
  }
  while (received < 30) await new Promise((resolve) => setTimeout(resolve, 5));
  return received;
}

describe('MQTT.js', () => {
  const connect = (transport: Transport, protocolVersion: 3 | 4 | 5): Promise<MqttClient> => {
    const scheme = { tcp: 'mqtt', tls: 'mqtts', mtls: 'mqtts', ws: 'ws', wss: 'wss' }[transport];
    const path = transport === 'ws' || transport === 'wss' ? '/mqtt' : '';
    const own = transport === 'mtls' ? { cert: readFileSync(device.certificate), key: readFileSync(device.key) } : {};
    const options: IClientOptions = { protocolVersion, reconnectPeriod: 0, ca: readFileSync(authority.ca), ...own };
    // MQTT.js puts the sub-protocol of version 3.1 in by itself.
    if (protocolVersion === 3) Object.assign(options, { protocolId: 'MQIsdp', clientId: `js-${transport}` });
    return connectAsync(`${scheme}://127.0.0.1:${broker.port(listenerOf(transport))}${path}`, options);
  };

  for (const transport of transports) {
    for (const version of [3, 4, 5] as const) {
      it(`speaks version ${version} over ${transport} with a client over TCP`, async () => {
        const [client, other] = await Promise.all([connect(transport, version), connect('tcp', 5)]);
        expect(await exchange(client, other, `js/${transport}/${version}/out`)).toBe(30);
        expect(await exchange(other, client, `js/${transport}/${version}/in`)).toBe(30);
        await Promise.all([client.endAsync(), other.endAsync()]);
      });
    }
  }

  it('speaks over a Unix socket', async () => {
    const open = (): MqttClient =>
      new mqtt.MqttClient(() => net.connect({ path: join(folder, 'mqtt.sock') }), {
        protocolVersion: 5,
        reconnectPeriod: 0,
      });
    const clients = [open(), open()];
    await Promise.all(clients.map((client) => new Promise((resolve) => client.once('connect', resolve))));
    expect(await exchange(clients[0], clients[1], 'js/unix')).toBe(30);
    await Promise.all(clients.map((client) => client.endAsync()));
  });

  it('is refused without the certificate that a listener requires', async () => {
    const client = mqtt.connect(`mqtts://127.0.0.1:${broker.port('mqtt-mtls')}`, {
      ca: readFileSync(authority.ca),
      reconnectPeriod: 0,
    });
    client.on('error', () => undefined);
    const outcome = await new Promise<string>((resolve) => {
      client.once('connect', () => resolve('connected'));
      client.once('close', () => resolve('closed'));
    });
    expect(outcome).toBe('closed');
  });
});

describe("mosquitto's clients", () => {
  const common = (transport: 'tls' | 'mtls', version: string): string[] => [
    ...['-h', '127.0.0.1', '-p', `${broker.port(listenerOf(transport))}`, '-V', version, '--cafile', authority.ca],
    ...(transport === 'mtls' ? ['--cert', device.certificate, '--key', device.key] : []),
    ...['-t', `mosquitto/${transport}/${version}`, '-q', '2'],
  ];

  for (const transport of ['tls', 'mtls'] as const) {
    for (const version of ['31', '311', '5']) {
      for (const alpn of [[], ['--tls-alpn', 'mqtt']]) {
        it(`speak version ${version} over ${transport}${alpn.length > 0 ? ' with the protocol named' : ''}`, async () => {
          await run('mosquitto_pub', [...common(transport, version), ...alpn, '-i', 'pub', '-r', '-m', 'a message']);
          const { stdout } = await run('mosquitto_sub', [
            ...common(transport, version),
            ...alpn,
            '-i',
            'sub',
            '-C',
            '1',
            '-W',
            '10',
          ]);
          expect(stdout).toBe('a message\n');
        });
      }
    }
  }
});

describe('paho-mqtt for Python', () => {
  const rounds = [...transports, 'unix' as const].flatMap((transport) =>
    ['3', '4', '5'].map((version) => ({ transport, version })),
  );
  for (const { transport, version } of rounds) {
    it(`speaks version ${version} over ${transport}`, async () => {
      const place = transport === 'unix' ? join(folder, 'mqtt.sock') : `${broker.port(listenerOf(transport))}`;
      const own = transport === 'mtls' ? [device.certificate, device.key] : ['', ''];
      const script = join(import.meta.dirname, 'python/paho_transports.py');
      const kind = transport === 'mtls' ? 'tls' : transport;
      const { stdout } = await run(python, [script, kind, place, authority.ca, ...own, version]);
      expect(stdout.trim()).toBe('complete');
    });
  }
});
