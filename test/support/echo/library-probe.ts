/**
 * Uses the library in a process of its own and prints what it left behind as JSON. Started by the library test with the
 * path of the library's door as its argument.
 */
import { readdirSync, readlinkSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import type * as library from '../../../src/main/index.ts';
import { LineClient } from './program.ts';

function descriptors(): string[] {
  const open: string[] = [];
  for (const name of readdirSync('/proc/self/fd')) {
    try {
      open.push(readlinkSync(`/proc/self/fd/${name}`).replace(/:\[\d+\]$/, ''));
    } catch {
      // The descriptor with which the folder was read.
    }
  }
  return open.sort();
}

const snapshot = () => ({
  descriptors: descriptors(),
  threads: readdirSync('/proc/self/task').length,
  resources: process.getActiveResourcesInfo(),
  listeners: process.eventNames().map((name) => `${String(name)} ${process.listenerCount(name)}`),
  folder: readdirSync('.'),
});

const { startBroker } = (await import(pathToFileURL(process.argv[2]).href)) as typeof library;

/** The sockets of the probe's own client and of fetch are closed in one of the next turns. */
const closing = () => new Promise((resolve) => setTimeout(resolve, 100));

async function useBroker(workers: number): Promise<string[]> {
  const broker = await startBroker({ workers, settings: { echo: { greeting: 'hello' } } });
  const client = await LineClient.connect(broker.port('echo'));
  const lines = [await client.next(), await client.ask('line')];
  const response = await fetch(`${broker.url('http')}/readyz`);
  lines.push(String(response.status), await response.text());
  const stopped = broker.stop();
  lines.push(await client.next(), await client.closed);
  await Promise.all([stopped, broker.stop()]);
  return lines.map(String);
}

// The first round loads what is loaded once per process: threads of libuv's pool, for example.
await useBroker(2);
await closing();
const before = snapshot();
const lines = await useBroker(1);
await useBroker(3);
const failed = await startBroker({
  settings: { listeners: [{ name: 'x', protocol: 'echo', address: '192.0.2.1:0' }] },
}).catch((error: { code: string }) => error.code);
await closing();
process.stdout.write(JSON.stringify({ before, after: snapshot(), lines, failed }));
