import net from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { Acceptor, type AcceptorListener, type AcceptorOptions } from '../../../../src/main/acceptor/acceptor.ts';
import { createStrategy } from '../../../../src/main/sharding/strategies.ts';
import { createLogger } from '../../../../src/observability/log.ts';
import { createLedger, Ledger, LedgerWriter } from '../../../../src/workers/runtime/connection-ledger.ts';

const listenerOf = (index: number, changes: Partial<AcceptorListener> = {}): AcceptorListener => ({
  name: `listener-${index}`,
  index,
  protocol: 'toy',
  host: '127.0.0.1',
  port: 0,
  backlog: 16,
  connectionsMax: 0,
  ...changes,
});

class Bench {
  readonly acceptor: Acceptor;
  readonly moved: { worker: number; listener: number; socket: net.Socket }[] = [];
  readonly refused: string[] = [];
  readonly logged: string[] = [];
  readonly ledgerWriters: LedgerWriter[];
  live: number[] = [0, 1];
  takesOver = true;
  private readonly clients: net.Socket[] = [];

  constructor(listeners: readonly AcceptorListener[], changes: Partial<AcceptorOptions> = {}) {
    const buffer = createLedger(2, listeners.length);
    this.ledgerWriters = [0, 1].map((worker) => new LedgerWriter(buffer, worker, listeners.length));
    this.acceptor = new Acceptor({
      listeners,
      connectionsMax: 1_000,
      acceptRatePerS: 0,
      acceptBurst: 0,
      strategy: createStrategy('least-connections'),
      ledger: new Ledger(buffer, 2, listeners.length),
      liveWorkers: () => this.live,
      handOver: (worker, listener, socket) => {
        if (this.takesOver) this.moved.push({ worker, listener, socket });
        return this.takesOver;
      },
      accepted: () => {},
      refused: (listener, reason) => this.refused.push(`${listener.name} ${reason}`),
      log: createLogger({ level: 'debug', format: 'text', write: (line) => this.logged.push(line) }),
      ...changes,
    });
  }

  /** Resolves with 'moved', or with how the broker ended the connection. */
  async connect(port: number, host = '127.0.0.1'): Promise<string> {
    const count = this.moved.length;
    const client = net.connect(port, host);
    this.clients.push(client);
    let ended: string | null = null;
    client.on('error', (error: NodeJS.ErrnoException) => {
      ended = error.code ?? 'error';
    });
    client.on('close', () => {
      ended ??= 'end';
    });
    while (ended === null && this.moved.length === count) await new Promise((resolve) => setTimeout(resolve, 1));
    return ended ?? 'moved';
  }

  async close(): Promise<void> {
    for (const client of this.clients) client.destroy();
    for (const { socket } of this.moved) socket.destroy();
    await this.acceptor.close();
  }
}

