// Gets what the interoperability suites need: `mosquitto_pub` and `mosquitto_sub`, paho-mqtt for Python in a virtual
// environment, and Java clients from Maven Central, both below node_modules/.cache. Called by those suites, and by hand: `node scripts/interop-setup.ts`. What is
// there already is left alone; what cannot be had is an error that says what to install, since a suite without its
// client must fail and not pass.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const pahoVersion = '2.1.0';
const environment = join(import.meta.dirname, '../node_modules/.cache/interop-venv');
/** Written last, so that an installation that was cut short is begun anew. */
const stamp = join(environment, 'installed');
const installLimitMs = 240_000;

/** `pom.xml` names the Java clients; the sources beside it lead them. */
const javaSources = join(import.meta.dirname, '../test/interop/java');
const javaFolder = join(import.meta.dirname, '../node_modules/.cache/interop-java');
const javaStamp = join(javaFolder, 'installed');
const javaVersionMin = 17;

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

/** Arguments of `java` that start the agent over the Java clients; the name of the library follows them. */
export function ensureJavaAgent(): string[] {
  const files = readdirSync(javaSources).sort();
  const hash = createHash('sha256');
  for (const file of files) hash.update(`${file}\n`).update(readFileSync(join(javaSources, file)));
  const wanted = hash.digest('hex');
  const classes = join(javaFolder, 'classes');
  const libraries = join(javaFolder, 'lib');
  const command = ['-cp', `${classes}:${join(libraries, '*')}`, 'Agent'];
  if (existsSync(javaStamp) && readFileSync(javaStamp, 'utf8') === wanted && isThere('java')) return command;
  if (!['java', 'javac', 'mvn'].every(isThere)) installPackages(['default-jdk-headless', 'maven']);
  const version = Number(/^javac (\d+)/.exec(run('javac', ['-version']).output)?.[1] ?? 0);
  if (version < javaVersionMin) throw new Error(`Cannot use Java ${version}: install JDK ${javaVersionMin} or newer`);
  console.error('interop-setup: fetching the Java clients');
  rmSync(javaFolder, { recursive: true, force: true });
  mkdirSync(javaFolder, { recursive: true });
  const pom = join(javaSources, 'pom.xml');
  const fetchLibraries = ['-q', '-B', '-f', pom, 'dependency:copy-dependencies', `-DoutputDirectory=${libraries}`];
  const fetched = run('mvn', fetchLibraries);
  if (!fetched.ok) throw new Error(`Cannot fetch the Java clients from Maven Central:\n${fetched.output}`);
  const sources = files.filter((file) => file.endsWith('.java')).map((file) => join(javaSources, file));
  const compiled = run('javac', ['-encoding', 'UTF-8', '-cp', join(libraries, '*'), '-d', classes, ...sources]);
  if (!compiled.ok) throw new Error(`Cannot compile the agent for the Java clients:\n${compiled.output}`);
  writeFileSync(javaStamp, wanted);
  return command;
}

if (import.meta.main) {
  ensureMosquittoClients();
  ensureJavaAgent();
  console.log(`interop-setup: mosquitto clients, Java clients and ${ensurePahoPython()} are there`);
}
