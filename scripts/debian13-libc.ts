/**
 * Runs Node under Debian 13's C library on machines whose own is too old for uWebSockets.js (it needs glibc 2.38).
 *
 * The three packages come through apt: from the Debian mirror that the machine is configured for, into a private apt
 * state, verified by apt against the Debian archive keyring. They are unpacked into a cache folder and never installed.
 * Callers: the contract test of `src/net/http`, and people: `node scripts/debian13-libc.ts [file [arguments]]` (without a
 * file it only fills the cache).
 */
import { execFile, spawn } from 'node:child_process';
import { access, mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** What the official uWebSockets.js binaries are linked against. */
const GLIBC_NEEDED = [2, 38];
const SUITE = 'trixie';
const PACKAGES = ['libc6', 'libgcc-s1', 'libstdc++6'];
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';
const APT_TIMEOUT_MS = 120_000;
/** Mirrors that are tried before giving up; more than one line of a machine's sources can name a Debian mirror. */
const MIRRORS_MAX = 4;

interface Platform {
  readonly folder: string;
  readonly loader: string;
}

const platforms = new Map<string, Platform>([
  ['x64', { folder: 'x86_64-linux-gnu', loader: 'ld-linux-x86-64.so.2' }],
  ['arm64', { folder: 'aarch64-linux-gnu', loader: 'ld-linux-aarch64.so.1' }],
]);

/** A command line prefix: append a JavaScript or TypeScript file and its arguments. */
export interface NodeCommand {
  readonly command: string;
  readonly args: readonly string[];
  /** Why this command: for the test's output. */
  readonly reason: string;
}

/**
 * The command that starts this Node where uWebSockets.js loads: Node itself when the machine's C library is new enough,
 * otherwise Node through Debian 13's loader, which is fetched once. Throws with a clear message when neither is possible.
 */
export async function nodeForUws(): Promise<NodeCommand> {
  const version = glibcVersion();
  if (process.platform !== 'linux') {
    return { command: process.execPath, args: [], reason: `${process.platform} has no glibc` };
  }
  if (version !== undefined && isEnough(version)) {
    return { command: process.execPath, args: [], reason: `the machine has glibc ${version}` };
  }
  const platform = platforms.get(process.arch);
  if (platform === undefined)
    throw new Error(`Cannot run uWebSockets.js on "${process.arch}": no loader is known for it`);
  const root = await debian13Libc();
  const libraries = join(root, 'usr/lib', platform.folder);
  return {
    command: join(libraries, platform.loader),
    args: ['--library-path', libraries, process.execPath],
    reason: `the machine has glibc ${version ?? 'of unknown version'}, so Debian 13's is used`,
  };
}

/** Version of the C library that this process runs on, undefined where it is none. */
function glibcVersion(): string | undefined {
  if (process.report === undefined) return undefined;
  const report = process.report.getReport() as { header?: { glibcVersionRuntime?: string } };
  return report.header?.glibcVersionRuntime;
}

function isEnough(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major > GLIBC_NEEDED[0] || (major === GLIBC_NEEDED[0] && minor >= GLIBC_NEEDED[1]);
}

/** The folder that holds the unpacked packages; filled on the first call, by whichever process is first. */
async function debian13Libc(): Promise<string> {
  const cache = join(import.meta.dirname, '../node_modules/.cache/debian13-libc');
  const target = join(cache, process.arch);
  if (await exists(target)) return target;
  await mkdir(cache, { recursive: true });
  const work = await mkdtemp(join(cache, 'work-'));
  try {
    const keyring = await usableKeyring(work);
    await downloadFromAnyMirror(work, keyring);
    await unpack(join(work, 'packages'), join(work, 'root'));
    // The rename makes the cache appear whole; losing the race against another process is as good as winning it.
    await rename(join(work, 'root'), target).catch(async (error: unknown) => {
      if (!(await exists(target))) throw error;
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return target;
}

async function downloadFromAnyMirror(work: string, keyring: string): Promise<void> {
  const failures: string[] = [];
  for (const mirror of (await debianMirrors()).slice(0, MIRRORS_MAX)) {
    try {
      await aptDownload(work, { mirror, suite: SUITE, keyring, packages: PACKAGES });
      return;
    } catch (error) {
      failures.push(messageOf(error));
    }
  }
  const why = failures.length === 0 ? 'no Debian mirror is configured for apt' : failures.join('\n');
  throw new Error(
    `Cannot fetch Debian 13's C library: ${why}\nuWebSockets.js needs glibc ${GLIBC_NEEDED.join('.')}; run on Debian 13 or give apt a Debian mirror`,
  );
}

/**
 * Archive roots from the machine's apt sources, likely main archives first; security archives lack the packages. Asks
 * what `update` would fetch, which does not need that it ever ran and changes nothing.
 */
async function debianMirrors(): Promise<string[]> {
  const args = ['-q', '--print-uris', 'update'];
  const { stdout } = await run('apt-get', args, { timeout: APT_TIMEOUT_MS }).catch((error: unknown) => {
    throw new Error(`Cannot read the apt sources: ${messageOf(error)}`, { cause: error });
  });
  const uris = [...stdout.matchAll(/^'(https?:[^']+)\/dists\/[^']+\/InRelease'/gm)].map((line) => line[1]);
  const candidates = uris.filter((uri) => !/security/.test(uri));
  return [...new Set(candidates)].sort((a, b) => Number(isLikelyMain(b)) - Number(isLikelyMain(a)));
}

function isLikelyMain(uri: string): boolean {
  return /\/debian\/?$/.test(uri);
}

/**
 * The keyring to verify with. Debian signs a release with a key of the previous one too: Debian 12's alone verifies it.
 * apt refuses the download when none of the signatures is good.
 */
async function usableKeyring(work: string): Promise<string> {
  if (await exists(KEYRING)) return KEYRING;
  // A machine that trusts a Debian mirror has the package in its own verified sources; take it from there.
  const folder = join(work, 'keyring');
  await mkdir(folder, { recursive: true });
  await run('apt-get', ['download', 'debian-archive-keyring'], { cwd: folder, timeout: APT_TIMEOUT_MS });
  await unpack(folder, folder);
  return join(folder, KEYRING);
}

interface AptSource {
  readonly mirror: string;
  readonly suite: string;
  readonly keyring: string;
  readonly packages: readonly string[];
}

/** Downloads packages into `work/packages` with an apt state of its own: nothing of the machine's apt is written. */
async function aptDownload(work: string, source: AptSource): Promise<void> {
  const state = join(work, 'apt');
  const packages = join(work, 'packages');
  await rm(state, { recursive: true, force: true });
  for (const folder of ['lists/partial', 'cache/archives/partial', 'empty']) {
    await mkdir(join(state, folder), { recursive: true });
  }
  await mkdir(packages, { recursive: true });
  await writeFile(join(state, 'status'), '');
  await writeFile(
    join(state, 'debian13.sources'),
    `Types: deb\nURIs: ${source.mirror}\nSuites: ${source.suite}\nComponents: main\nSigned-By: ${source.keyring}\n`,
  );
  const options = [
    `Dir::Etc::sourcelist=${join(state, 'debian13.sources')}`,
    `Dir::Etc::sourceparts=${join(state, 'empty')}`,
    `Dir::Etc::preferencesparts=${join(state, 'empty')}`,
    `Dir::State=${state}`,
    `Dir::State::lists=${join(state, 'lists')}`,
    `Dir::State::status=${join(state, 'status')}`,
    `Dir::Cache=${join(state, 'cache')}`,
    // The folders belong to whoever runs this; apt's own user could not write there.
    `APT::Sandbox::User=`,
    'APT::Update::Error-Mode=any',
    'Acquire::Languages=none',
    'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false',
    'Acquire::Retries=2',
  ].flatMap((option) => ['-o', option]);
  await run('apt-get', ['-q', ...options, 'update'], { timeout: APT_TIMEOUT_MS });
  await run('apt-get', ['-q', ...options, 'download', ...source.packages], { cwd: packages, timeout: APT_TIMEOUT_MS });
}

async function unpack(packages: string, target: string): Promise<void> {
  const files = (await readdir(packages)).filter((name) => name.endsWith('.deb'));
  if (files.length === 0) throw new Error(`Cannot unpack "${packages}": apt downloaded nothing`);
  await mkdir(target, { recursive: true });
  for (const file of files) await run('dpkg-deb', ['-x', join(packages, file), target], { timeout: APT_TIMEOUT_MS });
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

if (import.meta.main) {
  const { command, args, reason } = await nodeForUws();
  const rest = process.argv.slice(2);
  if (rest.length === 0) {
    process.stdout.write(`${reason}: ${[command, ...args].join(' ')}\n`);
  } else {
    const child = spawn(command, [...args, ...rest], { stdio: 'inherit' });
    child.on('exit', (code, signal) => {
      process.exitCode = code ?? (signal === null ? 0 : 1);
    });
  }
}
