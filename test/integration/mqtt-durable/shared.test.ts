/** Shared subscriptions of durable sessions against a real broker with two workers: what groups keep over kill -9, and who gets what. */
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, vi } from 'vitest';
import { lasting, payloadsOf, publishStored, useDurableBroker } from '../../support/mqtt/durable-client.ts';
import type { AnyPacket } from '../../support/mqtt/mqtt-host.ts';
import type { RawClient } from '../../support/mqtt/raw-client.ts';

const start = useDurableBroker();

/** Publishes `count` messages with QoS 1, all acknowledged. */
async function publishMany(writer: RawClient, topic: string, count: number, from = 0): Promise<string[]> {
  const values = Array.from({ length: count }, (_, index) => `m${from + index}`);
  for (const value of values) await publishStored(writer, topic, value);
  return values;
}

/** The first PUBLISH of this kind. */
async function publishOf(client: RawClient, isWanted: (packet: AnyPacket) => boolean): Promise<AnyPacket> {
  for (;;) {
    const packet = await client.packet('publish');
    if (isWanted(packet)) return packet;
  }
}

describe('a shared subscription of durable sessions', () => {
  it('keeps messages over kill -9 while nobody is there, and gives each to one member', async () => {
    const broker = await start();
    const readers = [await broker.connect(lasting('one')), await broker.connect(lasting('two'))];
    for (const reader of readers) await reader.subscribe('$share/g/a/#', 1);
    for (const reader of readers) await reader.cut();
    const writer = await broker.connect({ clientId: 'writer' });
    const first = await publishMany(writer, 'a/b', 4);
    await broker.restart();
    const again = await broker.connect({ clientId: 'writer' });
    const second = await publishMany(again, 'a/b', 2, 4);
    const back = await broker.connect(lasting('one'));
    expect(back.connack).toMatchObject({ sessionPresent: true });
    const packets = await back.packets(6);
    expect(payloadsOf(packets)).toEqual([...first, ...second]);
    for (const { messageId } of packets) back.send({ cmd: 'puback', messageId });
    const other = await broker.connect(lasting('two'));
    const third = await publishMany(again, 'a/b', 4, 6);
    const [mine, theirs] = await Promise.all([back.packets(2), other.packets(2)]);
    expect([...payloadsOf(mine), ...payloadsOf(theirs)].sort()).toEqual(third);
  });

  it('gives what a member has not acknowledged to another one, and keeps QoS 2 for the member that has it', async () => {
    const broker = await start();
    const one = await broker.connect(lasting('one'));
    await one.subscribe('$share/g/t', 2);
    const writer = await broker.connect({ clientId: 'writer' });
    await publishStored(writer, 't', 'twice');
    await publishStored(writer, 't', 'once', 2);
    const packets = await one.packets(2);
    const exactly = packets.find(({ qos }) => qos === 2);
    const two = await broker.connect(lasting('two'));
    await two.subscribe('$share/g/t', 2);
    await one.cut();
    const [moved] = await two.packets(1);
    expect(moved).toMatchObject({ qos: 1, dup: true });
    expect(String(moved.payload)).toBe('twice');
    two.send({ cmd: 'puback', messageId: moved.messageId });
    // Progress is stored within 200 ms.
    await sleep(600);
    await broker.restart();
    const second = await broker.connect(lasting('two'));
    const first = await broker.connect(lasting('one'));
    const [again] = await first.packets(1);
    expect(again).toMatchObject({ qos: 2, dup: true, messageId: exactly?.messageId });
    first.send({ cmd: 'pubrec', messageId: again.messageId });
    expect(await first.packet('pubrel')).toMatchObject({ messageId: again.messageId });
    first.send({ cmd: 'pubcomp', messageId: again.messageId });
    first.send({ cmd: 'unsubscribe', messageId: 9, unsubscriptions: ['$share/g/t'] });
    await first.packet('unsuback');
    await publishStored(await broker.connect({ clientId: 'writer' }), 't', 'next');
    // What was acknowledged just before the crash may come again.
    expect(String((await publishOf(second, ({ dup }) => !dup)).payload)).toBe('next');
  });

  it('serves members without a stored session too, and leaves QoS 0 to the live group', async () => {
    const broker = await start();
    const kept = await broker.connect(lasting('kept'));
    const live = await broker.connect({ level: 5, clientId: 'live' });
    await live.subscribe('$share/g/t', 2);
    await kept.subscribe('$share/g/t', 2);
    const writer = await broker.connect({ clientId: 'writer' });
    // The one in memory has its place soon after the group is kept.
    let theirs: AnyPacket | undefined;
    for (let count = 0; theirs === undefined; count += 1) {
      await publishStored(writer, 't', `m${count}`);
      const answers = [await kept.barrier(), await live.barrier()];
      for (const { messageId, cmd } of answers[0]) if (cmd === 'publish') kept.send({ cmd: 'puback', messageId });
      theirs = answers[1].find(({ cmd }) => cmd === 'publish');
    }
    // What the one in memory has not acknowledged goes to the other one when it goes.
    await live.cut();
    const { payload } = theirs;
    expect(await publishOf(kept, (packet) => String(packet.payload) === String(payload))).toMatchObject({ dup: true });
    writer.publish('t', 'zero');
    expect(await publishOf(kept, ({ qos }) => qos === 0)).toMatchObject({ dup: false });
  });

  it('takes QoS 2 to a member without a stored session once', async () => {
    const broker = await start();
    const kept = await broker.connect(lasting('kept'));
    await kept.subscribe('$share/g/t', 2);
    await kept.cut();
    const live = await broker.connect({ level: 5, clientId: 'live' });
    await live.subscribe('$share/g/t', 2);
    const writer = await broker.connect({ clientId: 'writer' });
    await publishStored(writer, 't', 'once', 2);
    const [message] = await live.packets(1);
    expect(message).toMatchObject({ qos: 2, dup: false });
    live.send({ cmd: 'pubrec', messageId: message.messageId });
    expect(await live.packet('pubrel')).toMatchObject({ messageId: message.messageId });
    await live.cut();
    const back = await broker.connect(lasting('kept'));
    await publishStored(writer, 't', 'next');
    expect(payloadsOf(await back.packets(1))).toEqual(['next']);
  });

  it('is seen by administrators and in metrics, with what waits, is in flight and came again', async () => {
    const broker = await start();
    const one = await broker.connect(lasting('one'));
    await one.subscribe('$share/g/t/+', 1);
    await one.subscribe('$queue/q', 1);
    const writer = await broker.connect({ clientId: 'writer' });
    await publishMany(writer, 't/1', 3);
    await one.packets(3);
    const groupsOf = async (query: string): Promise<{ readonly groups: object[]; readonly count: number }> => {
      const response = await fetch(`http://127.0.0.1:${broker.process.port('http')}/api/v1/shared-groups?${query}`);
      expect(response.status).toBe(200);
      return (await response.json()) as { readonly groups: object[]; readonly count: number };
    };
    const { groups, count } = await groupsOf('name=g');
    expect(count).toBe(1);
    expect(groups).toMatchObject([{ name: 'g', filter: 't/+', members: 1, sessions: 1, waiting: 0, inFlight: 3 }]);
    await one.cut();
    await publishMany(writer, 't/2', 2);
    await vi.waitFor(async () => {
      const [group, other] = (await groupsOf('limit=1000')).groups;
      expect(group).toMatchObject({ name: 'g', members: 0, sessions: 1, waiting: 5, inFlight: 0, given: 3 });
      expect((group as { readonly oldestAtMs: number }).oldestAtMs).toBeGreaterThan(Date.now() - 60_000);
      expect(other).toMatchObject({ name: '', filter: 'q', waiting: 0 });
    });
    const two = await broker.connect(lasting('two'));
    await two.subscribe('$share/g/t/+', 1);
    for (const { messageId } of await two.packets(5)) two.send({ cmd: 'puback', messageId });
    await vi.waitFor(async () => {
      expect((await groupsOf('name=g')).groups).toMatchObject([
        { waiting: 0, inFlight: 0, redelivered: 3, settled: 5 },
      ]);
    });
    await vi.waitFor(async () => {
      expect(await broker.process.metric('ringmq_durable_groups')).toBe(2);
      expect(await broker.process.metric('ringmq_durable_group_given_total')).toBe(8);
      expect(await broker.process.metric('ringmq_durable_group_redelivered_total')).toBe(3);
    }, 5_000);
  });

  it('lives on without sessions, over kill -9, as long as the settings say', async () => {
    const broker = await start({ settings: { 'sessions.groups.emptyMs': 600_000, 'sessions.groups.countMax': 3 } });
    const one = await broker.connect(lasting('one'));
    await one.subscribe('$share/g/t', 1);
    one.send({ cmd: 'disconnect', reasonCode: 0, properties: { sessionExpiryInterval: 0 } });
    await one.closed();
    const writer = await broker.connect({ clientId: 'writer' });
    const values = await publishMany(writer, 't', 3);
    await broker.restart();
    const two = await broker.connect({ level: 5, clientId: 'two' });
    await two.subscribe('$share/g/t', 1);
    expect(payloadsOf(await two.packets(3))).toEqual(values);
  });
});
