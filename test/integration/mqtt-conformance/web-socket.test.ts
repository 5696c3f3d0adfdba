/** Chapter 6 of both specifications: MQTT over WebSocket, with a client that is not ours. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Broker, startBroker } from '../../../src/main/index.ts';
import { frameOf, hex, lengthed } from '../../support/mqtt/raw-client.ts';

let broker: Broker;

beforeAll(async () => {
  const listeners = [{ name: 'web', protocol: 'mqtt', transport: 'ws', address: '127.0.0.1:0' }];
  broker = await startBroker({ workers: 1, http: false, settings: { listeners } });
});
afterAll(() => broker.stop());

const connect = frameOf(0x10, '00044d51545404020000', lengthed(''));
const connack = '20020000';

interface Client {
  readonly socket: WebSocket;
  /** Resolves when so many bytes have come. */
  bytes(count: number): Promise<string>;
  readonly closed: Promise<number>;
}

async function open(subProtocols: string[]): Promise<Client> {
  const socket = new WebSocket(`ws://127.0.0.1:${broker.port('web')}/mqtt`, subProtocols);
  socket.binaryType = 'arraybuffer';
  let received = Buffer.alloc(0);
  let wake: () => void = () => undefined;
  socket.addEventListener('message', ({ data }) => {
    received = Buffer.concat([received, Buffer.from(data as ArrayBuffer)]);
    wake();
  });
  const closed = new Promise<number>((resolve) => socket.addEventListener('close', ({ code }) => resolve(code)));
  await new Promise<void>((resolve, reject) => {
    socket.addEventListener('open', () => resolve());
    socket.addEventListener('error', () => reject(new Error('The upgrade was refused')));
  });
  const bytes = async (count: number): Promise<string> => {
    while (received.length < count) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    return received.toString('hex');
  };
  return { socket, bytes, closed };
}

describe('MQTT over WebSocket', () => {
  it('has the sub-protocol mqtt, and is not served without', async () => {
    const { socket } = await open(['other', 'mqtt']);
    expect(socket.protocol).toBe('mqtt');
    socket.close();
    await expect(open(['other'])).rejects.toThrow('refused');
  });

  it('takes packets in frames of any size', async () => {
    const one = await open(['mqtt']);
    for (const byte of connect) one.socket.send(Buffer.from([byte]));
    expect(await one.bytes(4)).toBe(connack);
    const other = await open(['mqtt']);
    other.socket.send(Buffer.concat([connect, hex('c000c0')]));
    other.socket.send(hex('00'));
    expect(await other.bytes(8)).toBe(`${connack}d000d000`);
    one.socket.close();
    other.socket.close();
  });

  it('ends at a text frame', async () => {
    const client = await open(['mqtt']);
    client.socket.send(connect);
    await client.bytes(4);
    client.socket.send('text');
    expect([1002, 1003, 1006]).toContain(await client.closed);
  });
});
