/** Cases about what happens over several packets: unfinished flows, take-overs, limits, clients that do not read. */
import { setTimeout as sleep } from 'node:timers/promises';
import { generate } from 'mqtt-packet';
import { type CaseContext, type FuzzCase, handshakeTimeoutMs } from './case.ts';
import { mutations } from './mutate.ts';
import {
  clientIdOf,
  connectPacket,
  filterOf,
  packetOf,
  publishPacket,
  strangeNames,
  subscribePacket,
  topicOf,
  willOf,
} from './packets.ts';
import type { RawClient } from './raw-client.ts';

const pingreq = Buffer.from([0xc0, 0]);
/** Two connections of one client id that were let in may both be open for as long. */
const survivorLimitMs = 3_000;
/** The time of the hand-shake, and that for the end of a connection. */
const answeredLimitMs = handshakeTimeoutMs + 3_000;

const unfinishedQos2: FuzzCase = {
  kind: 'unfinished QoS 2 flows',
  weight: 5,
  run: async (context) => {
    const { random, level } = context;
    const clientId = clientIdOf(random);
    const topic = topicOf(random);
    // The same session two or three times, so that what was left open is met again.
    for (let visit = random.between(1, 3); visit > 0; visit--) {
      const options = { clientId, clean: false, sessionExpiryS: 60, receiveMaximum: random.pick([1, 2, 65_535]) };
      const client = await context.connectClient(level, options);
      const packets = [subscribePacket(random, level, [topic])];
      for (let count = random.between(1, 12); count > 0; count--) {
        const messageId = random.between(1, 6);
        packets.push(publishPacket(random, level, { topic, qos: 2, messageId }));
        if (random.oneIn(3)) packets.push(packetOf(random, level, random.pick(['pubrel', 'pubrec', 'pubcomp'])));
      }
      await context.write(client, packets);
      await context.settle(client);
      client.end(random.pick(['end', 'reset']));
    }
  },
};

const unknownIds: FuzzCase = {
  kind: 'unknown packet ids',
  weight: 4,
  run: async (context) => {
    const { random, level } = context;
    const client = await context.connectClient(level);
    const types = ['puback', 'pubrec', 'pubrel', 'pubcomp'] as const;
    const packets = Array.from({ length: random.between(1, 20) }, () => packetOf(random, level, random.pick(types)));
    await context.write(client, packets);
    await context.settle(client);
  },
};

const takeOverStorm: FuzzCase = {
  kind: 'take-over storms',
  weight: 2,
  run: async (context) => {
    const { random } = context;
    const clientId = `storm-${context.round}`;
    // Half of the storms differ in what they ask for, the others all want the same.
    const mixed = random.oneIn(2);
    const level = random.pick([4, 5] as const);
    const clean = random.oneIn(2);
    const clients = await Promise.all(Array.from({ length: random.between(3, 12) }, () => context.connect()));
    for (const client of clients) {
      client.send(
        connectPacket(random, mixed ? random.pick([3, 4, 5] as const) : level, {
          clientId,
          clean: mixed ? random.oneIn(2) : clean,
          sessionExpiryS: mixed ? random.pick([0, 2]) : 0,
        }),
      );
      if (random.oneIn(3)) client.send(publishPacket(random, 4, { qos: 0 }));
      if (random.oneIn(6)) client.end('reset');
      if (random.oneIn(4)) await sleep(random.below(4));
    }
    await expectOneSurvivor(context, clients, clientId);
    await expectServed(context, clientId);
  },
};

/**
 * All asked for one client id: when it is quiet, one of them at most has it. One that waits for its session, behind the others and the
 * disk, is no second owner; it is answered within the time of the hand-shake at the latest.
 */
async function expectOneSurvivor(context: CaseContext, clients: readonly RawClient[], clientId: string): Promise<void> {
  const beginMs = performance.now();
  let open = [...clients];
  while (open.length > 1 && performance.now() - beginMs < answeredLimitMs) {
    await sleep(10);
    open = clients.filter((client) => !client.isClosed);
    const letIn = open.filter(isLetIn);
    if (letIn.length > 1 && performance.now() - beginMs > survivorLimitMs) break;
  }
  if (open.length <= 1) return;
  const states = open.map((client) => client.describe()).join('; ');
  context.fail(`${open.length} of ${clients.length} connections of client "${clientId}" stayed open: ${states}`);
}

