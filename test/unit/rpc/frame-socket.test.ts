/** Bytes of frames between two sockets: over the handle of plain TCP, and over the socket's own methods with TLS. */
import { readFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { connect as connectTls, createServer as createTlsServer } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { FrameSocket } from '../../../src/rpc/frame-socket.ts';
import { findStreamInternals } from '../../../src/std/stream-handle.ts';
import { TestAuthority } from '../../support/certificates.ts';
import { until } from '../cli/support.ts';

let authority: TestAuthority;
let keys: { readonly ca: Buffer; readonly cert: Buffer; readonly key: Buffer };
const ends: End[] = [];
const servers: Server[] = [];

beforeAll(() => {
  authority = new TestAuthority();
  const { ca, certificate, key } = authority.issue('server', ['IP:127.0.0.1']);
  keys = { ca: readFileSync(ca), cert: readFileSync(certificate), key: readFileSync(key) };
});

afterEach(() => {
  for (const { socket } of ends.splice(0)) socket.destroy();
  for (const server of servers.splice(0)) server.close();
});

afterAll(() => authority.remove());

class End {
  readonly socket: Socket;
  readonly bytes: FrameSocket;
  readonly chunks: Buffer[] = [];
  written = 0;
  error = '';
  isClosed = false;

  constructor(socket: Socket) {
    ends.push(this);
    this.socket = socket;
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.error = error.code ?? error.message;
    });
    socket.on('close', () => {
      this.isClosed = true;
    });
    this.bytes = new FrameSocket(socket, {
      onData: (chunk) => this.chunks.push(chunk),
      onWritten: () => {
        this.written += 1;
      },
    });
  }

  get received(): Buffer {
    return Buffer.concat(this.chunks);
  }
}

async function listen(server: Server): Promise<number> {
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

/** Two ends of a connection; the client has written `early`, and may have paused, before there was one. */
async function connected(
  transport: string,
  early: Buffer = Buffer.alloc(0),
  isPaused = false,
): Promise<{ client: End; server: End }> {
  let server: End | null = null;
  const accept = (socket: Socket): void => {
    server = new End(socket);
  };
  const isTls = transport === 'TLS';
  const port = await listen(isTls ? createTlsServer(keys, accept) : createServer(accept));
  const target = { port, host: '127.0.0.1' };
  const client = new End(isTls ? connectTls({ ...target, ca: keys.ca }) : connect(target));
  if (isPaused) client.bytes.pause();
  if (early.length > 0) client.bytes.write(early);
  await until(() => server !== null);
  return { client, server: server as unknown as End };
}

function numbered(from: number, count: number): Buffer {
  const bytes = Buffer.alloc(4 * count);
  for (let at = 0; at < count; at++) bytes.writeUInt32LE(from + at, 4 * at);
  return bytes;
}

it('this Node has the handle that FrameSocket uses', () => {
  expect(findStreamInternals()).not.toBeNull();
});

describe.each(['TCP', 'TLS'])('FrameSocket over %s', (transport) => {
  it('brings bytes in order, those too that were written before there was a connection', async () => {
    const { client, server } = await connected(transport, numbered(0, 10));
    client.bytes.write(numbered(10, 5));
    server.bytes.write(Buffer.from('welcome'));
    await until(() => server.received.length === 60 && client.received.length === 7);
    client.bytes.write(numbered(15, 5));
    await until(() => server.received.length === 80);
    expect(server.received).toEqual(numbered(0, 20));
    expect(client.received.toString()).toBe('welcome');
  });

  it('hands out memory that later bytes do not change', async () => {
    const { client, server } = await connected(transport);
    for (let round = 0; round < 20; round++) {
      client.bytes.write(numbered(round * 100, 100));
      await until(() => server.received.length === (round + 1) * 400);
    }
    expect(server.received).toEqual(numbered(0, 2_000));
  });

  it('says how much waits for a peer that does not read, and brings it all when it reads again', async () => {
    const { client, server } = await connected(transport);
    server.bytes.pause();
    const part = 65_536;
    let sent = 0;
    while (client.bytes.queuedBytes < 1_000_000) {
      client.bytes.write(numbered(sent, part));
      sent += part;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    const before = client.written;
    const early = server.received.length;
    await new Promise((resolve) => setTimeout(resolve, 50));
    // With TLS a record that was read already may be presented.
    expect(server.received.length - early).toBeLessThanOrEqual(part);
    server.bytes.resume();
    await until(() => server.received.length === 4 * sent);
    expect(server.received).toEqual(numbered(0, sent));
    await until(() => client.bytes.queuedBytes === 0);
    expect(client.written).toBeGreaterThan(before);
  });

  it('reads nothing before it is resumed when it was paused before there was a connection', async () => {
    const { client, server } = await connected(transport, Buffer.from('hello'), true);
    await until(() => server.received.length === 5);
    server.bytes.write(Buffer.from('welcome'));
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(client.chunks).toEqual([]);
    client.bytes.resume();
    await until(() => client.received.length === 7);
  });

  it('keeps the order with what others write to the socket, and its end', async () => {
    const { client, server } = await connected(transport);
    for (let at = 0; at < 100; at++) {
      if (at % 3 === 0) client.socket.write(numbered(at, 1));
      else client.bytes.write(numbered(at, 1));
    }
    client.socket.end(numbered(100, 1));
    await until(() => server.isClosed && client.isClosed);
    expect(server.received).toEqual(numbered(0, 101));
    expect(server.error).toBe('');
  });

  it('does nothing when the connection is over', async () => {
    const { client, server } = await connected(transport);
    client.bytes.write(Buffer.from('one'));
    await until(() => server.received.length === 3);
    client.socket.destroy();
    await until(() => server.isClosed);
    for (const { bytes } of [client, server]) {
      bytes.write(Buffer.from('more'));
      bytes.pause();
      bytes.resume();
      expect(bytes.queuedBytes).toBe(0);
    }
    expect([client.error, server.error]).toEqual(['', '']);
  });
});

it('FrameSocket tells of a connection that was reset, with the name that the system has for it', async () => {
  const { client, server } = await connected('TCP');
  client.bytes.write(Buffer.from('one'));
  await until(() => server.received.length === 3);
  client.socket.resetAndDestroy();
  await until(() => server.isClosed);
  expect(server.error).toBe('ECONNRESET');
});
