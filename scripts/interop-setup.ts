// Gets what the interoperability suites need: `mosquitto_pub` and `mosquitto_sub`, and paho-mqtt for Python in a virtual
// environment below node_modules/.cache. Called by those suites, and by hand: `node scripts/interop-setup.ts`. What is
// there already is left alone; what cannot be had is an error that says what to install, since a suite without its
// client must fail and not pass.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const pahoVersion = '2.1.0';
const environment = join(import.meta.dirname, '../node_modules/.cache/interop-venv');
/** Written last, so that an installation that was cut short is begun anew. */
const stamp = join(environment, 'installed');
const installLimitMs = 240_000;

interface Outcome {
  readonly ok: boolean;
  readonly output: string;
}

function run(command: string, args: readonly string[]): Outcome {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    encoding: 'utf8',
    timeout: installLimitMs,
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  });
  return { ok: status === 0, output: error?.message ?? `${stdout}${stderr}`.trim().slice(-1_000) };
}

function isThere(command: string): boolean {
  return run('/bin/sh', ['-c', 'command -v "$0"', command]).ok;
}

/** Installs Debian packages where this user may; otherwise, and when it fails, the error tells the user to do it. */
function installPackages(packages: readonly string[]): void {
  const wanted = packages.join(' ');
  if (process.getuid?.() !== 0 || !isThere('apt-get')) {
    throw new Error(`Cannot install "${wanted}" as this user: run "apt-get install ${wanted}", or its like elsewhere`);
  }
  console.error(`interop-setup: installing ${wanted}`);
  const install = ['install', '-y', '--no-install-recommends', ...packages];
  if (run('apt-get', install).ok) return;
  // Most likely the package lists are missing or old.
  const update = run('apt-get', ['update']);
  const outcome = run('apt-get', install);
  if (!outcome.ok) throw new Error(`Cannot install "${wanted}":\n${update.output}\n${outcome.output}`);
}

/** Makes sure that `mosquitto_pub` and `mosquitto_sub` are on the PATH. */
export function ensureMosquittoClients(): void {
  const programs = ['mosquitto_pub', 'mosquitto_sub'];
  if (programs.every(isThere)) return;
  installPackages(['mosquitto-clients']);
  const missing = programs.filter((name) => !isThere(name));
  if (missing.length > 0) throw new Error(`Cannot find "${missing.join(' ')}" after installing mosquitto-clients`);
}

/** Path of a Python that has paho-mqtt. */
export function ensurePahoPython(): string {
  const python = join(environment, 'bin/python3');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === pahoVersion && existsSync(python)) return python;
  console.error(`interop-setup: installing paho-mqtt ${pahoVersion} for Python`);
  rmSync(environment, { recursive: true, force: true });
  mkdirSync(join(environment, '..'), { recursive: true });
  if (!isThere('python3')) installPackages(['python3', 'python3-venv']);
  const create = (): Outcome => run('python3', ['-m', 'venv', environment]);
  let created = create();
  if (!created.ok) {
    // Debian's Python comes without what `venv` needs.
    installPackages(['python3-venv']);
    created = create();
  }
  if (!created.ok) throw new Error(`Cannot create a Python environment in "${environment}":\n${created.output}`);
  const installed = run(python, ['-m', 'pip', 'install', '--quiet', `paho-mqtt==${pahoVersion}`]);
  if (!installed.ok) throw new Error(`Cannot install paho-mqtt ${pahoVersion} from PyPI:\n${installed.output}`);
  writeFileSync(stamp, pahoVersion);
  return python;
}

if (import.meta.main) {
  ensureMosquittoClients();
  console.log(`interop-setup: mosquitto clients and ${ensurePahoPython()} are there`);
}
