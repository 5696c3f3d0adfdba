/**
 * Messages for many sessions that are away: what a broker writes for them, and whether those that come back get them. Thread of the
 * caller.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { BrokerProcess } from '../support/broker-process.ts';
import { newLine } from './ledger.ts';
import { Publisher } from './publisher.ts';
import { Subscriber } from './subscriber.ts';

export interface OfflineOptions {
  readonly sessions: number;
  readonly messages: number;
  /** So many of the sessions come back at the end. */
  readonly comeBack: number;
  readonly folder?: string;
}

export interface OfflineResult {
  /** Bytes that the process has given to the disk while messages were published. */
  readonly bytesWritten: number;
  readonly publishS: number;
  readonly subscribeS: number;
  readonly comeBackS: number;
  readonly received: number;
}

const waitMsMax = 300_000;
const connectingMax = 100;
/** Progress of sessions and what the journal does behind acknowledgements are through by then. */
const quietMs = 1_500;

export async function offlineRun(options: OfflineOptions): Promise<OfflineResult> {
  const data = mkdtempSync(join(options.folder ?? tmpdir(), 'ringmq-offline-'));
  const broker = await BrokerProcess.start({ data, workers: 1 });
  try {
    const result = await measure(broker, options);
    await broker.stop();
    return result;
  } finally {
    await broker.kill();
    rmSync(data, { recursive: true });
  }
}

async function measure(broker: BrokerProcess, options: OfflineOptions): Promise<OfflineResult> {
  const { sessions, messages, comeBack } = options;
  const line = newLine('fan/out', 1);
  const lines = new Map([[line.topic, line]]);
  const common = { level: 4, isDurable: true, filters: ['fan/+'], qos: 1 } as const;
  const all = Array.from({ length: sessions }, (_, at) => new Subscriber({ ...common, clientId: `away-${at}` }, lines));
  let began = performance.now();
  await eachOf(all, async (subscriber) => {
    await subscriber.connect(broker.port());
    await until(`SUBACK of ${subscriber.options.clientId}`, () => subscriber.isSubscribed);
    subscriber.cut();
  });
  const subscribeS = (performance.now() - began) / 1000;
  await sleep(quietMs);
  const before = bytesWritten(broker.pid);
  const publisher = new Publisher({ clientId: 'publisher', level: 4, isDurable: false }, [line], messages);
  await publisher.connect(broker.port());
  began = performance.now();
  publisher.run();
  await until('all acknowledgements', () => publisher.isDone);
  const publishS = (performance.now() - began) / 1000;
  await sleep(quietMs);
  const after = bytesWritten(broker.pid);
  began = performance.now();
  const back = Array.from({ length: comeBack }, (_, at) => all[Math.floor((at * sessions) / comeBack)] as Subscriber);
  await eachOf(back, async (subscriber) => {
    await subscriber.connect(broker.port());
    await until(`all messages of ${subscriber.options.clientId}`, () => subscriber.inbox.hasAll(line));
  });
  const comeBackS = (performance.now() - began) / 1000;
  for (const subscriber of back) subscriber.cut();
  publisher.cut();
  const problems = [publisher, ...all].flatMap((client) => client.problems);
  problems.push(...all.flatMap(({ inbox }) => inbox.problems));
  if (problems.length > 0) throw new Error(problems.slice(0, 10).join('; '));
  const received = back.reduce((sum, { inbox }) => sum + inbox.count, 0);
  return { bytesWritten: after - before, publishS, subscribeS, comeBackS, received };
}

/** Some at a time. */
async function eachOf(clients: readonly Subscriber[], visit: (client: Subscriber) => Promise<void>): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < clients.length) await visit(clients[next++] as Subscriber);
  };
  await Promise.all(Array.from({ length: Math.min(connectingMax, clients.length) }, lane));
}

async function until(what: string, condition: () => boolean): Promise<void> {
  const limit = performance.now() + waitMsMax;
  while (!condition()) {
    if (performance.now() > limit) throw new Error(`Waited ${waitMsMax} ms for ${what}`);
    await sleep(2);
  }
}

/** What the kernel counts as on its way to a disk. */
function bytesWritten(pid: number): number {
  return Number(/^write_bytes: (\d+)/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))?.[1]);
}
