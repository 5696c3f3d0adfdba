/** Enhanced authentication as packets (sections 3.15 and 4.12); the exchange itself is a mechanism of two steps. */
import { describe, expect, it, vi } from 'vitest';
import type { ClientLogin, Identity, LoginStep } from '../../../../../src/core/ports/access.ts';
import { MqttHost, TestClient } from '../../../../support/mqtt/mqtt-host.ts';

const method = 'SCRAM-SHA-256';

/** Asks one question; the answer `yes` lets the client in. */
function hostWithQuestion(): MqttHost {
  const host = new MqttHost();
  vi.spyOn(host.access, 'login').mockImplementation((request: ClientLogin, step: (step: LoginStep) => void) => {
    const identity = {
      tenant: request.tenant,
      clientId: request.clientId,
      user: 'bob',
      groups: [],
      address: '',
    } as unknown as Identity;
    step({ type: 'continue', data: Buffer.from('question') });
    return {
      cancel: () => undefined,
      answer: (data: Uint8Array) => {
        if (Buffer.from(data).toString() !== 'yes')
          step({ type: 'refused', reason: 'not-authorized', code: 'X' } as unknown as LoginStep);
        else step({ type: 'accepted', permissions: host.access.permissionsOf(identity), data: Buffer.from('welcome') });
      },
    };
  });
  return host;
}

function begin(host: MqttHost): TestClient {
  const client = new TestClient(host, 5);
  const properties = { authenticationMethod: method };
  client.send({
    cmd: 'connect',
    protocolId: 'MQTT',
    protocolVersion: 5,
    clean: true,
    clientId: 'c',
    keepalive: 0,
    properties,
  });
  return client;
}

function auth(reasonCode: number, data: string, name = method): { cmd: string } & Record<string, unknown> {
  return { cmd: 'auth', reasonCode, properties: { authenticationMethod: name, authenticationData: Buffer.from(data) } };
}

function connected(host: MqttHost): TestClient {
  const client = begin(host);
  client.send(auth(0x18, 'yes'));
  client.take();
  return client;
}

describe('AUTH', () => {
  it('of the broker continues with 0x18 and the method of CONNECT, which CONNACK repeats', () => {
    const client = begin(hostWithQuestion());
    const properties = { authenticationMethod: method, authenticationData: Buffer.from('question') };
    expect(client.take()).toMatchObject([{ cmd: 'auth', reasonCode: 0x18, properties }]);
    client.send(auth(0x18, 'yes'));
    const [connack] = client.take();
    expect(connack).toMatchObject({ cmd: 'connack', reasonCode: 0, properties: { authenticationMethod: method } });
    expect((connack.properties as { authenticationData: Buffer }).authenticationData.toString()).toBe('welcome');
  });

  it('that does not convince is answered with CONNACK of 0x80 and above, and the end', () => {
    const client = begin(hostWithQuestion());
    client.take();
    client.send(auth(0x18, 'no'));
    expect(client.take()).toMatchObject([{ cmd: 'connack', reasonCode: 0x87, sessionPresent: false }]);
    expect(client.connection.closed).toBe(true);
  });

  it('with another method, another code, or another packet between CONNECT and CONNACK ends the connection', () => {
    const wrong = [auth(0x18, 'yes', 'OTHER'), auth(0x19, 'yes'), { cmd: 'pingreq' }];
    for (const packet of wrong) {
      const client = begin(hostWithQuestion());
      client.take();
      client.send(packet);
      expect(client.connection.closed).toBe(true);
      expect(client.take().filter(({ cmd }) => cmd === 'pingresp')).toEqual([]);
    }
  });

  it('again of a connected client ends with 0x00, or with the connection', () => {
    const client = connected(hostWithQuestion());
    client.send(auth(0x19, 'again'));
    expect(client.take()).toMatchObject([
      { cmd: 'auth', reasonCode: 0x18, properties: { authenticationMethod: method } },
    ]);
    client.send(auth(0x18, 'yes'));
    expect(client.take()).toMatchObject([{ cmd: 'auth', reasonCode: 0, properties: { authenticationMethod: method } }]);
    expect(client.connection.closed).toBe(false);
    client.send(auth(0x19, 'again'));
    client.take();
    client.send(auth(0x18, 'no'));
    expect(client.take()).toMatchObject([{ cmd: 'disconnect', reasonCode: 0x87 }]);
    expect(client.connection.closed).toBe(true);
  });

  it('with another method than that of CONNECT ends the connection of a connected client', () => {
    const client = connected(hostWithQuestion());
    client.send(auth(0x19, 'again', 'OTHER'));
    expect(client.take()).toMatchObject([{ cmd: 'disconnect', reasonCode: 0x82 }]);
  });
});
