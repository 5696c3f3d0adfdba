import { once } from 'node:events';
import type { ClientDuplexStream } from '@grpc/grpc-js';
import { afterEach, describe, expect, test } from 'vitest';
import { PlacementError } from '../../../../src/core/ports/placement.ts';
import {
  KvServiceService,
  type PipelineAnswer,
  type PipelineCall,
  type PipelineRequest,
  type PipelineResponse,
} from '../../../../src/rpc/generated/ringmq/placement/v1/kv.ts';
import { until } from '../../cli/support.ts';
import { FakeNode } from './fake-node.ts';
import { endOf, ServerFixture } from './server-fixture.ts';

const none = new Uint8Array(0);
let fixture: ServerFixture;

afterEach(() => fixture.stop());

class Stream {
  readonly responses: PipelineResponse[] = [];
  readonly stream: ClientDuplexStream<PipelineRequest, PipelineResponse>;

  constructor() {
    const { path, requestSerialize, responseDeserialize } = KvServiceService.pipeline;
    this.stream = fixture.client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize);
    this.stream.on('data', (response: PipelineResponse) => this.responses.push(response));
    // Most tests cancel it at the end.
    this.stream.on('error', () => undefined);
  }

  get answers(): PipelineAnswer[] {
    return this.responses.flatMap(({ answers }) => answers);
  }

  send(...calls: PipelineCall[]): void {
    this.stream.write({ calls });
  }

  async answered(count: number): Promise<readonly PipelineAnswer[]> {
    await until(() => this.answers.length >= count);
    return this.answers;
  }
}

function set(number: number, key = 'k', timeoutMs = 0): PipelineCall {
  const value = { key: Buffer.from(key), value: Buffer.from('v'), lease: 0, returnPrevious: false, requestId: none };
  return { number, timeoutMs, call: { $case: 'set', value } };
}

function get(number: number, key = 'k'): PipelineCall {
  return { number, timeoutMs: 0, call: { $case: 'get', value: { key: Buffer.from(key), consistency: 0 } } };
}

