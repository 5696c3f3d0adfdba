/**
 * One million delayed messages over ten minutes of simulated time, over the journal on the real disk, with restarts:
 *
 *   node --expose-gc test/journal/delayed.ts [--messages 1000000] [--seconds 600] [--restarts 1] [--seed 1] [--bytes 256] [--targets 4]
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type JournalStore, openJournalStore } from '../../src/journal/stream-store.ts';
import { DelayedRun } from './delayed-run.ts';

const { values } = parseArgs({
  options: {
    messages: { type: 'string', default: '1000000' },
    seconds: { type: 'string', default: '600' },
    restarts: { type: 'string', default: '1' },
    seed: { type: 'string', default: '1' },
    bytes: { type: 'string', default: '256' },
    targets: { type: 'string', default: '4' },
  },
});

const folder = mkdtempSync(join(tmpdir(), 'ringmq-delayed-'));
let now: () => number = Date.now;
const opened: JournalStore[] = [];

function openStore(): JournalStore {
  const store = openJournalStore({
    directories: [folder],
    now: () => now(),
    freeBytesMin: 0,
    tailBytes: 8 * 1024 * 1024,
  });
  opened.push(store);
  return store;
}

const run = new DelayedRun({
  messages: Number(values.messages),
  seconds: Number(values.seconds),
  seed: Number(values.seed),
  bodyBytes: Number(values.bytes),
  targets: Number(values.targets),
  restarts: Number(values.restarts),
  tickMs: 10,
  open: async (clock) => {
    now = clock;
    return openStore();
  },
  restart: async () => {
    await opened.at(-1)?.close();
    return openStore();
  },
  onProgress: (text) => console.log(text),
});

try {
  const result = await run.run();
  const resident = process.resourceUsage().maxRSS / 1024;
  console.log(JSON.stringify({ ...result, residentMebibytesMax: Math.round(resident) }, null, 2));
} finally {
  await opened.at(-1)?.close();
  rmSync(folder, { recursive: true });
}
