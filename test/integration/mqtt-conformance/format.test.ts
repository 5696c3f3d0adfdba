/** Chapters 1 and 2 of both specifications, and the fixed headers of chapter 3: text, lengths, flags, identifiers. */
import { describe, expect, it } from 'vitest';
import { unique, useConformance } from '../../support/mqtt/conformance.ts';
import { frameOf, lengthed, type RawClient } from '../../support/mqtt/raw-client.ts';

const mqtt = useConformance();

/** Bytes that are no UTF-8 text of the protocol: lone surrogates, an overlong form, too large, cut, and U+0000. */
const wrongTexts = ['61eda08062', 'c080', 'f5808080', 'e282', '610062'].map((text) => Buffer.from(text, 'hex'));

/** Nothing of the connection is left, and an MQTT 5 client was told. */
async function expectEnded(client: RawClient): Promise<void> {
  const last = await client.closed();
  if (client.level === 5) {
    expect(last.map(({ cmd }) => cmd)).toEqual(['disconnect']);
    expect(last[0].reasonCode).toBeGreaterThanOrEqual(0x80);
  } else {
    expect(last).toEqual([]);
  }
}

const textPlaces = [
  { place: 'a topic', level: 4, frame: (text: Buffer) => frameOf(0x30, lengthed(text)) },
  { place: 'a topic', level: 5, frame: (text: Buffer) => frameOf(0x30, lengthed(text), '00') },
  { place: 'a filter of SUBSCRIBE', level: 4, frame: (text: Buffer) => frameOf(0x82, '0001', lengthed(text), '00') },
  { place: 'a filter of SUBSCRIBE', level: 5, frame: (text: Buffer) => frameOf(0x82, '000100', lengthed(text), '00') },
  { place: 'a filter of UNSUBSCRIBE', level: 4, frame: (text: Buffer) => frameOf(0xa2, '0001', lengthed(text)) },
  { place: 'a filter of UNSUBSCRIBE', level: 5, frame: (text: Buffer) => frameOf(0xa2, '000100', lengthed(text)) },
  ...(
    [
      ['the content type', '03'],
      ['the response topic', '08'],
      ['a name of a user property', '26'],
    ] as const
  ).map(([place, id]) => ({
    place,
    level: 5 as const,
    frame: (text: Buffer): Buffer => {
      const value = id === '26' ? Buffer.concat([lengthed(text), lengthed('v')]) : lengthed(text);
      return frameOf(0x30, lengthed('t'), Buffer.from([value.length + 1]), id, value);
    },
  })),
  {
    place: 'a value of a user property',
    level: 5,
    frame: (text: Buffer): Buffer => {
      const value = Buffer.concat([lengthed('n'), lengthed(text)]);
      return frameOf(0x30, lengthed('t'), Buffer.from([value.length + 1]), '26', value);
    },
  },
] as const;

describe('text', () => {
  it.each(textPlaces)(
    'that is no UTF-8, or has U+0000, as $place of level $level ends the connection',
    async ({ level, frame }) => {
      for (const text of wrongTexts) {
        const client = await mqtt.connect({ level });
        client.write(frame(text));
        await expectEnded(client);
      }
    },
  );

  it.each([4, 5] as const)('that is no UTF-8 in CONNECT of level %i ends the connection', async (level) => {
    const properties = level === 5 ? '00' : '';
    const head = (flags: string): string => `00044d5154540${level}${flags}0000${properties}`;
    for (const text of wrongTexts) {
      const frames = [
        frameOf(0x10, head('02'), lengthed(text)),
        frameOf(0x10, head('06'), lengthed('c'), properties, lengthed(text), lengthed('m')),
        frameOf(0x10, head('82'), lengthed('c'), lengthed(text)),
      ];
      for (const frame of frames) {
        const client = await mqtt.open(level);
        client.write(frame);
        const answer = await client.closed();
        // Only MQTT 5 has a code for it; in 3.1.1 no CONNACK comes.
        if (level === 4) expect(answer).toEqual([]);
        else expect(answer).toMatchObject([{ cmd: 'connack', sessionPresent: false }]);
      }
    }
  });

  it('keeps U+FEFF wherever it stands', async () => {
    const client = await mqtt.connect({ level: 5 });
    const topic = `\u{feff}${unique()}\u{feff}`;
    await client.subscribe(topic, 0);
    client.publish(topic, 'x', { properties: { contentType: '\u{feff}' } });
    expect(await client.packet('publish')).toMatchObject({ topic, properties: { contentType: '\u{feff}' } });
    client.publish(topic.slice(1), 'other');
    expect(await client.barrier()).toEqual([]);
  });
});

describe('a length', () => {
  it.each(['308000', '30ffffffff7f', '30808080800100'])('written as %s ends the connection', async (bytes) => {
    for (const level of [4, 5] as const) {
      const client = await mqtt.connect({ level });
      client.write(bytes);
      await expectEnded(client);
    }
  });

  it('of properties in more bytes than it needs ends the connection', async () => {
    const client = await mqtt.connect({ level: 5 });
    client.write(frameOf(0x30, lengthed('t'), '8000'));
    await expectEnded(client);
  });

  it('of no properties is written as zero', async () => {
    const client = await mqtt.connect({ level: 5 });
    const topic = unique();
    await client.subscribe(topic);
    client.publish(topic, 'p');
    expect(await client.frame()).toEqual(frameOf(0x30, lengthed(topic), '00', Buffer.from('p')));
    client.send({ cmd: 'unsubscribe', messageId: 9, unsubscriptions: [topic] });
    expect((await client.frame()).toString('hex')).toBe('b00400090000');
  });
});

