/**
 * A disk that can lose its power: a folder mounted through LazyFS (github.com/dsrhaslab/lazyfs), which keeps in memory
 * what was written and passes on what was synced. Used by the scenario `power`; thread of the test. Takes root, `/dev/fuse`
 * and a build of LazyFS.
 *
 * It loses bytes of files. Creations, renames and removals pass through at once, so that a missing sync of a folder is not
 * seen here; the simulated disk loses those too.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, mkdirSync, openSync, readSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** All pages that a node touches between two losses must fit: what does not is written through, as if it were synced. */
const CACHE_MIB = 192;
/** Named without its folder: LazyFS takes no path with "-o" in it. */
const CONFIGURATION = 'lazyfs.toml';
const LIMIT_MS = 20_000;
const POLL_MS = 10;

/** Where the two parts of a build are. */
export interface LazyFsBuild {
  readonly program: string;
  readonly libraries: string;
}

/**
 * The build in `folder`, which is the clone of the sources, or holds both files. Throws an error that says what is missing
 * here.
 */
export function findLazyFs(folder: string): LazyFsBuild {
  if (folder === '') throw new Error('LazyFS is needed: name the folder of a build with --lazyfs or RINGMQ_LAZYFS');
  if (process.getuid?.() !== 0) throw new Error('LazyFS is mounted by root only');
  if (!isThere('/dev/fuse')) throw new Error('LazyFS needs /dev/fuse, which is not there');
  const program = [join(folder, 'lazyfs/build/lazyfs'), join(folder, 'lazyfs')].find(isProgram);
  if (program === undefined) throw new Error(`There is no program lazyfs in "${folder}"`);
  const libraries = [join(folder, 'libs/libpcache/build'), folder].find((path) => isThere(join(path, 'libpcache.so')));
  if (libraries === undefined) throw new Error(`There is no library libpcache.so in "${folder}"`);
  return { program, libraries };
}

export class LazyDisk {
  /** Where files are written. */
  readonly path: string;
  private readonly build: LazyFsBuild;
  private readonly folder: string;
  private process: ChildProcess | null = null;
  private exited: Promise<unknown> = Promise.resolve();
  private said = '';

  private constructor(build: LazyFsBuild, folder: string) {
    this.build = build;
    this.folder = folder;
    this.path = join(folder, 'mounted');
  }

  /** An empty disk; everything of it lies in `folder`, which is made. */
  static async mount(build: LazyFsBuild, folder: string): Promise<LazyDisk> {
    const disk = new LazyDisk(build, folder);
    for (const name of ['mounted', 'stored']) mkdirSync(join(folder, name), { recursive: true });
    writeFileSync(
      join(folder, CONFIGURATION),
      [
        ['[faults]', `fifo_path="${disk.orders}"`, `fifo_path_completed="${disk.answers}"`],
        ['[cache]', 'apply_eviction=false'],
        ['[cache.simple]', `custom_size="${CACHE_MIB}mb"`, 'blocks_per_page=1'],
        ['[filesystem]', 'log_all_operations=false', 'logfile=""'],
      ]
        .map((section) => `${section.join('\n')}\n`)
        .join(''),
    );
    await disk.begin();
    return disk;
  }

  /**
   * Everything that was not synced is gone. Whoever wrote must be dead already. The file system is mounted anew, so that
   * the kernel remembers nothing either.
   */
  async losePower(): Promise<void> {
    await this.clear();
    await this.unmount();
    await this.begin();
  }

  async unmount(): Promise<void> {
    if (this.process === null) return;
    await until(
      () => 'the disk is in use',
      () => succeeds('fusermount3', ['-u', this.path]),
    );
    await this.exited;
    this.process = null;
  }

  private get orders(): string {
    return join(this.folder, 'orders');
  }

  private get answers(): string {
    return join(this.folder, 'answers');
  }

  private async begin(): Promise<void> {
    const { program, libraries } = this.build;
    const mount = ['-o', 'allow_other', '-o', 'modules=subdir', '-o', `subdir=${join(this.folder, 'stored')}`, '-f'];
    const child = spawn(program, [this.path, '--config-path', CONFIGURATION, ...mount], {
      cwd: this.folder,
      env: { PATH: process.env.PATH, LD_LIBRARY_PATH: libraries },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.process = child;
    this.said = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => {
        this.said = (this.said + chunk).slice(-4_000);
      });
    }
    this.exited = once(child, 'exit');
    await until(
      () => `LazyFS is not mounted: ${this.said.trim()}`,
      () => succeeds('mountpoint', ['-q', this.path]) || this.failed(),
    );
  }

  private failed(): never | false {
    if (this.process?.exitCode === null && this.process.signalCode === null) return false;
    throw new Error(`LazyFS ended: ${this.said.trim()}`);
  }

  /** Drops what was not synced, and waits until that is done. */
  private async clear(): Promise<void> {
    // For reading and writing: opening does not wait for the other side.
    const answers = openSync(this.answers, constants.O_RDWR | constants.O_NONBLOCK);
    try {
      writeFileSync(this.orders, 'lazyfs::clear-cache\n');
      let answer = '';
      await until(
        () => 'LazyFS does not lose its cache',
        () => {
          answer += readSome(answers);
          return answer.includes('finished::clear-cache');
        },
      );
    } finally {
      closeSync(answers);
    }
  }
}

function readSome(file: number): string {
  const buffer = Buffer.alloc(256);
  try {
    return buffer.toString('utf8', 0, readSync(file, buffer));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return '';
    throw error;
  }
}

async function until(otherwise: () => string, probe: () => boolean): Promise<void> {
  const limit = performance.now() + LIMIT_MS;
  while (!probe()) {
    if (performance.now() > limit) throw new Error(`After ${LIMIT_MS} ms ${otherwise()}`);
    await sleep(POLL_MS);
  }
}

function succeeds(program: string, flags: readonly string[]): boolean {
  try {
    execFileSync(program, flags, { stdio: 'ignore' });
    return true;
  } catch {
    // Not yet, or not any more: the caller asks again.
    return false;
  }
}

function isThere(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}

function isProgram(path: string): boolean {
  // The sources have a folder of the program's name.
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}
