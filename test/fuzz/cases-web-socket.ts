/**
 * Cases about WebSocket (RFC 6455) below MQTT: broken upgrades and frames, every kind of frame header, cuts, floods. Played beside all
 * others when the transport is one. What is judged is what the RFC demands of a server; how soon it closes is its own affair.
 */
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import type { CaseContext, FuzzCase } from './case.ts';
import { mutations } from './mutate.ts';
import { anyPacket, connectPacket, publishPacket, subscribePacket } from './packets.ts';
import type { RawClient } from './raw-client.ts';
import { fragments, frame, framed, Opcode, upgradeRequest } from './ws-frames.ts';

const closeLimitMs = 3_000;
/** An upgrade is answered by then on a machine with much else to do. */
const answerLimitMs = 5_000;

/** Valid packets of MQTT, the CONNECT first, some of them broken. */
function packets(context: CaseContext): Buffer[] {
  const { random, level } = context;
  const valid = [connectPacket(random, level), subscribePacket(random, level), publishPacket(random, level)];
  if (random.oneIn(2)) return valid;
  const packet = anyPacket(random, level);
  return packet.length === 0
    ? valid
    : [...valid, random.pick([...mutations.values()])(random, packet, valid[2] ?? packet)];
}

/** A reset that comes before the fault was read ends it as well. */
async function expectClosed(context: CaseContext, client: RawClient, what: string): Promise<void> {
  if (client.isUpgraded && !(await client.waitForClose(closeLimitMs))) {
    context.fail(`${what} did not end the connection`);
  }
}

const brokenFrames: FuzzCase = {
  kind: 'ws: bits flipped inside of frames',
  weight: 12,
  run: async (context) => {
    const { random } = context;
    const client = await context.connect();
    const bytes = Buffer.from(framed(random, Buffer.concat(packets(context))));
    // Headers make up a small part of the bytes, so that every second flip is aimed at the beginning.
    for (let count = random.between(1, 6); count > 0; count--) {
      const at = random.below(random.oneIn(2) ? Math.min(bytes.length, 16) : bytes.length);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8));
    }
    await writeInPieces(context, client, bytes);
    await context.settle(client);
  },
};

const mutatedFrames: FuzzCase = {
  kind: 'ws: mutated frames',
  weight: 10,
  run: async (context) => {
    const { random } = context;
    const client = await context.connect();
    const frames = packets(context).map((packet) => frame(random, packet));
    const spare = frame(random, random.bytes(random.below(200)), { opcode: random.below(16) });
    const at = random.below(frames.length);
    const victim = frames[at] ?? spare;
    frames[at] = random.pick([...mutations.values()])(random, victim, spare);
    await writeInPieces(context, client, Buffer.concat(frames));
    await context.settle(client);
  },
};

async function writeInPieces({ random, chunking }: CaseContext, client: RawClient, bytes: Buffer): Promise<void> {
  if (chunking === 'glued' || chunking === 'whole') {
    client.socket.write(bytes);
    return;
  }
  for (let position = 0; position < bytes.length && !client.isClosed; ) {
    const size = position > 300 ? 8_192 : chunking === 'single bytes' ? 1 : random.between(1, 40);
    client.socket.write(bytes.subarray(position, position + size));
    position += size;
    await nextTurn();
  }
}

/** Every opcode, reserved bit, mask and form of the length, final or not. */
export const frameHeaders = Array.from({ length: 16 }, (_, opcode) => opcode).flatMap((opcode) =>
  [true, false].flatMap((isFinal) =>
    [0, 1, 2, 4].flatMap((reserved) =>
      [true, false].flatMap((isMasked) =>
        ([0, 2, 8] as const).map((lengthBytes) => ({ opcode, isFinal, reserved, isMasked, lengthBytes })),
      ),
    ),
  ),
);

/** What a server must end the connection for, or null. */
function faultOf({ opcode, isFinal, reserved, isMasked }: (typeof frameHeaders)[number]): string | null {
  if (!isMasked) return 'a frame without a mask'; // RFC 6455, 5.1
  if (reserved !== 0) return `reserved bits ${reserved}`; // 5.2
  if ((opcode > 2 && opcode < 8) || opcode > 10) return `opcode ${opcode}`;
  if (opcode >= 8 && !isFinal) return `opcode ${opcode} that is not final`; // 5.5
  if (opcode === Opcode.continuation) return 'a continuation of nothing'; // 5.4
  if (opcode === Opcode.text && isFinal) return 'text'; // [MQTT-6.0.0-1]
  return opcode === Opcode.close ? 'a close frame' : null;
}

