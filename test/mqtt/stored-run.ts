/**
 * Very many durable sessions and retained values: how long they take to store, and how long the broker takes to serve them again
 * after kill -9. Thread of the caller.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generate, type Packet } from 'mqtt-packet';
import { BrokerProcess } from '../support/broker-process.ts';
import type { AnyPacket } from '../support/mqtt/mqtt-host.ts';
import { RawClient } from '../support/mqtt/raw-client.ts';
import { residentBytes } from '../support/process-figures.ts';

export interface StoredOptions {
  readonly sessions: number;
  readonly retained: number;
  /** So many of the sessions come back after the crash, and so many retained values are asked for one by one. */
  readonly samples: number;
  readonly folder?: string;
  readonly say: (line: string) => void;
}

export interface StoredResult {
  readonly subscribeS: number;
  readonly retainS: number;
  /** From the start of the program to its ready line, and to the first session that got a message. */
  readonly readyS: number;
  readonly firstMessageS: number;
  readonly rssBeforeMiB: number;
  readonly rssAfterMiB: number;
  readonly resumed: number;
  readonly retainedFound: number;
  readonly problems: string[];
}

const connectingMax = 64;
const retainedWindow = 1_000;
const workers = 2;
const retainedBounds = ['retainedBytesMax', 'retainedTenantBytesMax'];
const nameOf = (at: number): string => `stored-${at}`;
const topicOf = (at: number): string => `site/${at % 1_000}/device/${at}`;

export async function storedRun(options: StoredOptions): Promise<StoredResult> {
  const data = mkdtempSync(join(options.folder ?? tmpdir(), 'ringmq-stored-'));
  const settings = Object.fromEntries(retainedBounds.map((key) => [`limits.${key}`, 4 * 1024 ** 3]));
  let broker = await BrokerProcess.start({ data, workers, settings });
  try {
    const subscribeS = await seconds(() => storeSessions(broker.port(), options));
    const retainS = await seconds(() => storeRetained(broker.port(), options));
    const rssBeforeMiB = Math.round(residentBytes(broker.pid) / 2 ** 20);
    await broker.kill();
    const began = performance.now();
    broker = await BrokerProcess.start({ data, workers, settings });
    const readyS = (performance.now() - began) / 1000;
    options.say(`serves again after ${readyS.toFixed(2)} s`);
    const problems: string[] = [];
    let firstMessageS = 0;
    let resumed = 0;
    for (const at of samplesOf(options.sessions, options.samples)) {
      const problem = await resume(broker.port(), at);
      if (problem === null) resumed++;
      else problems.push(problem);
      if (firstMessageS === 0) firstMessageS = (performance.now() - began) / 1000;
    }
    const retainedFound = await readRetained(broker.port(), options);
    const rssAfterMiB = Math.round(residentBytes(broker.pid) / 2 ** 20);
    await broker.stop();
    return {
      subscribeS,
      retainS,
      readyS,
      firstMessageS,
      rssBeforeMiB,
      rssAfterMiB,
      resumed,
      retainedFound,
      problems,
    };
  } finally {
    await broker.kill();
    rmSync(data, { recursive: true });
  }
}

/** One connection for each session, some at a time: CONNECT and SUBSCRIBE in one write, and gone when both are answered. */
async function storeSessions(port: number, { sessions, say }: StoredOptions): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < sessions) {
      const at = next++;
      if (at % 100_000 === 99_999) say(`${at + 1} sessions`);
      await storeSession(port, at);
    }
  };
  await Promise.all(Array.from({ length: Math.min(connectingMax, sessions) }, lane));
}

function storeSession(port: number, at: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ port, host: '127.0.0.1', noDelay: true });
    let received = Buffer.alloc(0);
    socket.on('error', reject);
    socket.on('connect', () => socket.write(helloOf(at)));
    socket.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      if (received.length < storedAnswer.length) return;
      socket.destroy();
      if (received.equals(storedAnswer)) resolve();
      else reject(new Error(`The broker answered ${nameOf(at)} with ${received.toString('hex')}`));
    });
  });
}

/** CONNACK and SUBACK with QoS 1. */
const storedAnswer = Buffer.from('200200009003000101', 'hex');

function helloOf(at: number): Buffer {
  const connect = { cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clientId: nameOf(at), clean: false };
  const subscriptions = [{ topic: `${topicOf(at)}/+`, qos: 1 }];
  return bytesOf({ ...connect, keepalive: 60 }, { cmd: 'subscribe', messageId: 1, subscriptions });
}

function bytesOf(...packets: AnyPacket[]): Buffer {
  return Buffer.concat(packets.map((packet) => generate(packet as unknown as Packet)));
}

async function storeRetained(port: number, { retained, say }: StoredOptions): Promise<void> {
  const client = await RawClient.connect(port, { clientId: 'retaining' });
  for (let at = 0; at < retained; at += retainedWindow) {
    const count = Math.min(retainedWindow, retained - at);
    client.send(
      ...Array.from({ length: count }, (_, index) => ({
        cmd: 'publish',
        topic: `kept/${topicOf(at + index)}`,
        payload: String(at + index),
        qos: 1,
        retain: true,
        dup: false,
        messageId: index + 1,
      })),
    );
    await client.packets(count, 'puback');
    if ((at + count) % 100_000 === 0) say(`${at + count} retained values`);
  }
  client.socket.destroy();
}

/** Null when the session is there, and gets a message. */
async function resume(port: number, at: number): Promise<string | null> {
  const client = await RawClient.tryConnect(port, { clientId: nameOf(at), clean: false });
  try {
    if (client.connack.sessionPresent !== true) return `session ${nameOf(at)} is gone`;
    client.publish(`${topicOf(at)}/state`, `for ${at}`);
    const { payload } = await client.packet('publish');
    return String(payload) === `for ${at}` ? null : `session ${nameOf(at)} got "${payload}"`;
  } finally {
    client.socket.destroy();
  }
}

async function readRetained(port: number, { retained, samples }: StoredOptions): Promise<number> {
  const client = await RawClient.connect(port, { clientId: 'reading' });
  let found = 0;
  for (const at of samplesOf(retained, samples)) {
    await client.subscribe(`kept/${topicOf(at)}`);
    const { payload } = await client.packet('publish');
    if (String(payload) === String(at)) found++;
  }
  client.socket.destroy();
  return found;
}

function samplesOf(count: number, samples: number): number[] {
  const taken = Math.min(count, samples);
  return Array.from({ length: taken }, (_, at) => Math.floor((at * count) / taken));
}

async function seconds(run: () => Promise<void>): Promise<number> {
  const began = performance.now();
  await run();
  return (performance.now() - began) / 1000;
}
