/** Brokers of others and a recording `CliIo` for the command-line tests. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { Aedes, type Client } from 'aedes';
import type { CliIo } from '../../../src/cli/io.ts';
import { main } from '../../../src/cli/main.ts';

export interface TestBroker {
  readonly port: number;
  readonly stop: () => Promise<void>;
}

/** What a verb printed and how it ended. */
export interface CliRun {
  readonly exitCode: number;
  readonly out: string;
  readonly err: string;
}

export interface RunningCli {
  readonly io: { readonly out: () => string; readonly err: () => string };
  /** As SIGINT does. */
  readonly interrupt: () => void;
  readonly done: Promise<CliRun>;
}

/** Starts a verb in this process, `input` being its standard input. */
export function startCli(argv: readonly string[], input = ''): RunningCli {
  const out: Buffer[] = [];
  let err = '';
  let exitCode = -1;
  const handlers = new Set<() => void>();
  const io: CliIo = {
    stdin: Readable.from(input === '' ? [] : [Buffer.from(input)]),
    out: (data) => void out.push(Buffer.from(data)),
    err: (text) => {
      err += text;
    },
    setExitCode: (code) => {
      exitCode = code;
    },
    onStop: (handler) => {
      handlers.add(handler);
      return () => handlers.delete(handler);
    },
  };
  const text = (): string => Buffer.concat(out).toString();
  const done = main(argv, io).then(() => ({ exitCode, out: text(), err }));
  return {
    io: { out: text, err: () => err },
    interrupt: () => {
      for (const handler of handlers) handler();
    },
    done,
  };
}

export function runCli(argv: readonly string[], input = ''): Promise<CliRun> {
  return startCli(argv, input).done;
}

/** Aedes: MQTT 3.1 and 3.1.1. A client with user name "nobody" is refused. */
export async function startAedes(): Promise<TestBroker & { readonly breakConnection: (clientId: string) => void }> {
  const aedes = await Aedes.createBroker({
    authenticate: (_client, username, _password, done) => done(null, username !== 'nobody'),
  });
  const clients = new Map<string, Client>();
  aedes.on('client', (client) => clients.set(client.id, client));
  const server = await listen(aedes.handle);
  return {
    port: portOf(server),
    breakConnection: (clientId) => clients.get(clientId)?.conn.destroy(),
    stop: async () => {
      await new Promise<void>((resolve) => aedes.close(() => resolve()));
      server.close();
      await once(server, 'close');
    },
  };
}

/** A server that does what `onSocket` says, for misbehaviour that no real broker shows. */
export async function startServer(onSocket: (socket: Socket) => void): Promise<TestBroker> {
  const sockets = new Set<Socket>();
  const server = await listen((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    onSocket(socket);
  });
  return {
    port: portOf(server),
    stop: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

const otherBroker = 'mosquitto';

/** mosquitto where it is installed, RingMQ elsewhere: some broker that speaks MQTT 5. */
export async function startVersion5Broker(): Promise<TestBroker> {
  const folder = mkdtempSync(join(tmpdir(), 'ringmq-cli-'));
  const port = await findFreePort();
  const environment = { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin` };
  const hasMosquitto = spawnSync(otherBroker, ['-h'], { env: environment }).error === undefined;
  const config = join(folder, 'mosquitto.conf');
  writeFileSync(config, `listener ${port} 127.0.0.1\nallow_anonymous true\npersistence false\nlog_type none\n`);
  const child = hasMosquitto
    ? spawn(otherBroker, ['-c', config], { env: environment, stdio: 'ignore' })
    : spawn(process.execPath, ringmqArguments(folder, port), { stdio: 'ignore' });
  await waitForPort(port, child);
  return {
    port,
    stop: async () => {
      child.kill('SIGTERM');
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function ringmqArguments(folder: string, port: number): string[] {
  const script = join(import.meta.dirname, '..', '..', '..', 'bin', 'ringmq.js');
  return [script, 'start', '--data', folder, '--workers', '1', '--mqtt', `127.0.0.1:${port}`, '--http', '127.0.0.1:0'];
}

export async function findFreePort(): Promise<number> {
  const server = await listen((socket) => socket.destroy());
  const port = portOf(server);
  server.close();
  await once(server, 'close');
  return port;
}

/** Waits until `isTrue`; the test's own time limit ends a wait that never comes true. */
export async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await sleep(5);
}

async function waitForPort(port: number, child: ChildProcess): Promise<void> {
  for (;;) {
    if (child.exitCode !== null) throw new Error(`Cannot start the broker: it ended with ${child.exitCode}`);
    const socket = connect(port, '127.0.0.1');
    const isOpen = await Promise.race([
      once(socket, 'connect').then(
        () => true,
        () => false,
      ),
    ]);
    socket.destroy();
    if (isOpen) return;
    await sleep(20);
  }
}

async function listen(onSocket: (socket: Socket) => void): Promise<Server> {
  const server = createServer(onSocket).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}
