/** Workers that die or stall, seen from their clients and from everybody else's. The toy protocol kills on command. */
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

async function start(options: ProgramOptions = {}): Promise<Program> {
  const program = await Program.start(checkout.path, {
    ...options,
    flags: ['--workers', '2', ...(options.flags ?? [])],
  });
  running.push(program);
  return program;
}

/** One client on each of the two workers. */
async function connectBoth(program: Program): Promise<[LineClient, LineClient]> {
  const clients = [await program.connect(), await program.connect()];
  const first = await clients[0].ask('hello');
  await clients[1].ask('hello');
  return first === 'w0 hello' ? [clients[0], clients[1]] : [clients[1], clients[0]];
}

/** Connects until worker 0 answers. */
async function connectToFirst(program: Program): Promise<LineClient> {
  for (;;) {
    const client = await program.connect();
    if ((await client.ask('hello')) === 'w0 hello') return client;
  }
}

const KILLERS = [
  { line: 'throw', cause: 'error', flags: [] as string[] },
  { line: 'exit', cause: 'exit', flags: [] as string[] },
  { line: 'stall', cause: 'stall', flags: ['--set', 'supervision.stallLimitMs=1000'] },
];

describe('a worker that dies', () => {
  for (const { line, cause, flags } of KILLERS) {
    it(`by "${line}" is replaced; its clients are cut, the others notice nothing`, async () => {
      const program = await start({ flags });
      const [victim, witness] = await connectBoth(program);
      const bystander = await connectToFirst(program);
      const linesBefore = await program.metric('ringmq_echo_lines_total{worker="0"}');
      victim.send(line);
      expect(await victim.closed).toMatch(/end|ECONNRESET/);
      expect(await bystander.closed).toMatch(/end|ECONNRESET/);
      for (let count = 0; count < 20; count++) expect(await witness.ask(`${count}`)).toBe(`w1 ${count}`);

      await until(async () => (await program.metric('ringmq_workers_serving')) === 2);
      const reconnected = await connectToFirst(program);
      expect(await reconnected.ask('again')).toBe('w0 again');
      expect(await program.metric(`ringmq_worker_restarts_total{worker="main",cause="${cause}"}`)).toBe(1);
      // Counters go on, gauges begin anew.
      expect(await program.metric('ringmq_echo_lines_total{worker="0"}')).toBeGreaterThan(linesBefore);
      const open = await program.metric('ringmq_connections_open{worker="0",listener="echo"');
      expect(open).toBeGreaterThanOrEqual(1);
      expect(open).toBeLessThanOrEqual(3);
      expect(await witness.ask('heard')).toMatch(/gone 0, ready 0/);
      expect(program.log).toContain(`cause=${cause}`);
      if (line === 'throw') expect(program.log).toContain('EchoHandler');
    });
  }

  it('leaves no descriptor of its clients behind', async () => {
    const program = await start();
    const open = (): Promise<number> => program.metric('process_open_fds');
    const [victim] = await connectBoth(program);
    const others = await Promise.all(Array.from({ length: 40 }, () => program.connect()));
    await until(
      async () => (await program.metric('ringmq_connections_accepted_total{worker="main",listener="echo"')) === 42,
    );
    const before = await open();
    victim.send('throw');
    await victim.closed;
    await until(async () => (await program.metric('ringmq_workers_serving')) === 2);
    // Half of the clients were on the dead worker.
    await until(async () => (await open()) <= before - 20);
    for (const client of others) client.close();
  });

  it('is not waited for by the directory and by broadcasts', async () => {
    const program = await start({ flags: ['--set', 'supervision.stallLimitMs=1000'] });
    const [victim, witness] = await connectBoth(program);
    await victim.ask('claim a');
    const received = 'ringmq_received_bytes_total{worker="0",listener="echo"';
    const before = await program.metric(received);
    victim.send('stall');
    await until(async () => (await program.metric(received)) > before);
    // Both answers need the stalled worker, and come when it was given up.
    witness.send('claim a');
    witness.send('tell hello');
    const answers = [await witness.next(), await witness.next()];
    expect(answers.toSorted()).toEqual(['w1 granted undefined', 'w1 told']);
  });

  it('that was the only one leaves new clients refused until its successor serves', async () => {
    const program = await Program.start(checkout.path, {
      flags: ['--workers', '1', '--set', 'supervision.restartBackoffMs=1200'],
    });
    running.push(program);
    const client = await program.connect();
    client.send('throw');
    await client.closed;
    const refused = await program.connect();
    // Reset by the main thread, or closed with the dying worker that it was moved to.
    expect(await refused.closed).toMatch(/end|ECONNRESET/);
    await until(async () => (await fetch(`http://127.0.0.1:${program.ports.get('http')}/readyz`)).status === 503);
    const again = await connectToFirst(program);
    expect(await again.ask('x')).toBe('w0 x');
  });
});