const everyHeader: FuzzCase = {
  kind: 'ws: every frame header',
  weight: 20,
  run: async (context) => {
    const { random, level, round } = context;
    const header = frameHeaders[round % frameHeaders.length];
    if (header === undefined) return;
    const client = random.oneIn(2) ? await context.connectClient(level, {}) : await context.connect();
    const isControl = header.opcode >= 8;
    // Of a close frame the first two bytes are a code.
    const payload = header.opcode === Opcode.close ? Buffer.from([3, 232]) : Buffer.alloc(isControl ? 8 : 2, 0xc0);
    client.socket.write(frame(random, payload, header));
    const fault = faultOf(header);
    // uWebSockets.js takes every frame for a masked one.
    if (fault !== null && (header.isMasked || context.transport !== 'uws')) await expectClosed(context, client, fault);
    else await context.settle(client);
  },
};

const lyingLengths: FuzzCase = {
  kind: 'ws: lengths that lie',
  weight: 5,
  run: async (context) => {
    const { random, level } = context;
    const client = random.oneIn(2) ? await context.connectClient(level) : await context.connect();
    const length = random.pick([
      1_200_000n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 53n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n,
    ]); // biome-ignore format: one table
    const opcode = random.pick([Opcode.binary, Opcode.binary, Opcode.continuation, Opcode.ping]);
    client.socket.write(frame(random, random.bytes(random.below(2_000)), { opcode, length, lengthBytes: 8 }));
    // A frame that can only be too large is refused by its header.
    await expectClosed(context, client, `a frame of ${length} bytes`);
  },
};

const tooManyFragments: FuzzCase = {
  kind: 'ws: endless fragments',
  weight: 2,
  run: async (context) => {
    const { random, level } = context;
    const client = await context.connectClient(level);
    const size = random.pick([0, 0, 1, 1_000, 60_000]);
    const one = frame(random, random.bytes(size), { opcode: Opcode.continuation, isFinal: false });
    client.socket.write(frame(random, connectPacket(random, level), { isFinal: false }));
    const count = random.pick([10, 1_000, 20_000]);
    const many = Buffer.alloc(one.length * Math.min(count, Math.ceil(3_000_000 / one.length)), one);
    await writeBounded(client, many);
    if (random.oneIn(2)) client.socket.write(frame(random, Buffer.alloc(0), { opcode: Opcode.continuation }));
    await context.settle(client);
  },
};

/** In pieces, so that what the broker does not want is not kept here for ever. */
async function writeBounded(client: RawClient, bytes: Buffer): Promise<void> {
  for (let position = 0; position < bytes.length && !client.isClosed; position += 65_536) {
    client.socket.write(bytes.subarray(position, position + 65_536));
    for (let tries = 0; client.socket.writableLength > 1_000_000 && tries < 50 && !client.isClosed; tries++) {
      await sleep(2);
    }
  }
}

const mqttInPieces: FuzzCase = {
  kind: 'ws: packets cut over frames',
  weight: 6,
  run: async (context) => {
    const { random } = context;
    const client = await context.connect();
    const bytes = Buffer.concat(packets(context));
    for (let position = 0; position < bytes.length && !client.isClosed; ) {
      const size = random.pick([1, 2, 3, 50, 1_000]);
      const part = bytes.subarray(position, position + size);
      client.socket.write(Buffer.concat(random.oneIn(3) ? fragments(random, part) : [frame(random, part)]));
      position += size;
      if (random.oneIn(5)) client.socket.write(frame(random, Buffer.alloc(0)));
      if (random.oneIn(4)) await nextTurn();
    }
    await context.settle(client);
  },
};

const controlFloods: FuzzCase = {
  kind: 'ws: floods of control frames',
  weight: 1,
  run: async (context) => {
    const { random } = context;
    const client = await context.connect(random.oneIn(2));
    const opcode = random.pick([Opcode.ping, Opcode.ping, Opcode.pong]);
    const one = frame(random, random.bytes(random.pick([0, 125])), { opcode });
    await writeBounded(client, Buffer.alloc(one.length * random.pick([100, 20_000]), one));
    await sleep(random.pick([0, 10, 100]));
  },
};

const closings: FuzzCase = {
  kind: 'ws: ways to close',
  weight: 5,
  run: async (context) => {
    const { random, level } = context;
    const client = random.oneIn(2) ? await context.connectClient(level) : await context.connect();
    const code = Buffer.alloc(2);
    code.writeUInt16BE(random.pick([0, 999, 1000, 1001, 1004, 1005, 1006, 1009, 1015, 2999, 3000, 4999, 5000, 65_535]));
    const reason = random.pick([Buffer.alloc(0), Buffer.from('bye'), Buffer.from([0xff, 0xfe]), random.bytes(123)]);
    const payload = random.pick([Buffer.alloc(0), Buffer.from([3]), Buffer.concat([code, reason])]);
    client.socket.write(frame(random, payload, { opcode: Opcode.close }));
    // Nothing counts after it.
    if (random.oneIn(2)) client.send(Buffer.concat(packets(context)));
    await expectClosed(context, client, 'a close frame');
  },
};