describe('reserved flags', () => {
  const frames = [
    ['PUBACK', 0x41, '0001'],
    ['PUBREC', 0x51, '0001'],
    ['PUBREL', 0x60, '0001'],
    ['PUBREL', 0x63, '0001'],
    ['PUBCOMP', 0x71, '0001'],
    ['SUBSCRIBE', 0x80, '0001 0001 61 00'],
    ['UNSUBSCRIBE', 0xa0, '0001 0001 61'],
    ['PINGREQ', 0xc1, ''],
    ['DISCONNECT', 0xe1, ''],
  ] as const;

  it.each(frames)('of %s (%i) that are not as listed end the connection', async (_, first, body) => {
    for (const level of [4, 5] as const) {
      const client = await mqtt.connect({ level });
      client.write(frameOf(first, body));
      await expectEnded(client);
    }
  });

  it('of AUTH that are not zero, and packet types that do not exist, end the connection', async () => {
    for (const bytes of ['f10218 00', '0000', 'f000']) {
      const client = await mqtt.connect({ level: bytes.startsWith('f1') ? 5 : 4 });
      client.write(bytes);
      await expectEnded(client);
    }
  });

  it('of CONNECT end the connection', async () => {
    const client = await mqtt.open();
    client.write(frameOf(0x11, '00044d51545404020000', lengthed('c')));
    expect(await client.closed()).toEqual([]);
  });

  it('are as listed in what the broker sends', async () => {
    const client = await mqtt.connect({ level: 5 });
    const topic = unique();
    client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic, qos: 2 }] });
    const firsts = [(await client.frame())[0]];
    client.publish(topic, 'x', { qos: 2, messageId: 2 });
    firsts.push((await client.frame())[0], (await client.frame())[0]);
    client.send({ cmd: 'pubrel', messageId: 2 }, { cmd: 'pubrec', messageId: 1 });
    firsts.push((await client.frame())[0], (await client.frame())[0]);
    client.send({ cmd: 'pubcomp', messageId: 1 }, { cmd: 'unsubscribe', messageId: 3, unsubscriptions: [topic] });
    firsts.push((await client.frame())[0]);
    client.send({ cmd: 'pingreq' });
    firsts.push((await client.frame())[0]);
    expect(firsts.map((first) => first.toString(16)).sort()).toEqual(['34', '50', '62', '70', '90', 'b0', 'd0']);
  });
});

describe('a packet identifier', () => {
  it.each([
    ['PUBLISH of QoS 1', 0x32, ['000174 0000', '000174 0000 00']],
    ['PUBLISH of QoS 2', 0x34, ['000174 0000', '000174 0000 00']],
    ['SUBSCRIBE', 0x82, ['0000 000161 00', '0000 00 000161 00']],
    ['UNSUBSCRIBE', 0xa2, ['0000 000161', '0000 00 000161']],
  ] as const)('of zero in %s ends the connection', async (_, first, bodies) => {
    for (const [index, level] of ([4, 5] as const).entries()) {
      const client = await mqtt.connect({ level });
      client.write(frameOf(first, bodies[index]));
      await expectEnded(client);
    }
  });

  it.each([4, 5] as const)('comes back in every answer to level %i', async (level) => {
    const client = await mqtt.connect({ level });
    for (const messageId of [1, 0x1234, 0xffff]) {
      client.send(
        { cmd: 'subscribe', messageId, subscriptions: [{ topic: 'x', qos: 0 }] },
        { cmd: 'unsubscribe', messageId, unsubscriptions: ['x'] },
        { cmd: 'publish', topic: 't', payload: '1', qos: 1, messageId, retain: false, dup: false },
        { cmd: 'publish', topic: 't', payload: '1', qos: 2, messageId, retain: false, dup: false },
        { cmd: 'pubrel', messageId },
      );
      const answers = await client.barrier();
      expect(answers.map(({ cmd }) => cmd)).toEqual(['suback', 'unsuback', 'puback', 'pubrec', 'pubcomp']);
      expect(answers.every((answer) => answer.messageId === messageId)).toBe(true);
    }
  });

  it('of the broker is not zero and not in use', async () => {
    const client = await mqtt.connect();
    const topic = unique();
    await client.subscribe(topic, 2);
    for (let at = 0; at < 50; at++) client.publish(topic, `${at}`, { qos: 1 + (at % 2), messageId: at + 1 });
    const ids = (await client.barrier()).filter(({ cmd }) => cmd === 'publish').map(({ messageId }) => messageId);
    expect(ids.length).toBe(50);
    expect(new Set(ids).size).toBe(50);
    expect(ids).not.toContain(0);
  });

  it('is not in PUBLISH of QoS 0', async () => {
    const client = await mqtt.connect();
    const topic = unique();
    await client.subscribe(topic, 0);
    client.publish(topic, 'p', { qos: 1 });
    const frames = [await client.frame(), await client.frame()].map((frame) => frame.toString('hex'));
    expect(frames).toContain(frameOf(0x30, lengthed(topic), Buffer.from('p')).toString('hex'));
  });
});
