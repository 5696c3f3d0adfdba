/**
 * A worker dies under load that has members of shared groups, and owns some of the groups: what was acknowledged to publishers arrives at some
 * member of each group, with QoS 2 at one of them and once. The toy protocol, which is added beside the real one, kills on command.
 */
import mqtt from 'mqtt';
import { expect, it } from 'vitest';
import { until } from '../../support/echo/program.ts';
import { twoWorkers } from '../../support/echo/two-workers.ts';

const messageCount = 900;
/** Enough that each of two workers owns some. */
const groups = ['g0', 'g1', 'g2', 'g3'];

const running = twoWorkers();

it('groups whose members, or owner, die lose nothing that was acknowledged', async () => {
  const program = running();
  const url = `mqtt://127.0.0.1:${program.ports.get('mqtt')}`;
  const members = await Promise.all(
    ['one', 'two', 'three', 'four'].map((clientId) =>
      mqtt.connectAsync(url, { clientId, clean: false, reconnectPeriod: 50, protocolVersion: 4 }),
    ),
  );
  // Each group has a topic of its own, which tells what came for it.
  const received = new Map(groups.map((group) => [group, [] as string[]]));
  const pairs = groups.map((group, index) => [group, members[index], members[(index + 1) % members.length]] as const);
  for (const [index, [group, one, other]] of pairs.entries()) {
    const topic = `load/${index}`;
    for (const member of [one, other]) {
      await member.subscribeAsync(`$share/${group}/${topic}`, { qos: 2 });
      member.on('message', (of, payload) => {
        if (of === topic) received.get(group)?.push(payload.toString());
      });
    }
  }
  const publisher = await mqtt.connectAsync(url, { clientId: 'publisher', clean: false, reconnectPeriod: 50 });
  const killer = await program.connect();
  const acknowledged: Promise<unknown>[] = [];
  for (let count = 0; count < messageCount; count += 1) {
    const qos = count % 2 === 0 ? 1 : 2;
    acknowledged.push(publisher.publishAsync(`load/${count % groups.length}`, `${qos} ${count}`, { qos }));
    if (count === messageCount / 3) killer.send('throw');
    if (count % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await Promise.all(acknowledged);
  const expected = groups.map((_, index) =>
    Array.from({ length: messageCount }, (_each, count) => count)
      .filter((count) => count % groups.length === index)
      .map((count) => `${count % 2 === 0 ? 1 : 2} ${count}`)
      .sort(),
  );
  const arrived = (): string[][] => groups.map((group) => [...new Set(received.get(group))].sort());
  await until(() => arrived().every((values, index) => values.length >= expected[index].length));
  expect(arrived()).toEqual(expected);
  // QoS 1 may be repeated by the client that publishes; QoS 2 may not come twice.
  for (const values of received.values()) {
    const exactly = values.filter((value) => value.startsWith('2 '));
    expect(exactly.length).toBe(new Set(exactly).size);
  }
  await Promise.all([...members, publisher].map((client) => client.endAsync()));
}, 60_000);
