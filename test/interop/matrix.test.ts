/**
 * Every client over every transport that it has: MQTT.js, paho-mqtt for Python, Paho for Java, the HiveMQ client and mosquitto's command
 * line, over TCP, TLS, WebSocket by both adapters and secure WebSocket, in every version of MQTT that the client speaks. The last test
 * prints the cells, and fails when one of them did not run to its end.
 *
 * Secure WebSocket has one adapter (docs/adr/0012). The broker is a process under a C library that uWebSockets.js loads on.
 */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { nodeForUws } from '../../scripts/debian13-libc.ts';
import { ensureJavaAgent, ensureMosquittoClients, ensurePahoPython } from '../../scripts/interop-setup.ts';
import { BrokerProcess } from '../support/broker-process.ts';
import { TestAuthority } from '../support/certificates.ts';
import type { ClientLibrary, Transport, Version } from './support/client.ts';
import { versionNames } from './support/common-suite.ts';
import { setupLimitMs, unique } from './support/fixture.ts';
import { JavaLibrary } from './support/java.ts';
import { MqttJsLibrary } from './support/mqtt-js.ts';
import { PahoLibrary } from './support/paho.ts';
import { scenariosOf } from './support/scenarios.ts';

const run = promisify(execFile);

/** Name of the column, listener of the broker, and how a client speaks over it. */
const columns = [
  { name: 'TCP', listener: 'mqtt', kind: 'tcp' },
  { name: 'TLS', listener: 'mqtt-tls', kind: 'tls' },
  { name: 'WebSocket (ws)', listener: 'mqtt-ws', kind: 'ws' },
  { name: 'WebSocket (uWebSockets.js)', listener: 'ws-uws', kind: 'ws' },
  { name: 'secure WebSocket', listener: 'mqtt-wss', kind: 'wss' },
] as const;
type Column = (typeof columns)[number];

const mqttJs = new MqttJsLibrary();
const python = new PahoLibrary();
const paho = new JavaLibrary('paho');
const paho5 = new JavaLibrary('paho 5');
const hivemq = new JavaLibrary('hivemq');
const rows: readonly { readonly name: string; readonly version: Version; readonly library: ClientLibrary }[] = [
  ...([3, 4, 5] as const).map((version) => ({ name: 'MQTT.js', version, library: mqttJs })),
  ...([3, 4, 5] as const).map((version) => ({ name: 'paho for Python', version, library: python })),
  ...([3, 4] as const).map((version) => ({ name: 'paho for Java', version, library: paho })),
  { name: 'paho for Java', version: 5, library: paho5 },
  ...([4, 5] as const).map((version) => ({ name: 'HiveMQ client', version, library: hivemq })),
];
const mosquittoVersions = { 3: '31', 4: '311', 5: '5' } as const;

/** Cells that ran to their end, with the number of their scenarios. */
const ran = new Map<string, number>();
const cellOf = (row: string, version: Version, column: string): string => `${row} ${versionNames[version]}, ${column}`;

let broker: BrokerProcess;
let authority: TestAuthority;

beforeAll(async () => {
  ensurePahoPython();
  ensureMosquittoClients();
  ensureJavaAgent();
  authority = new TestAuthority();
  const { certificate, key } = authority.issue('mq.example', ['DNS:localhost', 'IP:127.0.0.1']);
  const uws = { name: 'ws-uws', protocol: 'mqtt', transport: 'ws', address: '127.0.0.1:0' };
  broker = await BrokerProcess.start({
    launcher: await nodeForUws(),
    settings: { sharding: 'round-robin', 'http.adapter': 'node' },
    flags: [
      ...['--tls-certificate', certificate, '--tls-key', key],
      ...['--mqtt-tls', '127.0.0.1:0', '--mqtt-ws', '127.0.0.1:0', '--mqtt-wss', '127.0.0.1:0'],
      ...['--set', `listeners.4=${JSON.stringify({ ...uws, webSocket: { adapter: 'uws' } })}`],
    ],
  });
}, setupLimitMs);

const libraries: readonly ClientLibrary[] = [mqttJs, python, paho, paho5, hivemq];
afterEach(async () => {
  await Promise.all(libraries.map((library) => library.closeAll()));
});
afterAll(async () => {
  for (const library of libraries) await library.end?.();
  await broker?.stop();
  authority?.remove();
});

function transportOf({ kind }: Column): Transport {
  const isSecure = kind === 'tls' || kind === 'wss';
  const isWebSocket = kind === 'ws' || kind === 'wss';
  return { kind, ...(isSecure ? { ca: authority.ca } : {}), ...(isWebSocket ? { path: '/mqtt' } : {}) };
}

