/** The golden vectors driven through a whole worker: every packet is answered as the specification says. */
import { describe, expect, it } from 'vitest';
import { malformedAcknowledgements, validAcknowledgements } from '../../../../golden/mqtt/acknowledgements.ts';
import { malformedConnects, validConnects } from '../../../../golden/mqtt/connect.ts';
import { malformedControls, validControls } from '../../../../golden/mqtt/control.ts';
import { malformedHeaders, malformedPublishes, validPublishes } from '../../../../golden/mqtt/publish.ts';
import { malformedSubscribes, validSubscribes } from '../../../../golden/mqtt/subscribe.ts';
import { bytes, type MalformedVector } from '../../../../golden/mqtt/vector.ts';
import { decodeAll, MqttHost, TestClient } from '../../../../support/mqtt/mqtt-host.ts';

/** A host with a client that must not notice anything. */
function hostWithWitness(): { host: MqttHost; expectUnharmed: () => void } {
  const host = new MqttHost();
  const witness = host.connect({ clientId: 'witness' });
  witness.subscribe('witness');
  return {
    host,
    expectUnharmed: () => {
      witness.publish('witness', 'still here');
      expect(witness.payloads()).toEqual(['still here']);
    },
  };
}

describe('CONNECT', () => {
  it.each(validConnects)('$name', ({ hex, level, packet }) => {
    const { host, expectUnharmed } = hostWithWitness();
    const client = new TestClient(host, level);
    client.sendBytes(bytes(hex));
    const [connack] = client.take();
    const isRefused = packet.authenticationMethod !== undefined;
    expect(connack).toMatchObject({ cmd: 'connack', sessionPresent: false });
    expect(connack[level === 5 ? 'reasonCode' : 'returnCode']).toBe(isRefused ? 0x8c : 0);
    expect(client.connection.closed).toBe(isRefused);
    if (level === 5 && !isRefused) {
      const { assignedClientIdentifier } = (connack.properties ?? {}) as { assignedClientIdentifier?: string };
      expect(assignedClientIdentifier !== undefined).toBe(packet.clientId === ''); // [MQTT-3.2.2-16]
    }
    expect(host.gauge('ringmq_mqtt_sessions')).toBe(isRefused ? 1 : 2);
    expectUnharmed();
  });

  it.each(malformedConnects)('$name', ({ hex, reasonCode, returnCode, answerLevel }) => {
    const { host, expectUnharmed } = hostWithWitness();
    const connection = host.accept();
    connection.receive(bytes(hex));
    const answer = connection.take();
    expect(connection.closed).toBe(true);
    if (answerLevel === 5)
      expect(decodeAll(answer, 5)).toMatchObject([{ cmd: 'connack', reasonCode, sessionPresent: false }]);
    else if (returnCode !== undefined)
      expect(decodeAll(answer, answerLevel ?? 4)).toMatchObject([{ cmd: 'connack', returnCode }]);
    else expect(answer.length).toBe(0);
    expect(host.gauge('ringmq_mqtt_sessions')).toBe(1);
    expect(host.gauge('ringmq_mqtt_connects_refused_total')).toBe(1);
    expectUnharmed();
  });

  it('has to be the first packet, and the only one of its kind', () => {
    for (const { hex } of [...validControls, ...validPublishes, ...validSubscribes]) {
      const { host } = hostWithWitness();
      const connection = host.accept();
      connection.receive(bytes(hex));
      expect(connection.closeReason).toBe('protocol-error');
      expect(connection.take().length).toBe(0);
    }
    const { host } = hostWithWitness();
    const client = host.connect({ level: 5, clientId: 'twice' });
    client.sendBytes(bytes(validConnects.find(({ level }) => level === 5)?.hex ?? ''));
    expect(client.take()).toMatchObject([{ cmd: 'disconnect', reasonCode: 0x82 }]);
  });

  it('that does not come in time ends the connection', () => {
    const { host } = hostWithWitness();
    const connection = host.accept();
    connection.receive(bytes(validConnects[0].hex).subarray(0, 5));
    host.pass(4_900);
    expect(connection.closed).toBe(false);
    host.pass(400);
    expect(connection.closeReason).toBe('handshake-timeout');
  });

  it('is not kept when it is too long', () => {
    const host = new MqttHost({ connectBytesMax: 300 });
    const connection = host.accept();
    connection.receive(Buffer.from([0x10, 0xff, 0x03]));
    expect(connection.closed).toBe(true);
  });
});

