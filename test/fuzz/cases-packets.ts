/** Cases about single packets: mutated ones, noise, every packet in every state. */
import type { CaseContext, FuzzCase } from './case.ts';
import { mutations } from './mutate.ts';
import {
  anyPacket,
  clientIdOf,
  clientVectors,
  connectPacket,
  type Level,
  levels,
  packetOf,
  packetTypes,
  publishPacket,
  serverVectors,
  strangeNames,
  subscribePacket,
} from './packets.ts';

/** Sends packets, after a CONNECT nearly always, since a broker closes the connection at the first fault. */
async function send(context: CaseContext, packets: readonly Buffer[]): Promise<void> {
  const { random, level } = context;
  const before = random.oneIn(6) ? [] : [connectPacket(random, level)];
  const client = await context.connect();
  await context.write(client, [...before, ...packets]);
  await context.settle(client);
}

const mutationCases = Array.from(
  mutations,
  ([kind, mutate]): FuzzCase => ({
    kind,
    weight: 6,
    run: async (context) => {
      const { random, level } = context;
      const packets = Array.from({ length: random.between(1, 3) }, () => {
        const packet = anyPacket(random, level);
        return packet.length === 0 ? packet : mutate(random, packet, anyPacket(random, level));
      });
      // Something valid in front of it, so that the mutant is not always the first.
      if (random.oneIn(3)) packets.unshift(subscribePacket(random, level), publishPacket(random, level));
      await send(context, packets);
    },
  }),
);

/** A mutated CONNECT as the first packet. */
const mutatedConnects: FuzzCase = {
  kind: 'mutated CONNECT',
  weight: 6,
  run: async (context) => {
    const { random, level } = context;
    const mutate = random.pick([...mutations.values()]);
    const client = await context.connect();
    await context.write(client, [mutate(random, connectPacket(random, level), random.pick(clientVectors))]);
    await context.settle(client);
  },
};

const noise: FuzzCase = {
  kind: 'random bytes',
  weight: 4,
  run: (context) => send(context, [context.random.bytes(context.random.pick([1, 2, 10, 200, 5_000]))]),
};

const vectors: FuzzCase = {
  kind: 'golden vectors',
  weight: 4,
  run: async (context) => {
    const { random } = context;
    const packets = Array.from({ length: random.between(1, 8) }, () => random.pick(clientVectors));
    await send(context, packets);
  },
};

const serverPackets: FuzzCase = {
  kind: 'server packets',
  weight: 3,
  run: (context) => send(context, [context.random.pick(serverVectors)]),
};

const validTraffic: FuzzCase = {
  kind: 'valid traffic',
  weight: 5,
  run: async (context) => {
    const { random, level } = context;
    const client = await context.connectClient(level);
    const types = ['publish', 'publish', 'subscribe', 'unsubscribe', 'pingreq'] as const;
    const packets = Array.from({ length: random.between(1, 30) }, () => packetOf(random, level, random.pick(types)));
    await context.write(client, packets);
    await context.settle(client);
  },
};

export const states = [
  'before CONNECT',
  'glued to CONNECT',
  'connected',
  'twice',
  'after DISCONNECT',
  'after a fault',
] as const;

/** Every packet type in every state at every level; the table is walked through in order. */
export const stateCombinations = states.flatMap((state) =>
  packetTypes.flatMap((type) => levels.map((level) => ({ state, type, level }))),
);

const everyState: FuzzCase = {
  kind: 'every packet in every state',
  weight: 30,
  run: async (context) => {
    const { random, round } = context;
    const { state, type, level } = stateCombinations[round % stateCombinations.length];
    const packet = packetOf(random, level, type);
    const client = await context.connect();
    await context.write(client, packetsIn(context, state, level, packet));
    if (state === 'before CONNECT' && type !== 'connect' && !(await client.waitForClose(2_000))) {
      context.fail(`${type} before CONNECT did not end the connection (level ${level})`); // [MQTT-3.1.0-1]
    }
    if (state !== 'before CONNECT' && type === 'connect' && !(await client.waitForClose(2_000))) {
      context.fail(`a second CONNECT did not end the connection (level ${level}, ${state})`); // [MQTT-3.1.0-2]
    }
    await context.settle(client);
  },
};

function packetsIn(context: CaseContext, state: (typeof states)[number], level: Level, packet: Buffer): Buffer[] {
  const { random } = context;
  const connect = connectPacket(random, level);
  const disconnect = packetOf(random, level, 'disconnect');
  switch (state) {
    case 'before CONNECT':
      return [packet];
    case 'glued to CONNECT':
      return [Buffer.concat([connect, packet])];
    case 'connected':
      return [connect, subscribePacket(random, level), packet];
    case 'twice':
      return [connect, packet, packet];
    case 'after DISCONNECT':
      return [connect, disconnect, packet];
    default:
      return [connect, Buffer.from([0x00, 0x00]), packet];
  }
}

const strange: FuzzCase = {
  kind: 'prototype names',
  weight: 5,
  run: async (context) => {
    const { random, level } = context;
    const name = random.pick(strangeNames);
    const client = await context.connectClient(level, { clientId: random.oneIn(2) ? name : clientIdOf(random) });
    const topic = random.oneIn(2) ? name : `fuzz/${name}`;
    const filters = [topic, `${name}/#`, `$share/${random.pick(strangeNames)}/${topic}`];
    await context.write(client, [
      subscribePacket(random, level, filters),
      publishPacket(random, level, { topic, qos: 1 }),
      packetOf(random, level, 'unsubscribe'),
      subscribePacket(random, level, filters),
    ]);
    await context.settle(client);
  },
};

export const packetCases: readonly FuzzCase[] = [
  ...mutationCases,
  mutatedConnects,
  noise,
  vectors,
  serverPackets,
  validTraffic,
  everyState,
  strange,
];
