/**
 * One thread of the router's storm test: publishes numbered publications with checksums to all threads and checks what
 * arrives. Started by `router-storm.test.ts` with `StormStart`; posts one `StormReport`.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { crc32 } from 'node:zlib';
import { type Subscriber, Subscription, type Target } from '../../src/core/broker/route.ts';
import { Router } from '../../src/core/broker/router.ts';
import type { RouterShared } from '../../src/core/broker/router-shared.ts';
import type { Run } from '../../src/core/broker/run.ts';
import { createLogger } from '../../src/observability/log.ts';
import { MetricsLayout, ThreadMetrics } from '../../src/observability/metrics.ts';
import { workerMetricDefinitions } from '../../src/observability/worker-metrics.ts';
import { CounterBlock, createCounters } from '../../src/shm/counters.ts';
import { decode, routeOf, runOf } from './routers.ts';

export interface StormStart {
  readonly shared: RouterShared;
  readonly workerIndex: number;
  readonly workerCount: number;
  readonly publications: number;
  /** One word: threads that are subscribed. */
  readonly ready: SharedArrayBuffer;
}

export interface StormReport {
  readonly received: number;
  readonly faults: string[];
  readonly held: number;
}

const { shared, workerIndex, workerCount, publications, ready } = workerData as StormStart;
const layout = new MetricsLayout([workerMetricDefinitions([])]);
const control = {
  broadcast: (_channel: string, _payload: unknown, done: () => void) => done(),
  onBroadcast: () => undefined,
  onWorkerGone: () => undefined,
  onWorkerReady: () => undefined,
};
const router = new Router({
  workerIndex,
  workerCount,
  shared,
  retained: { countMax: 1, bytesMax: 1 },
  control,
  metrics: new ThreadMetrics(layout, new CounterBlock(createCounters(layout.slotCount))),
  log: createLogger({ level: 'error', format: 'text' }),
});

const faults: string[] = [];
const next = new Array<number>(workerCount).fill(0);
let received = 0;

class Checker implements Subscriber {
  createTarget(): Target {
    return { deliver: (run: Run) => this.deliver(run) };
  }

  private deliver(run: Run): void {
    for (const text of decode(run)) {
      received++;
      const [sender, sequence, sum, body] = text.split(' ');
      if (Number(sum) !== crc32(body)) faults.push(`Checksum of ${sender} ${sequence}`);
      if (Number(sequence) !== next[Number(sender)])
        faults.push(`${sender} sent ${sequence}, expected ${next[Number(sender)]}`);
      next[Number(sender)] = Number(sequence) + 1;
    }
  }
}

const checker = new Checker();
router.subscribe(new Subscription(workerIndex === 0 ? '#' : 'storm/+', checker));
router.start();
const word = new Int32Array(ready);
// Everybody subscribes before anybody publishes; the order is the one that handing over the start data gives.
Atomics.add(word, 0, 1);
Atomics.notify(word, 0);
for (let count = Atomics.load(word, 0); count < workerCount; count = Atomics.load(word, 0))
  Atomics.wait(word, 0, count);

let sequence = 0;
let held = 0;

function publishSome(): void {
  const route = routeOf(router, `storm/${workerIndex}`);
  const endsAt = sequence + 50;
  while (sequence < publications && sequence < endsAt) {
    const texts: string[] = [];
    for (let count = 0; count < 5; count++) {
      const body = `${'x'.repeat(((sequence + count) * 37) % 300)}${sequence + count}`;
      texts.push(`${workerIndex} ${sequence + count} ${crc32(body)} ${body}`);
    }
    if (!router.publish(route, runOf(texts))) {
      held++;
      router.whenRoom(publishSome);
      return;
    }
    sequence += 5;
  }
  if (sequence < publications) setImmediate(publishSome);
}

publishSome();
const look = setInterval(() => {
  if (received < publications * workerCount && faults.length === 0) return;
  clearInterval(look);
  parentPort?.postMessage({ received, faults: faults.slice(0, 10), held } satisfies StormReport);
}, 5);
// The main thread ends this thread when all have reported: the others may still wait for its cursor.
