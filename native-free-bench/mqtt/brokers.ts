/** Starts the brokers that are compared, each pinned to core 0 on a free port. Used by `../mqtt.ts`. */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { nodeForUws } from '../../scripts/debian13-libc.ts';
import { findFreePort, findProgram, pinned, type Running, startUntilLine, startUntilPort } from './processes.ts';
import type { BrokerName, Row, Transport } from './rows.ts';

const BROKER_CORE = 0;

export const root = dirname(dirname(import.meta.dirname));

export interface Broker extends Running {
  readonly port: number;
}

/** How to start each broker; the caller stops it. */
const starters: Record<BrokerName, (row: Row, tools: ReadonlyMap<string, string>) => Promise<Broker>> = {
  ringmq: startRingmq,
  mosquitto: startMosquitto,
  aedes: startAedes,
  wirelimit: startWirelimit,
};

export const brokerNames = Object.keys(starters) as BrokerName[];

/** Starts `name` as `row` wants it; `tools` holds the paths of the C programs that were built. */
export function startBroker(name: BrokerName, row: Row, tools: ReadonlyMap<string, string>): Promise<Broker> {
  return starters[name](row, tools);
}

/** Why `name` cannot take part, or undefined when it can. */
export function findObstacle(name: BrokerName, tools: ReadonlyMap<string, string>): string | undefined {
  if (name === 'mosquitto' && findProgram('mosquitto') === undefined) return 'it is not installed';
  if (name === 'wirelimit' && !tools.has('wirelimit')) return 'it could not be built';
  return undefined;
}

/** What runs, for the record. */
export function readVersion(name: BrokerName): string {
  const packageOf = (path: string): string => (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version;
  if (name === 'ringmq')
    return `ringmq ${packageOf(join(root, 'package.json'))}${readCommit()}, Node ${process.version}`;
  if (name === 'aedes') {
    const entry = createRequire(import.meta.url).resolve('aedes');
    const modules = entry.slice(0, entry.lastIndexOf('node_modules') + 'node_modules'.length);
    return `aedes ${packageOf(join(modules, 'aedes', 'package.json'))}, Node ${process.version}`;
  }
  if (name === 'wirelimit') return 'wirelimit';
  return readMosquittoVersion();
}

function readMosquittoVersion(): string {
  try {
    return execFileSync(findProgram('mosquitto') ?? 'mosquitto', ['-h'], { encoding: 'utf8' }).split('\n')[0];
  } catch (error) {
    // `mosquitto -h` ends with status 1 although it answers.
    return String((error as { stdout?: string }).stdout ?? 'mosquitto').split('\n')[0];
  }
}

function readCommit(): string {
  try {
    return ` (${execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: root, encoding: 'utf8', stdio: 'pipe' }).trim()})`;
  } catch {
    // No git, or not a clone: the version has to do.
    return '';
  }
}

async function startRingmq(row: Row): Promise<Broker> {
  const data = mkdtempSync(join(tmpdir(), 'ringmq-bench-'));
  const { transport } = row.workload;
  const node = transport === 'web-socket-uws' ? await nodeForUws() : { command: process.execPath, args: [] };
  const command = [node.command, ...node.args, join(root, 'bin', 'ringmq.js'), 'start', '--data', data];
  command.push('--workers', `${row.workers}`, '--mqtt', '127.0.0.1:0', '--http', '127.0.0.1:0');
  const listener = listenerOf(transport);
  if (transport === 'tls') {
    const { certificate, key } = makeCertificate(data);
    command.push('--mqtt-tls', '127.0.0.1:0', '--tls-certificate', certificate, '--tls-key', key);
  }
  if (transport === 'web-socket') command.push('--mqtt-ws', '127.0.0.1:0');
  if (transport === 'web-socket-uws') {
    const uws = {
      name: listener,
      protocol: 'mqtt',
      transport: 'ws',
      address: '127.0.0.1:0',
      webSocket: { adapter: 'uws' },
    };
    command.push('--set', `listeners.1=${JSON.stringify(uws)}`);
  }
  // Consecutive connections then go to different workers.
  if (row.workers > 1) command.push('--set', 'sharding=round-robin');
  try {
    const started = await startUntilLine(
      pinned(BROKER_CORE, command),
      new RegExp(`^ringmq ready (?:.* )?${listener}=\\S*:(\\d+)`, 'm'),
    );
    return { pid: started.pid, port: Number(started.match[1]), stop: stopAndRemove(started, data) };
  } catch (error) {
    rmSync(data, { recursive: true, force: true });
    throw error;
  }
}

/** Name of the listener in the ready line. */
function listenerOf(transport: Transport): string {
  if (transport === 'tcp') return 'mqtt';
  return { tls: 'mqtt-tls', 'web-socket': 'mqtt-ws', 'web-socket-uws': 'mqtt-uws' }[transport];
}

function makeCertificate(folder: string): { certificate: string; key: string } {
  const certificate = join(folder, 'server.crt');
  const key = join(folder, 'server.key');
  const kind = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '1'];
  const files = ['-subj', '/CN=127.0.0.1', '-keyout', key, '-out', certificate];
  execFileSync('openssl', ['req', ...kind, ...files], { stdio: ['ignore', 'ignore', 'pipe'] });
  chmodSync(key, 0o644);
  return { certificate, key };
}

async function startMosquitto(row: Row): Promise<Broker> {
  const folder = mkdtempSync(join(tmpdir(), 'ringmq-bench-'));
  chmodSync(folder, 0o777); // As root it becomes another user.
  const port = await findFreePort();
  const { isDurable, transport } = row.workload;
  const lines = [`listener ${port} 127.0.0.1`, 'allow_anonymous true', `persistence ${isDurable}`, 'log_type none'];
  // Where it writes its one file, every half an hour and at its end: it never waits for a disk.
  if (isDurable) lines.push(`persistence_location ${folder}/`, 'max_queued_messages 0');
  if (transport === 'tls') {
    const { certificate, key } = makeCertificate(folder);
    lines.push(`certfile ${certificate}`, `keyfile ${key}`);
  }
  lines.push(`set_tcp_nodelay ${row.isSparse}`, 'max_connections -1');
  const file = join(folder, 'mosquitto.conf');
  writeFileSync(file, `${lines.join('\n')}\n`);
  const program = findProgram('mosquitto') ?? 'mosquitto';
  const started = await startUntilPort(pinned(BROKER_CORE, [program, '-c', file]), port);
  return { pid: started.pid, port, stop: stopAndRemove(started, folder) };
}

async function startAedes(): Promise<Broker> {
  const command = [process.execPath, join(import.meta.dirname, 'aedes-broker.ts')];
  const started = await startUntilLine(pinned(BROKER_CORE, command), /^aedes ready port=(\d+)/m);
  return { pid: started.pid, port: Number(started.match[1]), stop: started.stop };
}

/** It cannot be asked whether it listens: any connection is one of its clients, so the first moment is left to it. */
async function startWirelimit(_row: Row, tools: ReadonlyMap<string, string>): Promise<Broker> {
  const port = await findFreePort();
  const started = await startUntilPort(pinned(BROKER_CORE, [tools.get('wirelimit') ?? 'wirelimit', `${port}`]), port);
  return { pid: started.pid, port, stop: started.stop };
}

function stopAndRemove(started: Running, folder: string): () => Promise<void> {
  return async () => {
    await started.stop();
    rmSync(folder, { recursive: true, force: true });
  };
}
