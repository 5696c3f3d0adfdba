// The steps of continuous integration, run one after the other until one fails. Called by `.ci/run`, which has installed
// the pinned Node before. Cheap steps come first; each one has a time limit, so that a hang is a failure with a name.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { userInfo } from 'node:os';
import { join } from 'node:path';

interface Step {
  readonly name: string;
  readonly command: readonly [program: string, ...args: string[]];
  /** What the step may need on two busy cores, with room to spare. */
  readonly limitMinutes: number;
}

const root = join(import.meta.dirname, '..');

/** Debian packages that the tests talk to or make certificates with. */
const systemPackages = [
  'mosquitto',
  'mosquitto-clients',
  'openssl',
  'python3',
  'python3-venv',
  'postgresql',
  'mariadb-server',
  'redis-server',
  'default-jdk-headless',
  'maven',
];

const steps: readonly Step[] = [
  { name: 'format and lint', command: ['npm', 'run', '--silent', 'lint'], limitMinutes: 2 },
  { name: 'tidy', command: ['npm', 'run', '--silent', 'tidy'], limitMinutes: 1 },
  { name: 'types', command: ['npm', 'run', '--silent', 'types'], limitMinutes: 2 },
  { name: 'import law', command: ['npm', 'run', '--silent', 'law'], limitMinutes: 1 },
  { name: 'conformance', command: ['npm', 'run', '--silent', 'conformance'], limitMinutes: 1 },
  { name: 'generated code', command: ['npm', 'run', '--silent', 'rpc', '--', '--check'], limitMinutes: 1 },
  { name: 'dead code', command: ['npm', 'run', '--silent', 'dead'], limitMinutes: 2 },
  { name: 'tests', command: ['npm', 'test'], limitMinutes: 9 },
  { name: 'package', command: ['npm', 'run', '--silent', 'pack:smoke'], limitMinutes: 4 },
  { name: 'interoperability', command: ['npm', 'run', '--silent', 'test:interop'], limitMinutes: 20 },
  { name: 'benchmarks run', command: ['npm', 'run', '--silent', 'bench:smoke'], limitMinutes: 3 },
];

function formatSeconds(sinceMs: number): string {
  return `${((performance.now() - sinceMs) / 1000).toFixed(1)} s`;
}

function isInstalled(name: string): boolean {
  const { stdout } = spawnSync('dpkg', ['--status', name], { encoding: 'utf8' });
  return stdout?.includes('Status: install ok installed') ?? false;
}

/** Installs what is missing of the system packages; throws with what to do when that is not possible here. */
function installSystemPackages(): void {
  const missing = systemPackages.filter((name) => !isInstalled(name));
  if (missing.length === 0) return;
  const isRoot = userInfo().uid === 0;
  const isAptMissing = spawnSync('apt-get', ['--version']).error !== undefined;
  const isSudoMissing = !isRoot && spawnSync('sudo', ['-n', 'true']).status !== 0;
  if (isAptMissing || isSudoMissing) {
    throw new Error(`Cannot install ${missing.join(', ')}: install them with the system's package manager first`);
  }
  console.log(`installing ${missing.join(' ')}`);
  // Run level 1 keeps the packages' own services from starting, which would take the standard ports.
  const environment = ['DEBIAN_FRONTEND=noninteractive', 'RUNLEVEL=1'];
  const apt = (...args: string[]): void => {
    const line = ['env', ...environment, 'apt-get', '--quiet=2', ...args];
    const [program = 'env', ...rest] = isRoot ? line : ['sudo', '-n', ...line];
    execFileSync(program, rest, { stdio: ['ignore', 'ignore', 'inherit'] });
  };
  apt('update');
  apt('install', '--yes', '--no-install-recommends', ...missing);
}

/** Runs one step; resolves with what went wrong, or undefined. */
async function runStep({ command, limitMinutes }: Step): Promise<string | undefined> {
  const [program, ...args] = command;
  // A process group of its own, so that the limit ends what npm has started, too.
  const child = spawn(program, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'], detached: true });
  const stop = (): void => {
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
  };
  const passOn = (signal: NodeJS.Signals): void => {
    stop();
    process.kill(process.pid, signal);
  };
  process.once('SIGINT', passOn).once('SIGTERM', passOn);
  let isLate = false;
  const limit = setTimeout(() => {
    isLate = true;
    stop();
  }, limitMinutes * 60_000);
  const [code, signal] = await once(child, 'exit');
  clearTimeout(limit);
  process.off('SIGINT', passOn).off('SIGTERM', passOn);
  if (isLate) return `took more than ${limitMinutes} minutes`;
  return code === 0 ? undefined : `ended with ${code ?? signal}`;
}

async function main(): Promise<void> {
  const startMs = performance.now();
  const fail = (name: string, problem: string): void => {
    console.log(`ci: failed at ${name} (${problem}) after ${formatSeconds(startMs)}`);
    process.exitCode = 1;
  };
  console.log('== system packages');
  try {
    installSystemPackages();
  } catch (error) {
    fail('system packages', error instanceof Error ? error.message : String(error));
    return;
  }
  for (const step of steps) {
    console.log(`== ${step.name}`);
    const stepMs = performance.now();
    const problem = await runStep(step);
    if (problem !== undefined) {
      fail(step.name, problem);
      return;
    }
    console.log(`-- ${step.name}: ${formatSeconds(stepMs)}`);
  }
  console.log(`ci: passed ${steps.length} steps in ${formatSeconds(startMs)}`);
}

await main();