describe('signals', () => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    it(`${signal} says goodbye to the clients and exits with 0`, async () => {
      const program = await start();
      const clients = await connectBoth(program);
      program.process.kill(signal);
      for (const client of clients) expect(await client.next()).toBe('bye');
      expect(await program.exited).toEqual({ code: 0, signal: null });
      expect(program.stdout.trim().split('\n')).toHaveLength(1);
    });
  }

  it('refuses new clients while those that read slowly get everything that was written to them', async () => {
    const program = await start();
    const [client] = await connectBoth(program);
    client.socket.pause();
    client.send('flood 20000000');
    await until(async () => (await program.metric('ringmq_sent_bytes_total{worker="0",listener="echo"')) > 1_000_000);
    program.process.kill('SIGTERM');
    await until(() => program.log.includes('broker stops'));
    const late = await program.connect();
    expect(await late.closed).toBe('ECONNREFUSED');
    // Longer than a thread without anything left to do would be waited for.
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    client.socket.resume();
    expect(await client.next()).toHaveLength(20_000_000);
    expect(await client.next()).toBe('bye');
    expect(await program.exited).toEqual({ code: 0, signal: null });
  });

  it('exits with 0 at the limit when a client does not read at all', async () => {
    const program = await start({ flags: ['--set', 'shutdown.drainLimitMs=1200'] });
    const [client] = await connectBoth(program);
    client.socket.pause();
    client.send('flood 20000000');
    await until(async () => (await program.metric('ringmq_sent_bytes_total{worker="0",listener="echo"')) > 1_000_000);
    program.process.kill('SIGTERM');
    expect(await program.exited).toEqual({ code: 0, signal: null });
    client.close();
  });

  it('a second signal ends at once, whoever still has to leave', async () => {
    const program = await start({
      flags: ['--set', 'shutdown.drainLimitMs=60000', '--set', 'supervision.stallLimitMs=60000'],
    });
    const [client] = await connectBoth(program);
    client.send('stall');
    await until(async () => (await program.metric('ringmq_received_bytes_total{worker="0",listener="echo"')) > 10);
    program.process.kill('SIGTERM');
    await until(() => program.log.includes('broker stops'));
    const readiness = await fetch(`http://127.0.0.1:${program.ports.get('http')}/readyz`);
    expect([readiness.status, await readiness.text()]).toEqual([503, expect.stringContaining('draining')]);
    program.process.kill('SIGINT');
    expect(await program.exited).toEqual({ code: 130, signal: null });
  });
});

describe('start', () => {
  it('fails with the address when it is in use, and leaves nothing running', async () => {
    const program = await start();
    const address = `127.0.0.1:${program.ports.get('echo')}`;
    const failed = Program.start(checkout.path, {
      flags: ['--workers', '1', '--set', `listeners.0.address=${address}`],
    });
    await expect(failed).rejects.toThrow(`Cannot listen on "${address}" for listener`);
  });

  it('fails when another broker has the data folder, and takes over from a dead one', async () => {
    const program = await start();
    const flags = ['--data', program.data, '--workers', '1'];
    await expect(Program.start(checkout.path, { flags })).rejects.toThrow(/Cannot use data folder .* has it/);
    program.process.kill('SIGKILL');
    await program.exited;
    running.push(await Program.start(checkout.path, { flags }));
  });

  it('fails with what is wrong in the configuration', async () => {
    await expect(Program.start(checkout.path, { flags: ['--workers', 'many'] })).rejects.toThrow(/workers/);
  });
});

it('a process without file descriptors refuses, and serves again when it has some', async () => {
  // Room for about sixteen clients, beside what the broker has open and keeps in reserve.
  const probe = await start();
  const limit = (await probe.metric('process_open_fds')) + 64 + 16;
  const program = await start({ shell: `ulimit -n ${limit}; exec "$@"` });
  const clients = await Promise.all(Array.from({ length: 60 }, () => program.connect()));
  await until(() => program.log.includes('reason=descriptors'));
  const labels = 'worker="main",listener="echo",protocol="echo",reason="descriptors"';
  await until(async () => (await program.metric(`ringmq_connections_refused_total{${labels}}`)) > 30);
  // A worker can be replaced all the same.
  const [victim] = clients;
  victim.send('throw');
  await victim.closed;
  await until(async () => (await program.metric('ringmq_workers_serving')) === 2);
  for (const client of clients) client.close();
  await until(async () => (await (await program.connect()).ask('hello')) !== undefined);
  expect(program.process.exitCode).toBeNull();
});