const compressed: FuzzCase = {
  kind: 'ws: compression that was not agreed on',
  weight: 2,
  run: async (context) => {
    const { random } = context;
    const client = await context.connectBare();
    const offer = random.pick([
      'permessage-deflate',
      'permessage-deflate; client_max_window_bits=8',
      'x-webkit-deflate-frame',
    ]);
    client.socket.write(upgradeRequest(random, [`Sec-WebSocket-Extensions: ${offer}`]));
    await client.waitForBytes(1, answerLimitMs);
    if (client.isClosed || client.received.toString('latin1').toLowerCase().includes('extensions')) return;
    if (client.received.length === 0) {
      context.fail('an upgrade was not answered');
      return;
    }
    client.socket.write(frame(random, random.bytes(random.between(1, 500)), { reserved: 4 }));
    if (!(await client.waitForClose(closeLimitMs))) context.fail('a compressed frame did not end the connection');
  },
};

const brokenUpgrades: FuzzCase = {
  kind: 'ws: broken upgrades',
  weight: 8,
  run: async (context) => {
    const { random } = context;
    const client = await context.connectBare();
    const request = upgradeRequest(random, randomHeaders(context));
    const broken = random.pick([...mutations.values()])(random, request, upgradeRequest(random));
    const bytes = random.oneIn(3) ? Buffer.from(replaced(context, request.toString('latin1')), 'latin1') : broken;
    // Frames right behind it, before the answer can have come.
    const behind = random.oneIn(2) ? framed(random, Buffer.concat(packets(context))) : Buffer.alloc(0);
    await writeInPieces(context, client, Buffer.concat([bytes, behind]));
    await context.settle(client);
  },
};

function randomHeaders({ random }: CaseContext): string[] {
  if (!random.oneIn(3)) return [];
  return [
    random.pick([
      'Content-Length: 10',
      'Transfer-Encoding: chunked',
      'Expect: 100-continue',
      'Upgrade: h2c',
      'Sec-WebSocket-Protocol: mqtt, mqttv3.1, __proto__',
      'Origin: null',
      'Connection: close',
      `X: ${'y'.repeat(random.pick([10, 9_000, 70_000]))}`,
      'Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits="',
    ]),
  ];
}

/** One line of the request in another way. */
function replaced({ random }: CaseContext, request: string): string {
  const [from, to] = random.pick([
    ['GET', random.pick(['POST', 'get', 'HEAD', 'CONNECT', 'G\0T'])],
    [
      '/mqtt',
      random.pick(['/', '//', '/mqtt/', '/mqtt?x=1', '/%6dqtt', '*', 'http://x/mqtt', `/${'a'.repeat(20_000)}`]),
    ],
    ['HTTP/1.1', random.pick(['HTTP/1.0', 'HTTP/2.0', 'HTTP/9.9', ''])],
    ['Version: 13', random.pick(['Version: 8', 'Version: 0', 'Version: 13, 8', 'Version:'])],
    ['Protocol: mqtt', random.pick(['Protocol: ', 'Protocol: http', 'Protocol: MQTT', 'Protocol: mqtt\r\n folded'])],
    ['websocket', random.pick(['Websocket', 'h2c', ''])],
    ['\r\n', '\n'],
    ['Key: ', 'Key: x'],
  ] as const);
  return request.replace(from, to);
}

const noUpgrade: FuzzCase = {
  kind: 'ws: no upgrade at all',
  weight: 3,
  run: async (context) => {
    const { random, level } = context;
    const client = await context.connectBare();
    const what = random.below(4);
    if (what === 0) client.socket.write(connectPacket(random, level));
    else if (what === 1) client.socket.write(random.bytes(random.pick([1, 100, 5_000])));
    else if (what === 2) client.socket.write(frame(random, connectPacket(random, level)));
    else client.socket.write('GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(random.pick([1, 20])));
    await context.settle(client);
  },
};

const unfinishedUpgrades: FuzzCase = {
  kind: 'ws: upgrades that never end',
  weight: 1,
  run: async (context) => {
    const { random } = context;
    const client = await context.connectBare();
    const request = upgradeRequest(random);
    client.socket.write(request.subarray(0, random.between(1, request.length - 1)));
    // Longer than the hand-shake may take: the broker has to end it. uWebSockets.js has a time of its own, 10 s, rounded up.
    if (!(await client.waitForClose(context.transport === 'uws' ? 20_000 : 8_000)))
      context.fail('an upgrade that never ended was not ended');
  },
};

export const webSocketCases: readonly FuzzCase[] = [
  brokenFrames,
  mutatedFrames,
  everyHeader,
  lyingLengths,
  tooManyFragments,
  mqttInPieces,
  controlFloods,
  closings,
  compressed,
  brokenUpgrades,
  noUpgrade,
  unfinishedUpgrades,
];
