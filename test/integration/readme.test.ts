/** The examples of the README, run: the commands against a broker of our own, the program against the library. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Broker, startBroker } from '../../src/main/index.ts';

const root = join(import.meta.dirname, '../..');
const run = promisify(execFile);
const readme = await readFile(join(root, 'README.md'), 'utf8');

function blocks(language: string): string[] {
  return [...readme.matchAll(new RegExp(`\`\`\`${language}\n([\\s\\S]*?)\`\`\``, 'g'))].map(([, text]) => text ?? '');
}

/** Lines that call the `ringmq` command, as arguments. */
const commands = blocks('sh')
  .flatMap((block) => block.split('\n'))
  .map((line) => line.replace(/\s#.*$/, '').trim())
  .filter((line) => line.startsWith('npx ringmq '))
  .map((line) => line.slice('npx ringmq '.length).replaceAll("'", '').split(/\s+/));

describe('the commands of the README', () => {
  let broker: Broker;
  beforeAll(async () => {
    broker = await startBroker();
  });
  afterAll(() => broker.stop());

  const ringmq = (args: readonly string[]) =>
    spawn(process.execPath, [join(root, 'bin/ringmq.js'), ...args], { stdio: ['ignore', 'pipe', 'pipe'] });

  it('subscribe and publish', async () => {
    const sub = commands.find(([verb]) => verb === 'sub') as string[];
    const pubs = commands.filter(([verb]) => verb === 'pub');
    expect(pubs.length).toBeGreaterThan(0);
    const port = String(broker.port());
    const subscriber = ringmq([...sub, '-p', port, '-C', String(pubs.length), '-d']);
    let output = '';
    let log = '';
    subscriber.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
    subscriber.stderr.on('data', (chunk: Buffer) => {
      log += chunk.toString();
    });
    const ended = once(subscriber, 'exit');
    await expect.poll(() => log, { timeout: 10_000 }).toMatch(/SUBACK|ubscribed/);
    for (const pub of pubs) expect((await once(ringmq([...pub, '-p', port]), 'exit'))[0]).toBe(0);
    expect((await ended)[0]).toBe(0);
    for (const pub of pubs) expect(output).toContain(`${pub[pub.indexOf('-t') + 1]} ${pub[pub.indexOf('-m') + 1]}`);
  });

  it('show and check a configuration', async () => {
    const configs = commands.filter(([verb]) => verb === 'config');
    expect(configs).toHaveLength(2);
    const folder = await mkdtemp(join(tmpdir(), 'ringmq-readme-'));
    await writeFile(join(folder, 'ringmq.yaml'), 'workers: 2\n');
    for (const args of configs) {
      const { stdout } = await run(process.execPath, [join(root, 'bin/ringmq.js'), ...args], { cwd: folder });
      expect(stdout).not.toBe('');
    }
    await rm(folder, { recursive: true });
  });

  it('start a broker with flags behind two dashes', async () => {
    const lines = blocks('sh').flatMap((block) => block.split('\n'));
    const starts = [...lines, ...readme.split('`')].filter((text) => text.trim().startsWith('npm start -- '));
    expect(starts.length).toBeGreaterThan(1);
    const folder = await mkdtemp(join(tmpdir(), 'ringmq-readme-'));
    await writeFile(join(folder, 'ringmq.yaml'), 'limits:\n  connectionsMax: 100\n');
    for (const start of starts) {
      const args = start.trim().slice('npm start -- '.length).split(/\s+/);
      const free = ['--mqtt', `127.0.0.1:${await freePort()}`, '--http', '127.0.0.1:0', '--data', join(folder, 'data')];
      const program = spawn(process.execPath, [join(root, 'bin/ringmq.js'), 'start', ...args, ...free], {
        cwd: folder,
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const [line] = (await once(program.stdout, 'data')) as [Buffer];
      expect(line.toString()).toMatch(/^ringmq ready mqtt=127\.0\.0\.1:\d+ http=127\.0\.0\.1:\d+\n$/);
      program.kill('SIGTERM');
      expect((await once(program, 'exit'))[0]).toBe(0);
    }
    await rm(folder, { recursive: true });
  });
});

describe('the program of the README', () => {
  it('starts a broker, says where it is, and ends by itself', async () => {
    const [program] = blocks('ts');
    expect(program).toContain("from 'ringmq'");
    const folder = await mkdtemp(join(tmpdir(), 'ringmq-readme-'));
    const file = join(folder, 'program.mts');
    await writeFile(file, (program as string).replace("'ringmq'", `'${join(root, 'src/main/index.ts')}'`));
    const { stdout } = await run(process.execPath, [file], { timeout: 15_000 });
    expect(stdout).toMatch(/^mqtt:\/\/127\.0\.0\.1:\d+\n$/);
    await rm(folder, { recursive: true });
  });
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}
