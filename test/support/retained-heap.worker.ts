/** Five subscribers are in the middle of 200,000 retained values, in a heap that holds the values and little more. */
import { parentPort } from 'node:worker_threads';
import { RetainedReplica } from '../../src/core/broker/retained-replica.ts';
import type { RetainedValue } from '../../src/core/retained/retained-value.ts';
import { RetainedReplay } from '../../src/protocols/mqtt/state/retained-replay.ts';

const count = 200_000;
const replica = new RetainedReplica({ countMax: count, bytesMax: 1e12 }, new SharedArrayBuffer(8));
const place: Omit<RetainedValue, 'frame' | 'stamp'> = {
  ...{ layout: 5, detailA: 1, detailB: 0, detailC: 0, storedAtMs: 0, expiresAtS: 0, tenant: '' },
};
for (let at = 0; at < count; at++) {
  replica.keep(`site/${at % 50}/${at}`, { ...place, frame: `${'x'.repeat(60)}${at}`, stamp: replica.nextStamp() });
}
const source = {
  latestStamp: replica.latestStamp,
  walk: (filter: string) => replica.walk(filter),
  get: (topic: string) => replica.get(topic),
};
const replays = Array.from({ length: 5 }, () => new RetainedReplay(source, () => []));
for (const replay of replays) replay.add({ filter: '#', qos: 0, identifier: 0 });

function send(replay: RetainedReplay, limit: number): number {
  let sent = 0;
  while (sent < limit) {
    if (replay.due !== null) {
      replay.sent();
      sent++;
    } else if (!replay.advance(0)) break;
  }
  return sent;
}

const half = replays.map((replay) => send(replay, count / 2));
const rest = replays.map((replay, index) => (index === 0 ? send(replay, count) : 0));
parentPort?.postMessage({ half, rest: rest[0] });
