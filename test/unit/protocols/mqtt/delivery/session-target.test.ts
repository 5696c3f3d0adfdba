/** Whose a publication is while a session moves to another worker. */
import { describe, expect, it } from 'vitest';
import { Run } from '../../../../../src/core/broker/run.ts';
import { MetricsLayout, ThreadMetrics } from '../../../../../src/observability/metrics.ts';
import { workerMetricDefinitions } from '../../../../../src/observability/worker-metrics.ts';
import { Delivery } from '../../../../../src/protocols/mqtt/delivery/delivery.ts';
import { fillRunWithFrame } from '../../../../../src/protocols/mqtt/delivery/run-of-frame.ts';
import { SessionMember, SessionTarget } from '../../../../../src/protocols/mqtt/delivery/session-target.ts';
import { MqttMetrics, mqttMetrics } from '../../../../../src/protocols/mqtt/metrics.ts';
import { generatePublish } from '../../../../../src/protocols/mqtt/packets/generate.ts';
import { Session } from '../../../../../src/protocols/mqtt/state/session.ts';
import { restOf } from '../../../../../src/protocols/mqtt/state/session-transfer.ts';
import { MqttSubscription } from '../../../../../src/protocols/mqtt/state/subscription.ts';
import { CounterBlock, createCounters } from '../../../../../src/shm/counters.ts';

const options = { qos: 1, noLocal: false, retainAsPublished: false, retainHandling: 0, identifier: 0 } as const;
/** The epoch from which on the new owner takes what both owners get. */
const movedAt = 40;

function arena(epochFloor: number) {
  const layout = new MetricsLayout([workerMetricDefinitions([]), mqttMetrics]);
  const metrics = new ThreadMetrics(layout, new CounterBlock(createCounters(layout.slotCount)));
  const limits = { outputBytesMax: 1_000, queuedMessagesMax: 10, queuedBytesMax: 1_000 };
  const delivery = new Delivery(new MqttMetrics(metrics), limits);
  const session = new Session('client', 10);
  session.expiryS = 100;
  session.epochFloor = epochFloor;
  const subscriber = { createTarget: () => new SessionTarget(session, delivery, []) };
  const subscription = new MqttSubscription('t', 't', subscriber, options);
  return { session, delivery, subscription };
}

function runAt(epoch: number): Run {
  const run = new Run();
  const frame = generatePublish(
    { topic: 't', payload: Buffer.from('x'), qos: 1, retain: false, packetId: 1, properties: { userProperties: [] } },
    5,
  );
  fillRunWithFrame(run, frame, 5);
  run.epoch = epoch;
  run.sequence = epoch;
  return run;
}

const around = [movedAt - 1, movedAt, movedAt + 1];

describe('a publication that both owners of a moving session get', () => {
  it('SessionTarget() and restOf() leave it to exactly one of them', () => {
    const [former, next] = [arena(-1), arena(movedAt)];
    for (const { session, delivery, subscription } of [former, next]) {
      const target = new SessionTarget(session, delivery, [subscription]);
      for (const epoch of around) target.deliver(runAt(epoch));
    }
    expect(restOf(former.session, movedAt).waiting.map(({ epoch }) => epoch)).toEqual([movedAt - 1]);
    expect(next.session.queue?.toArray().map(({ epoch }) => epoch)).toEqual([movedAt, movedAt + 1]);
  });
});

describe('a publication that one owner alone gets, as a member of a group', () => {
  it.each([-1, 7])('SessionMember() keeps it whenever it was routed, and so does restOf() (floor %i)', (floor) => {
    const { session, delivery, subscription } = arena(floor);
    const member = new SessionMember(session, delivery, subscription);
    for (const epoch of [3, ...around]) member.deliver(runAt(epoch));
    expect(session.queueLength).toBe(4);
    expect(restOf(session, movedAt).waiting.length).toBe(4);
  });
});
