#!/usr/bin/env node
// The `ringmq` command: checks the Node version, switches on the compile cache and hands over to the program for the
// verb. Plain JavaScript without dependencies, so that an old Node still gets as far as the message that says what to
// do. Called by users, by `npm start` and by the container image.
import { existsSync, lstatSync, mkdirSync, readFileSync } from 'node:fs';
import * as nodeModule from 'node:module';
import { tmpdir, userInfo } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const minimumNode = [26, 10];

const help = `ringmq: a message broker

Usage: ringmq <command> [options]

  start          run a broker until SIGTERM or SIGINT
  config check   say whether a broker would start with the configuration, and what is wrong with it
  config show    print every setting and where it came from
  config schema  print the JSON Schema of the configuration file, for editors
  pub            publish messages
  sub            subscribe and print messages
  recover        found a cluster anew from what one node has, after most of it is lost
  ctl            administer a cluster: keys, members, leases, backups
  bench          put load on an MQTT broker, a key-value service or the journal, and report what it did

  --version      print the version
  --help         print this text; after a command, its options
`;

/** Verbs that belong to the broker itself; everything else is a client that reaches a broker over the network. */
const brokerVerbs = new Set(['start', 'config', 'recover']);

/** What opens data folders is the broker's too: restoring a backup, and all about the journal's files. */
function isBrokerCommand([verb, group, action]) {
  if (brokerVerbs.has(verb) || (verb === 'bench' && group === 'journal')) return true;
  return verb === 'ctl' && (group === 'journal' || (group === 'snapshot' && action === 'restore'));
}

function isSupportedNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  return major > minimumNode[0] || (major === minimumNode[0] && minor >= minimumNode[1]);
}

/** True when only this user can write to the folder: code that others could change must not be loaded from it. */
function isPrivate(folder) {
  const found = lstatSync(folder);
  if (!found.isDirectory()) return false;
  return process.getuid === undefined || (found.uid === process.getuid() && (found.mode & 0o022) === 0);
}

/** The first of the candidate folders that can be made and trusted, or undefined. */
function findCacheFolder() {
  const parent = dirname(root);
  const modules = basename(parent) === 'node_modules' ? parent : join(root, 'node_modules');
  const candidates = [join(tmpdir(), `ringmq-cache-${userInfo().uid}`)];
  if (existsSync(modules)) candidates.unshift(join(modules, '.cache', 'ringmq'));
  return candidates.find((folder) => {
    try {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      return isPrivate(folder);
    } catch {
      return false; // Not writable: the next candidate, or a start without cache.
    }
  });
}

/** Compiled code of earlier starts saves about half of the start-up time. It is only ever a help: no error leaves it. */
function useCompileCache() {
  if (process.env.NODE_DISABLE_COMPILE_CACHE !== undefined) return;
  const folder = process.env.NODE_COMPILE_CACHE ?? findCacheFolder();
  if (folder === undefined) return;
  nodeModule.enableCompileCache(folder);
  // Worker threads read it from here: the call above covers this thread alone.
  process.env.NODE_COMPILE_CACHE = folder;
}

/** The sources in a clone; what the build made of them in an installed package, where Node runs no TypeScript. */
function resolveProgram(path) {
  const source = join(root, 'src', `${path}.ts`);
  const url = existsSync(source) ? `../src/${path}.ts` : `../dist/src/${path}.js`;
  return new URL(url, import.meta.url).href;
}

async function run(args) {
  const verb = args[0];
  if (verb === '--version' || verb === '-V') {
    process.stdout.write(`${JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version}\n`);
    return;
  }
  if (verb === undefined || verb === '--help' || verb === '-h' || verb === 'help') {
    (verb === undefined ? process.stderr : process.stdout).write(help);
    process.exitCode = verb === undefined ? 2 : 0;
    return;
  }
  useCompileCache();
  const program = await import(resolveProgram(isBrokerCommand(args) ? 'main/main' : 'cli/main'));
  await program.main(args);
}

if (isSupportedNode()) {
  await run(process.argv.slice(2));
} else {
  process.stderr.write(
    `ringmq: Cannot start with Node "${process.versions.node}": it needs Node ${minimumNode.join('.')} or newer.\n` +
      'In a clone run `npm start`, which installs that Node. Elsewhere install it from https://nodejs.org or run\n' +
      '`npm install node@26` beside ringmq and start it with `npx ringmq start`.\n',
  );
  process.exitCode = 1;
}