/** Nothing of the storm holds the name: whoever comes afterwards has it. A slow disk may still be at work for those before. */
async function expectServed(context: CaseContext, clientId: string): Promise<void> {
  for (let tries = 0; tries < 2; tries++) {
    const client = await context.connect();
    client.send(connectPacket(context.random, 4, { clientId, clean: true }));
    await client.waitForBytes(4, answeredLimitMs);
    if (isLetIn(client)) return;
  }
  context.fail(`client "${clientId}" was not served after the storm`);
}

/** CONNACK came, without an error. */
function isLetIn({ received }: RawClient): boolean {
  return received.length > 3 && received[0] === 0x20 && received[3] === 0;
}

const abruptEnds: FuzzCase = {
  kind: 'abrupt ends',
  weight: 5,
  run: async (context) => {
    const { random, level } = context;
    const client = await context.connect();
    const packets = [connectPacket(random, level), subscribePacket(random, level), publishPacket(random, level)];
    const bytes = Buffer.concat(packets);
    client.send(bytes.subarray(0, random.below(bytes.length + 1)));
    if (random.oneIn(2)) await sleep(random.below(5));
    client.end('reset');
  },
};

const neverReading: FuzzCase = {
  kind: 'clients that never read',
  weight: 1,
  run: async (context) => {
    const { random, level } = context;
    const client = await context.connect(false);
    const topic = `fuzz/deaf/${random.below(4)}`;
    client.send(connectPacket(random, level, { clientId: `deaf-${random.below(4)}` }));
    client.send(subscribePacket(random, level, [topic, 'fuzz/#']));
    const payload = random.bytes(20_000);
    const what = random.below(3);
    for (let count = 0; count < 150 && !client.isClosed; count++) {
      if (what === 0) client.send(publishPacket(random, level, { topic, qos: 0, payload, retain: false }));
      else if (what === 1) client.send(publishPacket(random, level, { topic, payload, retain: false }));
      else client.send(Buffer.alloc(10_000, pingreq));
      if (count % 20 === 0) await sleep(1);
    }
    // A fault in the end: what waits to be read must not keep the connection for ever.
    if (random.oneIn(2)) client.send(Buffer.from([0x00, 0x00]));
    await sleep(random.pick([0, 20, 200]));
  },
};

const badWills: FuzzCase = {
  kind: 'bad wills',
  weight: 5,
  run: async (context) => {
    const { random, level } = context;
    const will = willOf(random, level);
    const topic = random.pick(['fuzz/#', '+', '$SYS/x', 'fuzz/\0', 'a'.repeat(65_535), ...strangeNames, will.topic]);
    let connect = connectPacket(random, level, { will: { ...will, topic } });
    if (random.oneIn(2)) {
      // A fault in the part that holds the will, its properties and topic.
      const at = random.between(Math.min(20, connect.length - 1), connect.length - 1);
      const mutate = random.pick([...mutations.values()]);
      const tail = mutate(random, connect.subarray(at), connect);
      connect = Buffer.concat([connect.subarray(0, at), tail.subarray(0, connect.length - at)]);
    }
    const client = await context.connect();
    await context.write(client, [connect]);
    await context.settle(client);
    client.end('reset');
  },
};

const trickledLengths: FuzzCase = {
  kind: 'huge lengths, trickled',
  weight: 3,
  run: async (context) => {
    const { random, level } = context;
    const connected = random.oneIn(2);
    const client = connected ? await context.connectClient(level) : await context.connect();
    const length = random.pick([
      [0xff, 0xff, 0xff, 0x7f],
      [0xff, 0xff, 0x3f],
      [0xff, 0xff, 0x03],
    ]);
    client.send(Buffer.from([connected ? random.pick([0x30, 0x32, 0x82, 0xa2]) : 0x10, ...length, 0, 4]));
    for (let count = random.below(30); count > 0 && !client.isClosed; count--) {
      client.send(random.bytes(random.pick([1, 10, 1_000])));
      await sleep(1);
    }
  },
};

