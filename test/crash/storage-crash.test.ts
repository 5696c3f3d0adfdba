/** The end of a whole broker under append load: killed without warning, several times over, and stopped in order. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BrokerProcess } from '../support/broker-process.ts';
import { Inspector, inspectorFlags, inspectorLines } from '../support/inspector.ts';
import { readValues, StorageRig } from '../support/storage/storage-rig.ts';

const program = join(import.meta.dirname, '../support/storage/append-load.child.ts');
const rounds = 3;

let folder = '';
let child: ChildProcess | null = null;
let broker: BrokerProcess | null = null;
let inspector: Inspector | null = null;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ringmq-crash-'));
});

afterEach(async () => {
  inspector?.close();
  await broker?.kill();
  child?.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

/** What one life of the program has said. */
class Life {
  readonly child: ChildProcess;
  readonly acknowledged = new Map<number, string>();
  readonly codes = new Set<string>();
  readonly exited: Promise<unknown[]>;
  isStopped = false;
  #rest = '';

  constructor(prefix: string) {
    this.child = spawn(process.execPath, [program, folder, prefix], { stdio: ['ignore', 'pipe', 'inherit'] });
    child = this.child;
    this.exited = once(this.child, 'close');
    this.child.stdout?.on('data', (bytes: Buffer) => this.#take(bytes));
  }

  async acknowledgedMoreThan(count: number): Promise<void> {
    while (this.acknowledged.size <= count) await new Promise((resolve) => setTimeout(resolve, 2));
  }

  #take(bytes: Buffer): void {
    const lines = `${this.#rest}${bytes.toString('latin1')}`.split('\n');
    // A line that was cut by the kill says nothing.
    this.#rest = lines.pop() ?? '';
    for (const line of lines) {
      const [word, first, value] = line.split(' ');
      if (word === 'ack') this.acknowledged.set(Number(first), value);
      else if (word === 'code') this.codes.add(first);
      else if (word === 'stopped') this.isStopped = true;
    }
  }
}

async function valuesInFolder(): Promise<Map<number, string>> {
  const rig = new StorageRig({ adapter: 'journal', folder });
  try {
    return await readValues(await rig.client.open('load-0'), 0, 1_000_000);
  } finally {
    await rig.stop();
  }
}

function expectAll(values: ReadonlyMap<number, string>, acknowledged: ReadonlyMap<number, string>): void {
  const lost = [...acknowledged].filter(([offset, value]) => values.get(offset) !== value);
  expect(lost).toEqual([]);
  expect([...values.keys()]).toEqual(Array.from({ length: values.size }, (_, offset) => offset));
  expect(new Set(values.values()).size).toBe(values.size);
}

describe('a broker under append load', () => {
  it('keeps what it acknowledged when it is killed, again and again', { timeout: 60_000 }, async () => {
    const acknowledged = new Map<number, string>();
    for (let round = 0; round < rounds; round += 1) {
      const life = new Life(`r${round}`);
      await life.acknowledgedMoreThan(500 + 997 * round);
      life.child.kill('SIGKILL');
      await life.exited;
      for (const [offset, value] of life.acknowledged) {
        expect(acknowledged.has(offset)).toBe(false);
        acknowledged.set(offset, value);
      }
      expect(life.codes).toEqual(new Set());
    }
    const values = await valuesInFolder();
    expectAll(values, acknowledged);
    // None was invented: at most what was under way at each kill is there beside.
    expect(values.size - acknowledged.size).toBeLessThanOrEqual(rounds * 51);
  });

  it('answers what is under way and leaves in order on SIGTERM', { timeout: 30_000 }, async () => {
    const life = new Life('s');
    await life.acknowledgedMoreThan(500);
    life.child.kill('SIGTERM');
    const [code] = await life.exited;
    expect([code, life.isStopped]).toEqual([0, true]);
    // Refused once it was closed; nothing is left uncertain.
    expect(life.codes).toEqual(new Set(['STORAGE_CLOSED']));
    const values = await valuesInFolder();
    expectAll(values, life.acknowledged);
    expect(values.size).toBe(life.acknowledged.size);
  });
});

describe('a journal worker', () => {
  it('that throws or hangs is replaced, and all threads are joined to its successor', { timeout: 60_000 }, async () => {
    const expectedErrors = [...inspectorLines, /Journal worker (died|stalled)/];
    broker = await BrokerProcess.start({
      nodeFlags: inspectorFlags,
      expectedErrors,
      workers: 2,
      data: folder,
      settings: { 'supervision.stallLimitMs': 5_000 },
    });
    inspector = await Inspector.attach(broker);
    const url = `http://127.0.0.1:${broker.port('http')}/readyz`;
    const isServing = async (): Promise<boolean> => {
      const { status } = await fetch(url);
      return status === 200 && (await broker?.metric('ringmq_storage_clients')) === 3;
    };
    await until(isServing);
    for (const end of ['throwIn', 'stall'] as const) {
      const { journalWorker } = inspector;
      if (end === 'throwIn') await inspector.throwIn(journalWorker, 'killed by the test');
      else await inspector.stall(journalWorker);
      await until(() => inspector?.journalWorker !== journalWorker);
      await until(isServing);
    }
    inspector.close();
    await broker.stop();
    broker = null;
  });
});

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 20));
}