describe('Acceptor', () => {
  let bench: Bench;

  afterEach(() => bench.close());

  it('listen() takes free ports and moves untouched sockets to the workers in turn', async () => {
    bench = new Bench([listenerOf(0), listenerOf(1)]);
    const [first, second] = await bench.acceptor.listen();
    expect(first).toMatchObject({ name: 'listener-0', protocol: 'toy', host: '127.0.0.1' });
    expect(first.port).toBeGreaterThan(0);
    await bench.connect(first.port);
    await bench.connect(second.port);
    expect(bench.moved.map(({ worker, listener }) => [worker, listener])).toEqual([
      [0, 0],
      [1, 1],
    ]);
    for (const { socket } of bench.moved) expect([socket.isPaused(), socket.bytesRead]).toEqual([true, 0]);
  });

  it('listens on IPv6', async () => {
    bench = new Bench([listenerOf(0, { host: '::1' })]);
    const [{ host, port }] = await bench.acceptor.listen();
    expect(host).toBe('::1');
    expect(await bench.connect(port, '::1')).toBe('moved');
  });

  it('refuses beyond the limit of a listener and of the node, and has room again when a worker counts one off', async () => {
    bench = new Bench([listenerOf(0, { connectionsMax: 2 }), listenerOf(1)], { connectionsMax: 3 });
    const [first, second] = await bench.acceptor.listen();
    await bench.connect(first.port);
    await bench.connect(first.port);
    expect(await bench.connect(first.port)).toBe('ECONNRESET');
    expect(await bench.connect(second.port)).toBe('moved');
    expect(await bench.connect(second.port)).toBe('ECONNRESET');
    expect(bench.refused).toEqual(['listener-0 listener-connections-max', 'listener-1 connections-max']);
    bench.ledgerWriters[0].ended(0);
    expect(await bench.connect(first.port)).toBe('moved');
  });

  it('refuses beyond the rate', async () => {
    bench = new Bench([listenerOf(0)], { acceptRatePerS: 0.001, acceptBurst: 2 });
    const [{ port }] = await bench.acceptor.listen();
    const ends = [await bench.connect(port), await bench.connect(port), await bench.connect(port)];
    expect(ends).toEqual(['moved', 'moved', 'ECONNRESET']);
    expect(bench.refused).toEqual(['listener-0 accept-rate']);
    expect(bench.logged.join('')).toMatch(/WARN.*connection refused.*accept-rate/);
  });

  it('gives a late worker nothing, and refuses when all are late', async () => {
    const late = new Set([0]);
    bench = new Bench([listenerOf(0)], { isLate: (worker) => late.has(worker) });
    const [{ port }] = await bench.acceptor.listen();
    await bench.connect(port);
    await bench.connect(port);
    expect(bench.moved.map(({ worker }) => worker)).toEqual([1, 1]);
    late.add(1);
    expect(await bench.connect(port)).toBe('ECONNRESET');
    expect(bench.refused).toEqual(['listener-0 overload']);
  });

  it('refuses while memory is short', async () => {
    let isShort = true;
    bench = new Bench([listenerOf(0)], { isMemoryShort: () => isShort });
    const [{ port }] = await bench.acceptor.listen();
    expect(await bench.connect(port)).toBe('ECONNRESET');
    isShort = false;
    expect(await bench.connect(port)).toBe('moved');
    expect(bench.refused).toEqual(['listener-0 memory']);
  });

  it('refuses an address that comes too often, and does not ask where a proxy is in front', async () => {
    const trusted = new net.BlockList();
    trusted.addAddress('127.0.0.1', 'ipv4');
    const asked: string[] = [];
    bench = new Bench([listenerOf(0), listenerOf(1, { trusted })], {
      mayAccept: (address) => asked.push(address) < 2,
    });
    const [first, second] = await bench.acceptor.listen();
    const ends = [await bench.connect(first.port), await bench.connect(first.port), await bench.connect(second.port)];
    expect(ends).toEqual(['moved', 'ECONNRESET', 'moved']);
    expect(asked).toEqual(['127.0.0.1', '127.0.0.1']);
    expect(bench.refused).toEqual(['listener-0 address-accept-rate']);
  });

  it('tells some of the clients that are too many, where their protocol can', async () => {
    const surplus: boolean[] = [];
    bench = new Bench([listenerOf(0, { connectionsMax: 1, refusesPolitely: true })], {
      handOver: (worker, listener, socket, isSurplus) => {
        bench.moved.push({ worker, listener, socket });
        surplus.push(isSurplus);
        return true;
      },
    });
    const [{ port }] = await bench.acceptor.listen();
    const ends: string[] = [];
    for (let count = 0; count < 40; count++) ends.push(await bench.connect(port));
    expect(ends[0]).toBe('moved');
    expect(surplus.slice(0, 3)).toEqual([false, true, true]);
    expect(ends).toContain('ECONNRESET');
    expect(bench.refused).toHaveLength(39);
  });

  it('refuses what comes from no network of proxies', async () => {
    const trusted = new net.BlockList();
    trusted.addSubnet('10.0.0.0', 8, 'ipv4');
    bench = new Bench([listenerOf(0, { trusted }), listenerOf(1, { trusted: new net.BlockList() })]);
    trusted.addAddress('127.0.0.1', 'ipv4');
    const [first, second] = await bench.acceptor.listen();
    expect(await bench.connect(first.port)).toBe('moved');
    expect(await bench.connect(second.port)).toBe('ECONNRESET');
    expect(bench.refused).toEqual(['listener-1 proxy-untrusted']);
  });

  it('refuses without a worker, also when the chosen one dies at that moment', async () => {
    bench = new Bench([listenerOf(0)]);
    const [{ port }] = await bench.acceptor.listen();
    bench.live = [];
    expect(await bench.connect(port)).toBe('ECONNRESET');
    bench.live = [1];
    bench.takesOver = false;
    expect(await bench.connect(port)).toBe('ECONNRESET');
    expect(bench.refused).toEqual(['listener-0 no-worker', 'listener-0 no-worker']);
    bench.takesOver = true;
    expect(await bench.connect(port)).toBe('moved');
  });

  it('listen() rejects with the address that is in use', async () => {
    bench = new Bench([listenerOf(0)]);
    const [{ port }] = await bench.acceptor.listen();
    const second = new Bench([listenerOf(0, { port })]);
    await expect(second.acceptor.listen()).rejects.toMatchObject({
      code: 'LISTENER_ADDRESS_IN_USE',
      canRetry: true,
      message: `Cannot listen on "127.0.0.1:${port}" for listener "listener-0": the address is in use`,
    });
    await second.close();
  });

  it('close() stops accepting', async () => {
    bench = new Bench([listenerOf(0)]);
    const [{ port }] = await bench.acceptor.listen();
    await bench.acceptor.close();
    expect(await bench.connect(port)).toBe('ECONNREFUSED');
  });
});
