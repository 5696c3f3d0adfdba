/** Calls over connections of their own: what a client may send, what it gets, and what happens to those who send other things. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { callFrameKinds, callPingFrame, callPreface } from '../../../../src/rpc/call-frames.ts';
import { encodeFrame, FrameReader } from '../../../../src/rpc/frames.ts';
import {
  type PipelineCall,
  PipelineRequest,
  PipelineResponse,
} from '../../../../src/rpc/generated/ringmq/placement/v1/kv.ts';
import { until } from '../../cli/support.ts';
import { ServerFixture } from './server-fixture.ts';

let fixture: ServerFixture;
const raws: Raw[] = [];

afterEach(async () => {
  for (const raw of raws.splice(0)) raw.socket.destroy();
  await fixture.stop();
});

class Raw {
  readonly socket: Socket;
  readonly frames: [kind: number, body: Buffer][] = [];
  isClosed = false;

  constructor() {
    raws.push(this);
    this.socket = connect({ port: fixture.server.port, host: '127.0.0.1', noDelay: true });
    const reader = new FrameReader(1 << 24, (kind, body) => this.frames.push([kind, Buffer.from(body)]) > 0);
    this.socket.on('data', (chunk: Buffer) => reader.push(chunk));
    this.socket.on('error', () => undefined);
    this.socket.on('close', () => {
      this.isClosed = true;
    });
  }

  get responses(): PipelineResponse[] {
    return this.frames
      .filter(([kind]) => kind === callFrameKinds.response)
      .map(([, body]) => PipelineResponse.decode(body));
  }

  get answered(): number[] {
    return this.responses.flatMap(({ answers }) => answers.map(({ number }) => number));
  }

  get refusal(): string {
    const last = this.frames.at(-1);
    return last?.[0] === callFrameKinds.refused ? last[1].toString() : '';
  }
}

function request(...calls: PipelineCall[]): Buffer {
  return encodeFrame(callFrameKinds.request, PipelineRequest.encode({ calls }).finish());
}

function set(number: number, valueBytes = 1): PipelineCall {
  const none = new Uint8Array(0);
  const value = { key: Buffer.from('k'), value: Buffer.alloc(valueBytes), lease: 0, returnPrevious: false };
  return { number, timeoutMs: 0, call: { $case: 'set', value: { ...value, requestId: none } } };
}

describe('CallStreams', () => {
  it('accept() announces the leader and answers calls that come byte by byte', async () => {
    fixture = await ServerFixture.start();
    const raw = new Raw();
    for (const byte of Buffer.concat([callPreface, request(set(7), set(8)), callPingFrame])) {
      raw.socket.write(Buffer.of(byte));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await until(() => raw.answered.length === 2 && raw.frames.some(([kind]) => kind === callFrameKinds.pong));
    expect(raw.answered).toEqual([7, 8]);
    expect(raw.responses[0].answers).toEqual([]);
    expect(raw.responses[0].leaderAddress).toBeTypeOf('string');
  });

  it.each([
    ['bytes that are no preface', Buffer.from('CALLRINX'), 'begins otherwise'],
    ['a frame of an unknown kind', Buffer.concat([callPreface, encodeFrame(99, Buffer.of(1))]), 'no kind 99'],
    [
      'a frame of four gigabytes',
      Buffer.concat([callPreface, Buffer.from([255, 255, 255, 255, 1])]),
      '4294967295 bytes',
    ],
    ['a request that is no message', Buffer.concat([callPreface, encodeFrame(1, Buffer.from([10, 200]))]), 'Cannot'],
  ])('accept() refuses %s, says why, and serves others on', async (_name, bytes, reason) => {
    fixture = await ServerFixture.start();
    const good = new Raw();
    good.socket.write(Buffer.concat([callPreface, request(set(1))]));
    const bad = new Raw();
    bad.socket.write(bytes);
    await until(() => bad.isClosed);
    expect(bad.refusal).toContain(reason);
    good.socket.write(request(set(2)));
    await until(() => good.answered.length === 2);
  });

  it('accept() refuses connections beyond its limit', async () => {
    fixture = await ServerFixture.start({ callStreamsMax: 1 });
    const first = new Raw();
    first.socket.write(callPreface);
    await until(() => first.responses.length === 1);
    const second = new Raw();
    second.socket.write(callPreface);
    await until(() => second.isClosed);
    expect(second.refusal).toContain('1 clients are connected');
    first.socket.destroy();
    await once(first.socket, 'close');
    await until(() => {
      const third = new Raw();
      third.socket.write(callPreface);
      return raws.some((raw) => raw !== first && raw.responses.length === 1);
    });
  });

  it('accept() reads a client no further that does not read its answers, and goes on when it does', async () => {
    fixture = await ServerFixture.start({ pipelineCallsMax: 10 });
    const { promise, resolve } = Promise.withResolvers<void>();
    fixture.node.gate = promise;
    const raw = new Raw();
    raw.socket.write(callPreface);
    for (let i = 0; i < 300; i++) raw.socket.write(request(set(i + 1, 32 * 1024)));
    await until(() => fixture.node.executed.length >= 10);
    await new Promise((done) => setTimeout(done, 50));
    expect(fixture.node.executed.length).toBeLessThan(100);
    resolve();
    fixture.node.gate = null;
    await until(() => raw.answered.length === 300);
    expect(raw.answered).toEqual(Array.from({ length: 300 }, (_, i) => i + 1));
  });

  it('close() says goodbye, answers what was taken, and ends', async () => {
    fixture = await ServerFixture.start();
    const { promise, resolve } = Promise.withResolvers<void>();
    fixture.node.gate = promise;
    const raw = new Raw();
    raw.socket.write(Buffer.concat([callPreface, request(set(1))]));
    await until(() => fixture.node.executed.length === 1);
    const closed = fixture.server.close(5000);
    await until(() => raw.responses.some(({ isLeaving }) => isLeaving));
    resolve();
    await until(() => raw.isClosed);
    expect(raw.answered).toEqual([1]);
    fixture.client.close();
    await closed;
  });
});
