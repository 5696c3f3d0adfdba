/** paho-mqtt for Python with MQTT 3.1.1 and 5. */
import { beforeAll, describe, expect, it } from 'vitest';
import { ensurePahoPython } from '../../scripts/interop-setup.ts';
import type { AgentClient } from './support/agent-client.ts';
import { textOf } from './support/client.ts';
import { describeCommon, persistent } from './support/common-suite.ts';
import { setupLimitMs, unique, useBroker } from './support/fixture.ts';
import { PahoLibrary } from './support/paho.ts';
import { describeVersion5 } from './support/version-5-suite.ts';

beforeAll(() => {
  ensurePahoPython();
}, setupLimitMs);

const library = new PahoLibrary();
describeCommon(library, 4);
describeCommon(library, 5);
describeVersion5(library);

describe('paho that acknowledges by hand', () => {
  const { connect } = useBroker(library, 5);

  it.each([1, 2] as const)('gets no more QoS %i messages than its receive maximum allows', async (qos) => {
    const topic = unique('receive-maximum');
    const subscriber = (await connect({ acks: false, properties: { receiveMaximum: 5 } })) as AgentClient;
    await subscriber.subscribe(topic);
    const publisher = await connect();
    for (let index = 0; index < 12; index++) await publisher.publish(topic, `${index}`, { qos });
    for (let count = 5; count <= 12; count++) {
      const received = await subscriber.exactly(count);
      expect(textOf(received)).toEqual(Array.from({ length: count }, (_, index) => `${index}`));
      const oldest = received[count - 5];
      await subscriber.ack(oldest?.packetId ?? 0, qos);
    }
  });

  it('is not sent more than a smaller receive maximum of its next connection allows', async () => {
    const [topic, clientId] = [unique('receive-maximum'), unique('client')];
    const session = persistent(clientId, 5);
    const first = await connect({ ...session, acks: false });
    await first.subscribe([{ topic, qos: 1 }]);
    const publisher = await connect();
    for (let index = 0; index < 12; index++) await publisher.publish(topic, `${index}`, { qos: 1 });
    await first.messages(12);
    await first.cut();
    const properties = { sessionExpiryInterval: 300, receiveMaximum: 5 };
    const second = (await connect({ ...session, acks: false, properties })) as AgentClient;
    for (let count = 5; count <= 12; count++) {
      const received = await second.exactly(count);
      expect(received.every(({ dup }) => dup)).toBe(true);
      expect(textOf(received)).toEqual(Array.from({ length: count }, (_, index) => `${index}`));
      await second.ack(received[count - 5]?.packetId ?? 0, 1);
    }
  });
});
