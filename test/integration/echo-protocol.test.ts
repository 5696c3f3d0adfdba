/**
 * A protocol is one folder and one line in the registry: a toy gets its listener, its flag, its configuration section,
 * connections on all workers, metrics and limits without another change to the sources.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Checkout, checkoutWithEcho } from '../support/echo/checkout.ts';
import { type LineClient, Program, type ProgramOptions, until } from '../support/echo/program.ts';

let checkout: Checkout;
const running: Program[] = [];

beforeAll(() => {
  checkout = checkoutWithEcho();
});
afterEach(async () => {
  for (const program of running.splice(0)) await program.kill();
});
afterAll(() => checkout.remove());

async function start(options: ProgramOptions): Promise<Program> {
  const program = await Program.start(checkout.path, options);
  running.push(program);
  return program;
}

async function connectMany(program: Program, count: number): Promise<LineClient[]> {
  return Promise.all(Array.from({ length: count }, () => program.connect()));
}

/** How many of the clients each worker has, by asking them. */
async function spread(clients: readonly LineClient[], workerCount: number): Promise<number[]> {
  const counts = new Array<number>(workerCount).fill(0);
  for (const client of clients) counts[Number((await client.ask('hello'))?.slice(1, 2))]++;
  return counts;
}

describe('a protocol of one folder and one registry line', () => {
  it('gets a listener, connections on all workers, and metrics', async () => {
    const program = await start({ flags: ['--workers', '2', '--echo', '127.0.0.1:0'] });
    expect(program.stdout).toMatch(/^ringmq ready echo=127\.0\.0\.1:\d+ http=127\.0\.0\.1:\d+\n$/);
    const clients = await connectMany(program, 10);
    expect(await spread(clients, 2)).toEqual([5, 5]);
    const metrics = await program.metrics();
    expect(metrics).toContain('ringmq_connections_accepted_total{worker="main",listener="echo",protocol="echo"} 10\n');
    for (const worker of [0, 1]) {
      expect(metrics).toContain(`ringmq_connections_open{worker="${worker}",listener="echo",protocol="echo"} 5\n`);
      expect(metrics).toContain(`ringmq_echo_lines_total{worker="${worker}"} 5\n`);
    }
    for (const client of clients) client.close();
    await until(async () => (await program.metric('ringmq_connections_open{worker="0",listener="echo"')) === 0);
  });

  it('gets a checked section of the configuration', async () => {
    const program = await start({ flags: ['--workers', '1', '--set', 'echo.greeting=welcome'] });
    expect(await (await program.connect()).next()).toBe('welcome');
    await expect(Program.start(checkout.path, { flags: ['--set', 'echo.greting=x'] })).rejects.toThrow(
      /echo\.greeting/,
    );
  });

  it('gets several listeners, each with its own limit', async () => {
    const listeners = [
      { name: 'few', protocol: 'echo', address: '127.0.0.1:0', connectionsMax: 2 },
      { name: 'six', protocol: 'echo', address: '[::1]:0' },
    ];
    const program = await start({ flags: ['--set', `listeners=${JSON.stringify(listeners)}`, '--workers', '2'] });
    expect(program.stdout).toMatch(/few=127\.0\.0\.1:\d+ .*six=\[::1\]:\d+ /);
  });

  it('gets the limit of the node: a connection beyond it is reset, and has room when one ends', async () => {
    const program = await start({ flags: ['--workers', '2', '--set', 'limits.connectionsMax=3'] });
    const clients = await connectMany(program, 3);
    expect(await spread(clients, 2)).toSatisfy((counts: number[]) => counts[0] + counts[1] === 3);
    const refused = await program.connect();
    expect(await refused.closed).toBe('ECONNRESET');
    const labels = 'worker="main",listener="echo",protocol="echo",reason="connections-max"';
    expect(await program.metric(`ringmq_connections_refused_total{${labels}}`)).toBe(1);
    expect(await clients[0].ask('quit')).toMatch(/quit/);
    await clients[0].closed;
    await until(async () => {
      const client = await program.connect();
      const answer = await client.ask('hello');
      return answer !== undefined;
    });
  });

  it('gets the rate of new connections', async () => {
    const rate = ['--set', 'limits.acceptRatePerS=1', '--set', 'limits.acceptBurst=4'];
    const program = await start({ flags: ['--workers', '1', ...rate] });
    const clients = await connectMany(program, 12);
    const labels = 'worker="main",listener="echo",protocol="echo",reason="accept-rate"';
    await until(async () => (await program.metric(`ringmq_connections_refused_total{${labels}}`)) >= 7);
    const answers = await Promise.all(clients.map((client) => client.ask('hello')));
    const answered = answers.filter((answer) => answer !== undefined).length;
    expect(answered).toBeGreaterThanOrEqual(4);
    expect(answered).toBeLessThanOrEqual(5);
  });

  it('gets the time limit of the handshake', async () => {
    const program = await start({ flags: ['--workers', '1', '--set', 'limits.handshakeTimeoutMs=200'] });
    const silent = await program.connect();
    const polite = await program.connect();
    expect(await polite.ask('hello')).toBe('w0 hello');
    expect(await silent.closed).toMatch(/ECONNRESET|end/);
    expect(await polite.ask('still')).toBe('w0 still');
    const labels = 'worker="0",listener="echo",protocol="echo",reason="handshake-timeout"';
    expect(await program.metric(`ringmq_connections_closed_total{${labels}}`)).toBe(1);
  });

  it('is sharded by address when asked for: all clients of one address meet one worker', async () => {
    const program = await start({ flags: ['--workers', '2', '--set', 'sharding=address-hash'] });
    const counts = await spread(await connectMany(program, 6), 2);
    expect(counts.toSorted()).toEqual([0, 6]);
  });

  it('is sharded in turn when asked for, however many connections have ended', async () => {
    const program = await start({ flags: ['--workers', '2', '--set', 'sharding=round-robin'] });
    const workers: (string | undefined)[] = [];
    for (let count = 0; count < 4; count++) {
      const client = await program.connect();
      workers.push(await client.ask('quit'));
      await client.closed;
    }
    expect(workers).toEqual(['w0 quit', 'w1 quit', 'w0 quit', 'w1 quit']);
  });

  it('fills up the worker with the fewest connections by default', async () => {
    const program = await start({ flags: ['--workers', '2'] });
    const clients = await connectMany(program, 6);
    const answers = await Promise.all(clients.map((client) => client.ask('hello')));
    const ofFirst = clients.filter((_, index) => answers[index] === 'w0 hello');
    for (const client of ofFirst) {
      await client.ask('quit');
      await client.closed;
    }
    const open = 'ringmq_connections_open{worker="0",listener="echo"';
    await until(async () => (await program.metric(open)) === 0);
    expect(await spread(await connectMany(program, 3), 2)).toEqual([3, 0]);
  });

  it('hands sessions over between workers, and tells all of them what one broadcasts', async () => {
    const program = await start({ flags: ['--workers', '2'] });
    const [first, second] = await connectMany(program, 2);
    expect(await first.ask('claim a')).toBe('w0 granted undefined');
    expect(await second.ask('claim a')).toBe('w1 install new+w0');
    expect(await second.next()).toBe('w1 granted new+w0@7');
    expect(await first.ask('discard a')).toBe('w0 granted undefined');
    expect(await first.ask('tell hello')).toBe('w0 told');
    expect(await second.ask('heard')).toMatch(/hello from 0$/);
  });
});