describe('KvService.pipeline()', () => {
  test('pipeline() answers every kind of call under its number', async () => {
    fixture = await ServerFixture.start();
    const pipe = new Stream();
    const key = Buffer.from('k');
    const range = {
      key,
      end: none,
      limit: 0,
      isReverse: false,
      keysOnly: false,
      countOnly: false,
      consistency: 0 as const,
    };
    pipe.send(
      set(11),
      get(12),
      { number: 13, timeoutMs: 0, call: { $case: 'exists', value: { key, consistency: 0 } } },
      { number: 14, timeoutMs: 0, call: { $case: 'range', value: range } },
      {
        number: 15,
        timeoutMs: 0,
        call: { $case: 'transaction', value: { compares: [], success: [], failure: [], requestId: none } },
      },
      {
        number: 16,
        timeoutMs: 0,
        call: {
          $case: 'compareAndSet',
          value: { key, newValue: none, lease: 0, requestId: none, expected: { $case: 'modRevision', value: 1 } },
        },
      },
      { number: 17, timeoutMs: 0, call: { $case: 'compact', value: { revision: 1 } } },
      {
        number: 18,
        timeoutMs: 0,
        call: { $case: 'delete', value: { key, end: undefined, returnPrevious: false, requestId: none } },
      },
      { number: 19, timeoutMs: 0, call: undefined },
    );
    const answers = await pipe.answered(9);
    const byNumber = [...answers].sort((a, b) => a.number - b.number);
    expect(byNumber.map(({ number, answer }) => `${number} ${answer?.$case}`)).toEqual([
      '11 set',
      '12 get',
      '13 exists',
      '14 range',
      '15 transaction',
      '16 compareAndSet',
      '17 compact',
      '18 delete',
      '19 error',
    ]);
    expect(byNumber[8].answer).toMatchObject({ value: { status: 3, code: 'INVALID_ARGUMENT', field: 'call' } });
    pipe.stream.cancel();
  });

  test('pipeline() puts answers that are ready together in one message', async () => {
    fixture = await ServerFixture.start();
    const { promise, resolve } = Promise.withResolvers<void>();
    fixture.node.gate = promise;
    const pipe = new Stream();
    pipe.send(...Array.from({ length: 50 }, (_, i) => set(i + 1, `k${i}`)));
    pipe.send(...Array.from({ length: 50 }, (_, i) => set(i + 51, `k${i}`)));
    await until(() => fixture.node.executed.length === 100);
    resolve();
    await pipe.answered(100);
    // One message for the leader's address, one for all answers.
    expect(pipe.responses).toHaveLength(2);
    pipe.stream.cancel();
  });

  test('pipeline() cuts large answers into several messages', async () => {
    fixture = await ServerFixture.start({ answerBytesMax: 1000 });
    const { promise, resolve } = Promise.withResolvers<void>();
    const pipe = new Stream();
    const value = { key: Buffer.from('k'), value: Buffer.alloc(600), lease: 0, returnPrevious: false, requestId: none };
    pipe.send({ number: 1, timeoutMs: 0, call: { $case: 'set', value } });
    await pipe.answered(1);
    fixture.node.gate = promise;
    pipe.send(get(2), get(3), get(4));
    await until(() => fixture.node.queried.length === 3);
    resolve();
    await pipe.answered(4);
    expect(pipe.responses.map(({ answers }) => answers.length)).toEqual([0, 1, 1, 1, 1]);
    pipe.stream.cancel();
  });

  test('pipeline() gives a call its time, and no more than the server allows', async () => {
    fixture = await ServerFixture.start({ callTimeoutMsMax: 2000 });
    const pipe = new Stream();
    pipe.send(set(1), set(2, 'k', 300), set(3, 'k', 90_000));
    await pipe.answered(3);
    expect(fixture.node.executed.map(({ timeoutMs }) => timeoutMs)).toEqual([2000, 300, 2000]);
    pipe.stream.cancel();
  });

  test('pipeline() reports errors in the answer and goes on', async () => {
    fixture = await ServerFixture.start();
    fixture.node.errors.push(new PlacementError('NO_LEADER', 'Nobody leads', 'h:1'));
    const pipe = new Stream();
    pipe.send(set(1));
    const [failed] = await pipe.answered(1);
    expect(failed.answer).toEqual({
      $case: 'error',
      value: { status: 14, code: 'NO_LEADER', message: 'Nobody leads', field: '', leaderAddress: 'h:1' },
    });
    pipe.send(set(2));
    expect((await pipe.answered(2))[1].answer?.$case).toBe('set');
    pipe.stream.cancel();
  });

  test('pipeline() announces the leader at the beginning and when it moves', async () => {
    fixture = await ServerFixture.start({}, {}, new FakeNode('10.0.0.1:7'));
    const pipe = new Stream();
    await until(() => pipe.responses.length === 1);
    expect(pipe.responses[0].leaderAddress).toBe('10.0.0.1:7');
    const [member] = fixture.node.state.members;
    fixture.node.state.members = [{ ...member, address: '10.0.0.2:7' }];
    await until(() => pipe.responses.length === 2);
    expect(pipe.responses[1].leaderAddress).toBe('10.0.0.2:7');
    fixture.node.state.members = [{ ...member, isLeader: false }];
    await until(() => pipe.responses.length === 3);
    expect(pipe.responses[2].leaderAddress).toBe('');
    pipe.stream.cancel();
  });

  test('pipeline() is read no further while too many calls wait', async () => {
    fixture = await ServerFixture.start({ pipelineCallsMax: 10 });
    const { promise, resolve } = Promise.withResolvers<void>();
    fixture.node.gate = promise;
    const pipe = new Stream();
    await until(() => pipe.responses.length === 1);
    // Far more than what the stream's buffers on both sides hold.
    for (let i = 0; i < 500; i++) pipe.send(...Array.from({ length: 10 }, (_, k) => set(i * 10 + k + 1)));
    await until(() => fixture.node.executed.length >= 10);
    await new Promise((done) => setTimeout(done, 50));
    expect(fixture.node.executed.length).toBeLessThan(1000);
    resolve();
    fixture.node.gate = null;
    await pipe.answered(5000);
    pipe.stream.cancel();
  });

  test('pipeline() answers what it has taken before it ends', async () => {
    fixture = await ServerFixture.start();
    const { promise, resolve } = Promise.withResolvers<void>();
    fixture.node.gate = promise;
    const pipe = new Stream();
    pipe.send(set(1), set(2));
    pipe.stream.end();
    const ended = endOf(pipe.stream);
    await until(() => fixture.node.executed.length === 2);
    resolve();
    expect((await ended).status).toBe(0);
    expect(pipe.answers.map(({ number }) => number)).toEqual([1, 2]);
  });

  test('close() says goodbye on open pipelines and lets their calls finish', async () => {
    fixture = await ServerFixture.start();
    const { promise, resolve } = Promise.withResolvers<void>();
    fixture.node.gate = promise;
    const pipe = new Stream();
    pipe.send(set(1));
    await until(() => fixture.node.executed.length === 1);
    const ended = endOf(pipe.stream);
    const closed = fixture.server.close(5000);
    await until(() => pipe.responses.some(({ isLeaving }) => isLeaving));
    resolve();
    expect((await ended).status).toBe(0);
    expect(pipe.answers).toHaveLength(1);
    fixture.client.close();
    await closed;
  });

  test('close() cuts calls that do not finish', async () => {
    fixture = await ServerFixture.start();
    fixture.node.gate = new Promise(() => undefined);
    const pipe = new Stream();
    pipe.send(set(1));
    await until(() => fixture.node.executed.length === 1);
    const ended = once(pipe.stream, 'error');
    await fixture.server.close(20);
    await ended;
  });
});
