import { once } from 'node:events';
import { existsSync, linkSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { closeOnFile, listenOnFile } from '../../../../src/net/unix/unix-socket.ts';

describe('listenOnFile()', () => {
  let folder: string;
  let path: string;
  const servers: net.Server[] = [];

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'ringmq-unix-'));
    path = join(folder, 'a.sock');
  });

  afterEach(() => {
    for (const server of servers.splice(0)) server.close();
    rmSync(folder, { recursive: true });
  });

  function listen(where = path, mode = 0o640): Promise<net.Server> {
    const server = net.createServer((socket) => {
      socket.on('error', () => undefined);
      socket.end('hello');
    });
    servers.push(server);
    return listenOnFile(server, 'toy', { path: where, mode }, 16).then(() => server);
  }

  async function ask(): Promise<string> {
    const client = net.connect({ path });
    const [data] = (await once(client, 'data')) as [Buffer];
    client.destroy();
    return data.toString();
  }

  it('serves with the permissions that it was told and leaves nothing behind', async () => {
    const server = await listen();
    expect(statSync(path).mode & 0o777).toBe(0o640);
    expect(await ask()).toBe('hello');
    expect(readdirSync(folder)).toEqual(['a.sock']);
    closeOnFile(server, { path, mode: 0o640 });
    expect(readdirSync(folder)).toEqual([]);
  });

  it('replaces a file that nobody listens on', async () => {
    const dead = net.createServer().listen(join(folder, 'dead.sock'));
    await once(dead, 'listening');
    // A second name, since closing removes the first one.
    linkSync(join(folder, 'dead.sock'), path);
    dead.close();
    await once(dead, 'close');
    expect(existsSync(path)).toBe(true);
    await listen();
    expect(await ask()).toBe('hello');
  });

  it('rejects with the code of what is in the way', async () => {
    await listen();
    await expect(listen()).rejects.toMatchObject({
      code: 'LISTENER_ADDRESS_IN_USE',
      message: `Cannot listen on "unix:${path}" for listener "toy": another program listens on it`,
    });
    const file = join(folder, 'file');
    writeFileSync(file, 'precious');
    await expect(listen(file)).rejects.toMatchObject({
      code: 'LISTENER_FAILED',
      message: `Cannot listen on "unix:${file}" for listener "toy": the file exists and is no socket`,
    });
    expect(readFileSync(file, 'utf8')).toBe('precious');
    await expect(listen(join(folder, 'nowhere', 'a.sock'))).rejects.toMatchObject({ code: 'LISTENER_FAILED' });
  });
});