describe('a valid packet of a connected client', () => {
  it.each(validSubscribes)('$name', ({ hex, level, packet }) => {
    const { host, expectUnharmed } = hostWithWitness();
    const client = host.connect({ level, clientId: 'client' });
    client.sendBytes(bytes(hex));
    expect(client.connection.closed).toBe(false);
    const [answer] = client.take();
    expect(answer).toMatchObject({ cmd: packet.type === 8 ? 'suback' : 'unsuback', messageId: packet.packetId });
    if (packet.type === 8 || level === 5) {
      const count = packet.type === 8 ? packet.subscriptions.length : packet.filters.length;
      expect((answer.granted as number[]).length).toBe(count); // [MQTT-3.8.4-6]
    }
    expectUnharmed();
  });

  it.each(validControls)('$name', ({ hex, level, packet }) => {
    const { host, expectUnharmed } = hostWithWitness();
    const client = host.connect({
      level,
      clientId: 'client',
      properties: level === 5 ? { sessionExpiryInterval: 9 } : {},
    });
    client.sendBytes(bytes(hex));
    const answer = client.take();
    if (packet.type === 12) expect(answer).toMatchObject([{ cmd: 'pingresp' }]);
    else if (packet.type === 14) expect(client.connection.closeReason).toBe('client');
    // [MQTT-4.12.0-6]: no method was agreed on.
    else expect(answer).toMatchObject([{ cmd: 'disconnect', reasonCode: 0x82 }]);
    expect(client.connection.closed).toBe(packet.type !== 12);
    expectUnharmed();
  });

  it.each(validAcknowledgements)('$name, for nothing that is in flight', ({ hex, level }) => {
    const { host, expectUnharmed } = hostWithWitness();
    const client = host.connect({ level, clientId: 'client' });
    client.sendBytes(bytes(hex));
    expect(client.connection.closed).toBe(false);
    expectUnharmed();
  });

  it.each(validPublishes)('$name', ({ hex, level }) => {
    const { host, expectUnharmed } = hostWithWitness();
    const client = host.connect({ level, clientId: 'client' });
    client.sendBytes(bytes(hex));
    const [answer] = client.take();
    // What is valid as a packet can still not be allowed to a client: then it is told so, and nobody gets anything.
    if (client.connection.closed)
      expect(level === 5 ? answer.cmd : answer).toBe(level === 5 ? 'disconnect' : undefined);
    expectUnharmed();
  });
});

describe('a malformed packet of a connected client', () => {
  const vectors: readonly MalformedVector[] = [
    ...malformedAcknowledgements,
    ...malformedControls,
    ...malformedPublishes,
    ...malformedSubscribes,
  ];

  it.each(vectors)('$name', ({ hex, level, reasonCode }) => {
    const { host, expectUnharmed } = hostWithWitness();
    const all = host.connect({ clientId: 'all' });
    all.subscribe('#');
    const client = host.connect({ level, clientId: 'client' });
    client.sendBytes(bytes(hex));
    expect(client.connection.closeReason).toBe('protocol-error');
    const answers = client.take();
    // [MQTT-3.14.1-1 of 3.1.1] only clients send DISCONNECT before MQTT 5.
    if (level === 5) expect(answers).toMatchObject([{ cmd: 'disconnect', reasonCode }]);
    else expect(answers).toEqual([]);
    expect(all.take()).toEqual([]);
    expectUnharmed();
  });

  it.each(malformedHeaders)('$name', ({ hex }) => {
    for (const level of [3, 4, 5] as const) {
      const { host, expectUnharmed } = hostWithWitness();
      const client = host.connect({ level, clientId: 'client' });
      client.sendBytes(bytes(hex));
      expect(client.connection.closeReason).toBe('protocol-error');
      expectUnharmed();
    }
  });

  it('larger than Maximum Packet Size is refused by its length, before it is here', () => {
    const host = new MqttHost({ packetBytesMax: 1_000 });
    const client = host.connect({ level: 5, clientId: 'client' });
    client.sendBytes(Buffer.from([0x30, 0xff, 0x7f, 0, 1]));
    expect(client.take()).toMatchObject([{ cmd: 'disconnect', reasonCode: 0x95 }]);
  });
});
