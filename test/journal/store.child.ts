/**
 * A process that hosts a journal and its services in a folder and does what its standard input says, until that ends or it is killed:
 *
 *   node test/journal/store.child.ts FOLDER [PLANT]
 */
import { flushCompileCache } from 'node:module';
import { createInterface } from 'node:readline';
import { openJournalStore } from '../../src/journal/stream-store.ts';
import { plantNamed } from './planted-store.ts';
import { ServiceHost } from './service-host.ts';
import type { Call, Line, Push } from './store-lines.ts';

const [folder = '', plant = null] = process.argv.slice(2);
if (folder === '') throw new Error('Cannot start: the first argument is the folder');

/** The finest tick that a service asks for is 10 ms. */
const tickMs = 5;

function write(line: Line): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

let isClosing = false;

function say(push: Push): void {
  // Whoever is closed says that it ends.
  if (!isClosing || push.type !== 'stopped') write({ push });
}

async function open(folder: string): Promise<void> {
  const store = openJournalStore({
    directories: [folder],
    freeBytesMin: 0,
    upkeepMs: 50,
    onEvent: (event) => say({ type: 'event', text: JSON.stringify(event) }),
  });
  const host = new ServiceHost({
    store,
    now: () => Date.now(),
    random: () => Math.random(),
    defer: (task) => setImmediate(task),
    say,
    plant: plant === null ? null : plantNamed(plant),
  });
  const ticking = setInterval(() => host.tick(), tickMs);
  onLine = (text) => {
    const call = JSON.parse(text) as Call;
    host.handle(call, (failure, answer) => write({ number: call.number, failure, answer }));
  };
  onEnd = async () => {
    isClosing = true;
    await host.close();
    clearInterval(ticking);
    await store.close();
  };
  await host.open();
  say({ type: 'ready' });
}

/** The first line says that it is to begin: until then the program is loaded, and the store belongs to the process before. */
let onLine = (_text: string): void => void open(folder);
let onEnd = (): Promise<void> => Promise.resolve();
const lines = createInterface({ input: process.stdin });
lines.on('line', (text) => onLine(text));
lines.on('close', () => void onEnd());
// A process that is killed does not come to write it at its end.
flushCompileCache();
