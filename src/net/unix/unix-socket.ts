/**
 * Listens on a Unix socket: permissions of the file, and the file that a broker which died has left. Lives on the worker
 * that serves the listener: Node moves accepted TCP sockets between threads, but not these.
 */
import { chmodSync, lstatSync, mkdtempSync, renameSync, rmdirSync, rmSync, unlinkSync } from 'node:fs';
import net from 'node:net';
import { dirname, join } from 'node:path';
import { BrokerError, toError } from '../../std/errors.ts';

export interface UnixSocketFile {
  readonly path: string;
  /** Permission bits. */
  readonly mode: number;
}

/** How long a program that holds the file may take to answer, ms. */
const PROBE_MS = 1_000;

/**
 * Binds `server` to the file; removes one that nobody listens on. Rejects with `LISTENER_ADDRESS_IN_USE`,
 * `LISTENER_ADDRESS_FORBIDDEN` or `LISTENER_FAILED`; `server` is closed then.
 */
export async function listenOnFile(
  server: net.Server,
  listener: string,
  file: UnixSocketFile,
  backlog: number,
): Promise<void> {
  const where = `Cannot listen on "unix:${file.path}" for listener "${listener}"`;
  await removeStale(file.path, where);
  let folder: string | null = null;
  try {
    // Made in a folder that nobody else can enter, so that nobody comes in before the permissions are set.
    folder = mkdtempSync(join(dirname(file.path), '.s'));
    const draft = join(folder, 's');
    await bind(server, draft, backlog);
    chmodSync(draft, file.mode);
    renameSync(draft, file.path);
  } catch (error) {
    server.close();
    throw listenError(where, error);
  } finally {
    if (folder !== null) removeFolder(folder);
  }
}

/** Closes a server that `listenOnFile` has bound, and removes its file. */
export function closeOnFile(server: net.Server, file: UnixSocketFile): void {
  server.close();
  rmSync(file.path, { force: true });
}

function bind(server: net.Server, path: string, backlog: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ path, backlog }, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

function removeFolder(folder: string): void {
  rmSync(join(folder, 's'), { force: true });
  rmdirSync(folder);
}

async function removeStale(path: string, where: string): Promise<void> {
  try {
    if (!lstatSync(path).isSocket()) {
      throw new BrokerError('LISTENER_FAILED', `${where}: the file exists and is no socket`);
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw listenError(where, error);
  }
  const answer = await probe(path);
  if (answer === 'ENOENT') return;
  if (answer !== 'ECONNREFUSED') {
    const message = `${where}: another program listens on it`;
    throw new BrokerError('LISTENER_ADDRESS_IN_USE', message, { canRetry: true });
  }
  try {
    unlinkSync(path);
  } catch (error) {
    throw listenError(where, error);
  }
}

/** 'connected', or the code of the error; a program that does not answer is taken for one that lives. */
function probe(path: string): Promise<string> {
  return new Promise((resolve) => {
    const client = net.connect({ path });
    const done = (answer: string): void => {
      clearTimeout(timer);
      client.destroy();
      resolve(answer);
    };
    const timer = setTimeout(() => done('timeout'), PROBE_MS);
    client.once('connect', () => done('connected'));
    client.once('error', (error: NodeJS.ErrnoException) => done(error.code ?? error.message));
  });
}

function listenError(where: string, thrown: unknown): BrokerError {
  if (thrown instanceof BrokerError) return thrown;
  const error = toError(thrown) as NodeJS.ErrnoException;
  if (error.code === 'EACCES' || error.code === 'EPERM') {
    return new BrokerError('LISTENER_ADDRESS_FORBIDDEN', `${where}: permission denied`, { cause: error });
  }
  return new BrokerError('LISTENER_FAILED', `${where}: ${error.message}`, { cause: error });
}
