/** The flows of QoS 1 and 2: every state of an identifier meets every packet, as the transition tables say. */
import { describe, expect, it } from 'vitest';
import { type AnyPacket, type Level, MqttHost, type TestClient } from '../../../../support/mqtt/mqtt-host.ts';
import {
  type IncomingEvent,
  type IncomingState,
  incomingTransitions,
  type OutgoingAnswer,
  type OutgoingEvent,
  type OutgoingState,
  outgoingTransitions,
} from '../../../../support/mqtt/qos-transitions.ts';

const levels: readonly Level[] = [4, 5];

function connect(host: MqttHost, level: Level): { client: TestClient; leftovers: AnyPacket[] } {
  const properties = level === 5 ? { sessionExpiryInterval: 1_000 } : undefined;
  const client = host.connect({ level, clientId: 'client', clean: false, ...(properties && { properties }) });
  return { client, leftovers: host.leftovers.get(client) ?? [] };
}

/** What a packet from the broker is, in the words of the table. */
function answerOf(packets: readonly AnyPacket[]): OutgoingAnswer | string {
  if (packets.length === 0) return 'nothing';
  expect(packets.length).toBe(1);
  const [{ cmd, dup, reasonCode }] = packets;
  if (cmd === 'publish') return dup === true ? 'publish-dup' : 'publish';
  return reasonCode === 0x92 ? `${cmd}-not-found` : cmd;
}

/** Below level 5 an acknowledgement carries no code. */
function atLevel(answer: string, level: Level): string {
  return level === 5 ? answer : answer.replace('-not-found', '');
}

describe.each(levels)('outgoing messages at level %i', (level) => {
  interface Arena {
    readonly host: MqttHost;
    client: TestClient;
    readonly messageId: number;
  }

  function arenaIn(state: OutgoingState): Arena {
    const host = new MqttHost();
    const { client } = connect(host, level);
    client.subscribe('t', { qos: 2 });
    if (state === 'free') return { host, client, messageId: 7 };
    const publisher = host.connect({ clientId: 'publisher' });
    publisher.publish('t', 'x', { qos: state === 'awaits-puback' ? 1 : 2, messageId: 1 });
    const [{ messageId }] = client.take();
    if (state === 'awaits-pubcomp') {
      client.send({ cmd: 'pubrec', messageId });
      client.take();
    }
    return { host, client, messageId: messageId as number };
  }

  function apply(arena: Arena, event: OutgoingEvent): readonly AnyPacket[] {
    if (event === 'reconnect') {
      arena.client.connection.cut();
      const { client, leftovers } = connect(arena.host, level);
      arena.client = client;
      return leftovers;
    }
    const [cmd, isError] = event.split('-');
    arena.client.send({ cmd, messageId: arena.messageId, ...(isError === undefined ? {} : { reasonCode: 0x80 }) });
    return arena.client.take();
  }

  /** The state, found out by what the broker sends again. */
  function stateOf(arena: Arena): OutgoingState {
    const [packet] = apply(arena, 'reconnect');
    if (packet === undefined) return 'free';
    expect(packet.messageId).toBe(arena.messageId);
    if (packet.cmd === 'pubrel') return 'awaits-pubcomp';
    return packet.qos === 1 ? 'awaits-puback' : 'awaits-pubrec';
  }

  const cases = (Object.keys(outgoingTransitions) as OutgoingState[]).flatMap((state) =>
    (Object.keys(outgoingTransitions[state]) as OutgoingEvent[])
      // Errors exist at level 5 only.
      .filter((event) => level === 5 || !event.endsWith('-error'))
      .map((event) => ({ state, event, ...outgoingTransitions[state][event] })),
  );

  it.each(cases)('$event in state $state: answer $answer, then $next', ({ state, event, next, answer }) => {
    const arena = arenaIn(state);
    expect(stateOf(arena)).toBe(state);
    expect(answerOf(apply(arena, event))).toBe(atLevel(answer, level));
    expect(arena.client.connection.closed).toBe(false);
    expect(stateOf(arena)).toBe(next);
  });
});

describe.each(levels)('incoming QoS 2 messages at level %i', (level) => {
  const cases = (Object.keys(incomingTransitions) as IncomingState[]).flatMap((state) =>
    (Object.keys(incomingTransitions[state]) as IncomingEvent[]).map((event) => ({
      state,
      event,
      ...incomingTransitions[state][event],
    })),
  );

  it.each(cases)(
    '$event in state $state: answer $answer, delivered $delivers, then $next',
    ({ state, event, next, answer, delivers }) => {
      const host = new MqttHost();
      let { client } = connect(host, level);
      const reader = host.connect({ clientId: 'reader' });
      reader.subscribe('t');
      const apply = (what: IncomingEvent): readonly AnyPacket[] => {
        if (what === 'reconnect') {
          client.connection.cut();
          const again = connect(host, level);
          client = again.client;
          return again.leftovers;
        }
        if (what === 'pubrel') client.send({ cmd: 'pubrel', messageId: 9 });
        else client.publish('t', 'x', { qos: 2, messageId: 9, dup: what === 'publish-dup' });
        return client.take();
      };
      if (state === 'received') apply('publish');
      reader.take();
      expect(answerOf(apply(event))).toBe(atLevel(answer, level));
      expect(reader.payloads().length).toBe(delivers ? 1 : 0);
      expect(client.connection.closed).toBe(false);
      // A repeated PUBLISH shows whether the identifier is remembered.
      apply('publish');
      expect(reader.payloads().length).toBe(next === 'received' ? 0 : 1);
    },
  );
});

describe('an acknowledgement', () => {
  it('makes room for what waits, in order', () => {
    const host = new MqttHost();
    const client = host.connect({ level: 5, clientId: 'client', properties: { receiveMaximum: 2 } });
    client.subscribe('t', { qos: 2 });
    const publisher = host.connect({ clientId: 'publisher' });
    for (let index = 0; index < 6; index++)
      publisher.publish('t', `${index}`, { qos: (index % 2) + 1, messageId: index + 1 });
    const received: string[] = [];
    for (let round = 0; round < 20; round++) {
      const packets = client.take();
      const inFlight = packets.filter(({ cmd }) => cmd === 'publish');
      expect(inFlight.length).toBeLessThanOrEqual(2);
      for (const { cmd, qos, messageId, payload } of packets) {
        if (cmd === 'publish') {
          received.push(String(payload));
          client.send({ cmd: qos === 1 ? 'puback' : 'pubrec', messageId });
        } else if (cmd === 'pubrel') client.send({ cmd: 'pubcomp', messageId });
      }
    }
    expect(received).toEqual(['0', '1', '2', '3', '4', '5']);
  });

  it('for more than Receive Maximum unreleased identifiers there is a DISCONNECT', () => {
    const host = new MqttHost({ receiveMaximum: 2 });
    const client = host.connect({ level: 5, clientId: 'client' });
    for (const messageId of [1, 2]) client.publish('t', 'x', { qos: 2, messageId });
    expect(client.take().map(({ cmd }) => cmd)).toEqual(['pubrec', 'pubrec']);
    client.publish('t', 'x', { qos: 2, messageId: 3 });
    expect(client.take()).toMatchObject([{ cmd: 'disconnect', reasonCode: 0x93 }]);
    expect(client.connection.closeReason).toBe('protocol-error');
  });
});