/** Headers of the answer to an upgrade request. */
async function upgradeAnswer(port: number): Promise<object> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/mqtt`, ['mqtt']);
  const [response] = await once(socket, 'upgrade');
  if (socket.readyState === WebSocket.CONNECTING) await once(socket, 'open');
  socket.terminate();
  return (response as IncomingMessage).headers;
}

it('each WebSocket listener is served by the adapter that it asks for', async () => {
  expect(await upgradeAnswer(broker.port('ws-uws'))).toHaveProperty('uwebsockets');
  expect(await upgradeAnswer(broker.port('mqtt-ws'))).not.toHaveProperty('uwebsockets');
});

describe.each(columns)('over $name', (column) => {
  for (const { name, version, library } of rows) {
    it(`${name} with MQTT ${versionNames[version]}`, async () => {
      const named = (): object => ({ clientId: unique(`matrix-${column.kind}`) });
      const cell = {
        version,
        connect: (options = {}) =>
          library.connect({
            port: broker.port(column.listener),
            version,
            transport: transportOf(column),
            ...named(),
            ...options,
          }),
        connectOther: (options = {}) => mqttJs.connect({ port: broker.port(), version: 5, ...named(), ...options }),
      };
      let count = 0;
      for (const [scenario, play] of scenariosOf(version)) {
        await play(cell).catch((error: unknown) => {
          throw new Error(`${scenario}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
        });
        await library.closeAll();
        await mqttJs.closeAll();
        count++;
      }
      ran.set(cellOf(name, version, column.name), count);
    });
  }
});

describe("mosquitto's clients", () => {
  // They have no WebSocket.
  const wide: readonly Column[] = columns.filter(({ kind }) => kind === 'tcp' || kind === 'tls');
  for (const column of wide) {
    for (const version of [3, 4, 5] as const) {
      it(`with MQTT ${versionNames[version]} over ${column.name}`, async () => {
        ran.set(cellOf('mosquitto', version, column.name), await mosquittoRounds(column, version));
      });
    }
  }
});

async function mosquittoRounds(column: Column, version: Version): Promise<number> {
  const topic = unique('mosquitto');
  const secure = column.kind === 'tls' ? ['--cafile', authority.ca] : [];
  const at = ['-h', '127.0.0.1', '-p', `${broker.port(column.listener)}`, '-V', mosquittoVersions[version], ...secure];
  const publish = (...args: string[]) => run('mosquitto_pub', [...at, '-i', unique('pub'), '-t', topic, ...args]);
  const subscribe = (...args: string[]) => run('mosquitto_sub', [...at, '-q', '2', '-W', '15', ...args]);
  // A session that is away, and a retained message, for every QoS but 0.
  const clientId = unique('sub');
  const session = ['-i', clientId, '-c', '-t', topic, ...(version === 5 ? ['-x', '300'] : [])];
  await subscribe(...session, '-E');
  for (const qos of ['1', '2']) await publish('-q', qos, '-m', `waiting ${qos}`);
  expect((await subscribe(...session, '-C', '2')).stdout).toBe('waiting 1\nwaiting 2\n');
  await publish('-q', '0', '-r', '-m', 'kept');
  await publish('-q', '1', '-r', '-m', 'kept');
  expect((await subscribe('-i', unique('sub'), '-t', topic, '-C', '1')).stdout).toBe('kept\n');
  const other = await mqttJs.connect({ port: broker.port(), version: 5, clientId: unique('other') });
  const live = unique('live');
  await other.subscribe(live);
  for (const qos of [0, 1, 2]) {
    await run('mosquitto_pub', [...at, '-t', live, '-q', `${qos}`, '-m', `${qos}`]);
    await other.messages(qos + 1);
  }
  expect(other.received.map((message) => message.qos)).toEqual([0, 1, 2]);
  return 3;
}

it('every cell ran', () => {
  const expected = [
    ...columns.flatMap((column) => rows.map(({ name, version }) => cellOf(name, version, column.name))),
    ...['TCP', 'TLS'].flatMap((column) => ([3, 4, 5] as const).map((version) => cellOf('mosquitto', version, column))),
  ];
  console.log([...ran].map(([cell, count]) => `${cell}: ${count} scenarios`).join('\n'));
  expect([...ran.keys()].sort()).toEqual(expected.sort());
  expect(ran.size).toBe(61);
});
