/** The broken network of the cluster tests, against a server that sends everything back. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FaultLink, FaultNetwork } from '../../support/fault-proxy.ts';

let server: Server;
let target: { host: string; port: number };
const serverSockets = new Set<Socket>();
const clients = new Set<Socket>();
const links = new Set<FaultLink | FaultNetwork>();

beforeEach(async () => {
  server = createServer((socket) => {
    serverSockets.add(socket);
    socket.on('error', () => undefined);
    socket.pipe(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  target = { host: '127.0.0.1', port: (server.address() as AddressInfo).port };
});

afterEach(async () => {
  for (const client of clients) client.destroy();
  for (const link of links) await link.close();
  for (const socket of serverSockets) socket.destroy();
  server.close();
  for (const set of [clients, links, serverSockets]) set.clear();
});

async function newLink(): Promise<FaultLink> {
  const link = await FaultLink.to(target);
  links.add(link);
  return link;
}

function open(port: number): { socket: Socket; received: () => string; closed: Promise<unknown> } {
  const socket = connect(port, '127.0.0.1');
  clients.add(socket);
  let text = '';
  socket.setEncoding('utf8').on('data', (part: string) => {
    text += part;
  });
  const closed = new Promise((resolve) => {
    let code = 'FIN';
    socket.on('error', (error: NodeJS.ErrnoException) => {
      code = error.code ?? '';
    });
    socket.on('close', () => resolve(code));
  });
  return { socket, received: () => text, closed };
}

const eventually = { timeout: 5_000, interval: 5 };
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

describe('FaultLink', () => {
  it('passes bytes both ways and ends a connection when its client does', async () => {
    const link = await newLink();
    const client = open(link.port);
    client.socket.end('hello');
    expect(await client.closed).toBe('FIN');
    expect(client.received()).toBe('hello');
    await expect.poll(() => link.connectionCount, eventually).toBe(0);
  });

  it('cut resets what is open and refuses what is new, until it heals', async () => {
    const link = await newLink();
    const client = open(link.port);
    client.socket.write('a');
    await expect.poll(client.received, eventually).toBe('a');
    link.set({ isCut: true });
    expect(await client.closed).toBe('ECONNRESET');
    expect(await open(link.port).closed).toBe('ECONNRESET');
    link.heal();
    const next = open(link.port);
    next.socket.write('b');
    await expect.poll(next.received, eventually).toBe('b');
  });

  it('hang passes nothing and closes nothing, and everything arrives after it', async () => {
    const link = await newLink();
    const client = open(link.port);
    client.socket.write('a');
    await expect.poll(client.received, eventually).toBe('a');
    link.set({ isHung: true });
    client.socket.write('b');
    const late = open(link.port);
    late.socket.write('c');
    await pause(50);
    expect([client.received(), late.received()]).toEqual(['a', '']);
    expect(link.connectionCount).toBe(2);
    link.heal();
    await expect.poll(client.received, eventually).toBe('ab');
    await expect.poll(late.received, eventually).toBe('c');
  });

  it('hang hides that the other side is gone', async () => {
    const link = await newLink();
    const client = open(link.port);
    client.socket.write('a');
    await expect.poll(client.received, eventually).toBe('a');
    link.set({ isHung: true });
    for (const socket of serverSockets) socket.resetAndDestroy();
    await pause(50);
    expect(client.socket.closed).toBe(false);
    link.heal();
    expect(await client.closed).toBe('ECONNRESET');
  });

  it('delay holds bytes for the time each way and keeps their order', async () => {
    const link = await newLink();
    link.set({ delayMs: 60 });
    const client = open(link.port);
    const start = performance.now();
    for (const text of ['a', 'b', 'c']) client.socket.write(text);
    await expect.poll(client.received, eventually).toBe('abc');
    expect(performance.now() - start).toBeGreaterThanOrEqual(119);
  });

  it('throttle limits the bytes per second and loses none', async () => {
    const link = await newLink();
    link.set({ bytesPerS: 100_000 });
    const client = open(link.port);
    const start = performance.now();
    client.socket.write('x'.repeat(20_000));
    await expect.poll(() => client.received().length, eventually).toBe(20_000);
    expect(performance.now() - start).toBeGreaterThanOrEqual(150);
  });

  it('holds back a sender whose receiver does not read', async () => {
    const link = await newLink();
    const client = open(link.port);
    client.socket.write('a');
    await expect.poll(client.received, eventually).toBe('a');
    link.set({ isHung: true });
    const block = Buffer.alloc(1 << 20);
    for (let i = 0; i < 64; i += 1) client.socket.write(block);
    await pause(100);
    expect(client.socket.writableLength).toBeGreaterThan(32 << 20);
  });

  it('reset breaks connections once', async () => {
    const link = await newLink();
    const client = open(link.port);
    client.socket.write('a');
    await expect.poll(client.received, eventually).toBe('a');
    link.reset();
    expect(await client.closed).toBe('ECONNRESET');
    const next = open(link.port);
    next.socket.write('b');
    await expect.poll(next.received, eventually).toBe('b');
  });
});

describe('FaultNetwork', () => {
  it('partition breaks links between groups alone, isolate all of a node, healAll none', async () => {
    const network = new FaultNetwork();
    links.add(network);
    const names = ['a', 'b', 'c'];
    for (const from of names) for (const to of names) if (from !== to) await network.add(from, to, target);
    const expectReached = async (expected: readonly string[]): Promise<void> => {
      const opened = names.flatMap((from) =>
        names.filter((to) => to !== from).map((to) => ({ name: from + to, client: open(network.link(from, to).port) })),
      );
      for (const { client } of opened) client.socket.write('x');
      const reached = (): string[] => opened.filter(({ client }) => client.received() === 'x').map(({ name }) => name);
      await expect.poll(reached, eventually).toEqual(expected);
      await pause(20);
      expect(reached()).toEqual(expected);
      for (const { client } of opened) client.socket.destroy();
    };
    network.partition([['a', 'b'], ['c']]);
    await expectReached(['ab', 'ba']);
    network.healAll();
    network.isolate('b', 'cut');
    await expectReached(['ac', 'ca']);
    network.healAll();
    await expectReached(['ab', 'ac', 'ba', 'bc', 'ca', 'cb']);
  });
});
