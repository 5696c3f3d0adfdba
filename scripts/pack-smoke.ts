// Proves that what `npm pack` makes works where it is installed: `npm run pack:smoke`. Packs the repository, installs the
// tarball into a temporary folder beside the pinned Node, starts the broker there, sends one message through it, stops it,
// and starts it once more as a library. Leaves nothing behind.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { connectAsync } from 'mqtt';

const root = join(import.meta.dirname, '..');
const readyLimitMs = 20_000;
const stopLimitMs = 20_000;
const messageLimitMs = 10_000;

function step(text: string): void {
  console.log(`pack smoke: ${text}`);
}

function check(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(`Cannot accept the package: ${what}`);
}

/** Rejects when `promise` takes longer; the timer never outlives it. */
async function within<T>(promise: Promise<T>, limitMs: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`Cannot see ${what}: nothing within ${limitMs} ms`)), limitMs);
  });
  return await Promise.race([promise, limit]).finally(() => clearTimeout(timer));
}

function npm(args: readonly string[], cwd: string): string {
  return execFileSync('npm', [...args, '--no-audit', '--no-fund'], {
    cwd,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

/** Packs into `folder` and returns the path of the tarball, after a look at what is in it. */
function pack(folder: string): string {
  const output = npm(['pack', '--json', '--ignore-scripts', '--pack-destination', folder], root);
  const report: unknown = JSON.parse(output);
  // npm 11 prints a list, newer ones an object keyed by package name.
  const [packed] = Object.values(report as Record<string, { filename: string; files: { path: string }[] }>);
  check(packed !== undefined, 'npm pack reported no tarball');
  const paths = packed.files.map(({ path }) => path);
  for (const wanted of [
    'bin/ringmq.js',
    'dist/src/main/index.js',
    'dist/src/main/index.d.ts',
    'proto/ringmq/placement/v1/kv.proto',
    'LICENSE',
    'README.md',
  ]) {
    check(paths.includes(wanted), `${wanted} is not in it`);
  }
  const strays = paths.filter((path) => !/^(bin|dist|docs|proto\/ringmq)\/|^[^/]+$/.test(path));
  check(strays.length === 0, `it contains ${strays.join(', ')}`);
  step(`${packed.filename} holds ${paths.length} files`);
  return join(folder, packed.filename);
}

/** Installs tarball and pinned Node as a user would, in a project of its own. */
function install(tarball: string, project: string): void {
  mkdirSync(project);
  const { devDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const manifest = {
    name: 'ringmq-pack-smoke',
    private: true,
    type: 'module',
    dependencies: { node: devDependencies.node, ringmq: `file:${tarball}` },
    allowScripts: { node: true },
  };
  writeFileSync(join(project, 'package.json'), JSON.stringify(manifest));
  npm(['install', '--no-package-lock'], project);
}

/** Resolves with the addresses of the ready line. */
async function waitForReadyLine(broker: ChildProcess): Promise<Map<string, string>> {
  check(broker.stdout !== null, 'its output cannot be read');
  const lines = createInterface({ input: broker.stdout });
  for await (const line of lines) {
    const pairs = /^ringmq ready (.*)$/.exec(line)?.[1]?.split(' ') ?? [];
    if (pairs.length > 0) return new Map(pairs.map((pair) => pair.split('=', 2) as [string, string]));
  }
  throw new Error('Cannot accept the package: the broker ended before it was ready');
}

async function exchangeMessage(address: string): Promise<void> {
  const client = await within(connectAsync(`mqtt://${address}`), messageLimitMs, 'a connection');
  try {
    await client.subscribeAsync('pack/smoke', { qos: 1 });
    const arrived = new Promise<[topic: string, payload: Buffer]>((resolve) => {
      client.once('message', (topic, payload) => resolve([topic, payload]));
    });
    await client.publishAsync('pack/smoke', 'hello', { qos: 1 });
    const [topic, payload] = await within(arrived, messageLimitMs, 'the message');
    check(topic === 'pack/smoke' && payload.toString() === 'hello', `the message came back as ${topic} ${payload}`);
  } finally {
    await client.endAsync();
  }
}

async function tryProgram(project: string): Promise<void> {
  const flags = ['--data', join(project, 'data'), '--workers', '2', '--mqtt', '127.0.0.1:0', '--http', '127.0.0.1:0'];
  const program = join(project, 'node_modules/.bin/ringmq');
  const path = `${join(project, 'node_modules/.bin')}:${process.env.PATH ?? ''}`;
  const broker = spawn(program, ['start', ...flags], {
    cwd: project,
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, PATH: path },
  });
  const ended = once(broker, 'exit') as Promise<[code: number | null, signal: string | null]>;
  try {
    const addresses = await within(waitForReadyLine(broker), readyLimitMs, 'the ready line');
    step(`the program is ready: ${[...addresses].map((pair) => pair.join('=')).join(' ')}`);
    const { status } = await fetch(`http://${addresses.get('http')}/readyz`);
    check(status === 200, `/readyz answers ${status}`);
    await exchangeMessage(addresses.get('mqtt') ?? '');
    const [host = '', port = ''] = (addresses.get('mqtt') ?? '').split(':');
    const publish = ['pub', '-h', host, '-p', port, '-t', 'pack/smoke', '-m', 'hello', '-q', '1'];
    execFileSync(program, publish, { stdio: 'inherit', env: { ...process.env, PATH: path }, timeout: messageLimitMs });
    broker.kill('SIGTERM');
    const [code, signal] = await within(ended, stopLimitMs, 'the end of the broker');
    check(code === 0, `SIGTERM ends the broker with ${code ?? signal}`);
  } finally {
    broker.kill('SIGKILL');
  }
}

/** The library in a program of the user's: it must end by itself once the broker has stopped. */
async function tryLibrary(project: string): Promise<void> {
  const program = `import { startBroker } from 'ringmq';
const broker = await startBroker({ workers: 1 });
console.log('ringmq ready mqtt=127.0.0.1:' + broker.port('mqtt'));
process.stdin.once('data', async () => {
  await broker.stop();
  process.stdin.destroy();
});
`;
  writeFileSync(join(project, 'library.js'), program);
  const node = join(project, 'node_modules/.bin/node');
  const child = spawn(node, ['library.js'], { cwd: project, stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = once(child, 'exit') as Promise<[code: number | null, signal: string | null]>;
  try {
    const addresses = await within(waitForReadyLine(child), readyLimitMs, 'the line of the library');
    await exchangeMessage(addresses.get('mqtt') ?? '');
    child.stdin.write('stop\n');
    const [code, signal] = await within(ended, stopLimitMs, 'the end of the program with the library');
    check(code === 0, `the program with the library ends with ${code ?? signal}`);
  } finally {
    child.kill('SIGKILL');
  }
}

/** A user's TypeScript must find the types of the library. */
function checkTypes(project: string): void {
  const program = "import { startBroker } from 'ringmq';\nexport const url: string = (await startBroker()).url();\n";
  writeFileSync(join(project, 'user.ts'), program);
  const flags = ['--noEmit', '--strict', '--module', 'nodenext', '--target', 'esnext', '--skipLibCheck'];
  const typeRoots = ['--typeRoots', join(root, 'node_modules/@types'), '--types', 'node'];
  execFileSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), ...flags, ...typeRoots, 'user.ts'], {
    cwd: project,
    stdio: 'inherit',
  });
}

const folder = mkdtempSync(join(tmpdir(), 'ringmq-pack-smoke-'));
try {
  npm(['run', '--silent', 'build'], root);
  const tarball = pack(folder);
  const project = join(folder, 'project');
  install(tarball, project);
  await tryProgram(project);
  step('the program serves and stops');
  await tryLibrary(project);
  step('the library serves and stops');
  checkTypes(project);
  step('the types are found');
} finally {
  rmSync(folder, { recursive: true, force: true });
}