const aliasAbuse: FuzzCase = {
  kind: 'topic alias abuse',
  weight: 3,
  run: async (context) => {
    const { random } = context;
    const client = await context.connectClient(5);
    const long = `fuzz/${'long'.repeat(random.pick([1, 100, 12_000]))}`;
    const alias = random.pick([1, 2, 64, 65, 65_535]);
    const first = publishPacket(random, 5, {
      topic: long,
      topicAlias: alias,
      qos: 0,
      payload: Buffer.alloc(0),
      retain: false,
    });
    const short = generate(
      {
        cmd: 'publish',
        topic: '',
        payload: Buffer.alloc(0),
        qos: 0,
        dup: false,
        retain: false,
        properties: { topicAlias: alias },
      },
      { protocolVersion: 5 },
    );
    // Small packets that mean large ones.
    const many = Buffer.alloc(short.length * random.pick([1, 10, 3_000]), short);
    const unknown = publishPacket(random, 5, { topic: '', topicAlias: random.pick([3, 70]), qos: 0 });
    await client.write(random, [first, many, ...(random.oneIn(3) ? [unknown] : [])], 'glued');
    await context.settle(client);
  },
};

const subscriptionFloods: FuzzCase = {
  kind: 'subscription floods',
  weight: 1,
  run: async (context) => {
    const { random, level } = context;
    const client = await context.connectClient(level);
    const count = random.pick([10, 500, 3_000]);
    const same = random.oneIn(3);
    const filters = Array.from({ length: count }, (_, index) =>
      same ? 'fuzz/#' : `fuzz/${random.below(50)}/${index}/+`,
    );
    await context.write(client, [subscribePacket(random, level, filters)]);
    if (random.oneIn(2)) {
      const deep = `fuzz/${'+/'.repeat(random.pick([10, 130, 5_000]))}`;
      await context.write(client, [subscribePacket(random, level, [deep, `${deep}#`]), publishPacket(random, level)]);
    }
    await context.settle(client);
  },
};

const sharedRuns: FuzzCase = {
  kind: 'shared groups under runs',
  weight: 2,
  run: async (context) => {
    const { random } = context;
    const topic = `fuzz/shared/${'x'.repeat(random.pick([1, 100, 3_000]))}`;
    const { level } = context;
    const members = await Promise.all([0, 1, 2].map(() => context.connectClient(level)));
    for (const member of members) member.send(subscribePacket(random, level, [`$share/runs/fuzz/shared/+`]));
    await sleep(random.below(10));
    const publisher = await context.connectClient(4);
    const one = publishPacket(random, 4, { topic, qos: 0, payload: Buffer.alloc(random.pick([0, 10])), retain: false });
    await publisher.write(random, [Buffer.alloc(one.length * random.pick([1, 20, 4_000]), one)], 'whole');
    if (random.oneIn(2)) members[0]?.end('reset');
    await context.settle(publisher);
  },
};

const retainedFloods: FuzzCase = {
  kind: 'retained floods',
  weight: 1,
  run: async (context) => {
    const { random, level } = context;
    const client = await context.connectClient(level);
    const packets: Buffer[] = [];
    for (let count = random.pick([5, 300]); count > 0; count--) {
      const payload = random.oneIn(4) ? Buffer.alloc(0) : random.bytes(random.below(300));
      packets.push(publishPacket(random, level, { topic: `fuzz/kept/${random.below(1_000)}`, retain: true, payload }));
    }
    // Each time the same filter is subscribed to, all retained messages are due again.
    const filters = Array.from({ length: random.pick([1, 10, 400]) }, () =>
      random.pick(['fuzz/kept/+', '#', filterOf(random)]),
    );
    await context.write(client, [...packets, subscribePacket(random, level, filters)]);
    await context.settle(client);
  },
};

const resumedSessions: FuzzCase = {
  kind: 'resumed sessions',
  weight: 3,
  run: async (context) => {
    const { random } = context;
    const clientId = `resumed-${random.below(20)}`;
    for (let visit = 0; visit < 3; visit++) {
      // Another level at each visit: what waits was encoded for another one.
      const level = random.pick([3, 4, 5] as const);
      const receiveMaximum = random.pick([1, 3, 65_535]);
      const client = await context.connectClient(level, { clientId, clean: false, sessionExpiryS: 60, receiveMaximum });
      const topic = topicOf(random);
      const publishes = Array.from({ length: random.between(1, 20) }, () => publishPacket(random, level, { topic }));
      await context.write(client, [subscribePacket(random, level, [topic, 'fuzz/#']), ...publishes]);
      await context.settle(client);
      client.end(random.pick(['end', 'reset']));
    }
  },
};

export const flowCases: readonly FuzzCase[] = [
  unfinishedQos2,
  unknownIds,
  takeOverStorm,
  abruptEnds,
  neverReading,
  badWills,
  trickledLengths,
  aliasAbuse,
  subscriptionFloods,
  sharedRuns,
  retainedFloods,
  resumedSessions,
];
