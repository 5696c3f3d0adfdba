/**
 * A real S3-compatible server for tests: versitygw over a folder, on a free port of 127.0.0.1. It is built once from the
 * Go module proxy into node_modules/.cache; that it cannot be built fails the test. Thread of the test.
 */
import { execFile } from 'node:child_process';
import { access, mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { EngineProcess } from './engine-process.ts';
import { goProgram } from './go-toolchain.ts';

const run = promisify(execFile);

/** Pinned; the build checks it against the Go checksum database. */
const version = 'v1.8.0';
const cache = join(import.meta.dirname, '../../../node_modules/.cache/versitygw');
/** A first build takes about 75 s of two cores. */
export const buildLimitMs = 600_000;

export class S3Server {
  readonly accessKeyId = 'test-access';
  readonly secretAccessKey = 'test-secret-of-the-server';
  readonly region = 'us-east-1';
  readonly #process: EngineProcess;

  private constructor(process: EngineProcess) {
    this.#process = process;
  }

  static async start(): Promise<S3Server> {
    const program = await versitygw();
    const process = await EngineProcess.start('s3', (server) => ({
      program,
      args: ['--port', `127.0.0.1:${server.port}`, '--health', '/health', '--quiet', '--keep-alive', 'posix', '.'],
      env: { ROOT_ACCESS_KEY: 'test-access', ROOT_SECRET_KEY: 'test-secret-of-the-server' },
      hint: 'remove node_modules/.cache/versitygw and try again',
      isReady: async () => (await fetch(`http://127.0.0.1:${server.port}/health`)).ok,
    }));
    return new S3Server(process);
  }

  get port(): number {
    return this.#process.port;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Where the objects lie as files, a folder for each bucket. */
  get folder(): string {
    return this.#process.folder;
  }

  /** kill -9. */
  kill(): Promise<void> {
    return this.#process.end('SIGKILL');
  }

  /** Starts it again over the same files. */
  restart(): Promise<void> {
    return this.#process.run();
  }

  pause(): void {
    this.#process.pause();
  }

  resume(): void {
    this.#process.resume();
  }

  stop(): Promise<void> {
    return this.#process.remove();
  }
}

/** Path of the program, which the first call on a machine builds. */
async function versitygw(): Promise<string> {
  const target = join(cache, version, 'versitygw');
  if (await exists(target)) return target;
  const go = await goProgram();
  await mkdir(cache, { recursive: true });
  const work = await mkdtemp(join(cache, 'work-'));
  try {
    console.error(`servers/s3: building versitygw ${version} with ${go}`);
    await run(go, ['install', `github.com/versity/versitygw/cmd/versitygw@${version}`], {
      env: { ...process.env, GOBIN: work, GOFLAGS: '-mod=mod -buildvcs=false' },
      timeout: buildLimitMs,
      maxBuffer: 16 * 1024 * 1024,
    });
    // The rename makes the folder appear whole; losing the race against another process is as good as winning it.
    await rename(work, join(cache, version)).catch(async (error: unknown) => {
      if (!(await exists(target))) throw error;
    });
  } catch (error) {
    const what = error instanceof Error ? error.message : String(error);
    throw new Error(`Cannot build versitygw ${version}: ${what}`, { cause: error });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return target;
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
