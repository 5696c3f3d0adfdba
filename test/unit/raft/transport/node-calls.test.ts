/** Calls between brokers over a real gRPC server: who may call whom, and what comes back. */
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { afterEach, describe, expect, it } from 'vitest';
import { NodeCallError, NodeCalls } from '../../../../src/main/placement/node-calls.ts';
import { createLogger } from '../../../../src/observability/log.ts';
import type { MainToRaft, RaftToMain } from '../../../../src/raft/messages.ts';
import { NodeCallRelay } from '../../../../src/raft/node/node-call-relay.ts';
import { InboundGuard } from '../../../../src/raft/transport/inbound-guard.ts';
import { type AnswerCall, NodeCaller, nodeCallService } from '../../../../src/raft/transport/node-calls.ts';
import { newTransportCounters } from '../../../../src/raft/transport/peer-ports.ts';

const identity = () => ({ clusterId: 'c', replica: 2, name: 'b' });
const ends: (() => void)[] = [];

afterEach(() => {
  for (const end of ends.splice(0)) end();
});

/** Node `b` of the cluster `c`, with `a` as the other member. Answers where it listens. */
async function serve(answer: AnswerCall, needsCertificate = false): Promise<string> {
  const logger = createLogger({ level: 'error', format: 'json', write: () => undefined });
  const guard = new InboundGuard({ identity, needsCertificate, counters: newTransportCounters(), logger });
  const service = nodeCallService({ guard, identity, isMember: (name) => name === 'a', answer });
  const server = new Server({ 'grpc.max_receive_message_length': 16 * 1024 * 1024 });
  server.addService(service.definition, { ...service.implementation });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  ends.push(() => server.forceShutdown());
  return `127.0.0.1:${port}`;
}

function newCaller(): NodeCaller {
  const caller = new NodeCaller(null);
  ends.push(() => caller.close());
  return caller;
}

const request = { clusterId: 'c', from: 'a', to: 'b', subject: 'echo', body: Buffer.from('x') };

describe('NodeCaller', () => {
  it('call() brings a body of the largest size there, and another one back', async () => {
    const seen: string[] = [];
    const address = await serve(async (from, subject, body) => {
      seen.push(`${from} ${subject} ${body.length}`);
      return Buffer.alloc(15 * 1024 * 1024, 1);
    });
    const body = Buffer.alloc(15 * 1024 * 1024, 2);
    const answer = await newCaller().call(address, { ...request, body }, 5_000);
    expect([answer.length, answer[0]]).toEqual([15 * 1024 * 1024, 1]);
    expect(seen).toEqual([`a echo ${15 * 1024 * 1024}`]);
  });

  it('call() rejects with why there is no answer', async () => {
    const address = await serve(() => Promise.reject(new Error('not today')));
    const caller = newCaller();
    await expect(caller.call(address, request, 5_000)).rejects.toThrow('not today');
    await expect(caller.call(address, { ...request, clusterId: 'd' }, 5_000)).rejects.toThrow('of cluster "d"');
    await expect(caller.call(address, { ...request, to: 'c' }, 5_000)).rejects.toThrow('it is for node "c"');
    await expect(caller.call(address, { ...request, from: 'x' }, 5_000)).rejects.toThrow('node "x" is not in');
    await expect(caller.call('127.0.0.1:1', request, 5_000)).rejects.toThrow('ECONNREFUSED');
    const silent = await serve(() => new Promise(() => undefined));
    await expect(caller.call(silent, request, 50)).rejects.toThrow('Deadline');
  });

  it('call() is refused without a certificate where one is needed, and beyond so many calls', async () => {
    const strict = await serve(async () => Buffer.alloc(0), true);
    const caller = newCaller();
    await expect(caller.call(strict, request, 5_000)).rejects.toThrow('certificate of the cluster');
    const silent = await serve(() => new Promise(() => undefined));
    const calls = Array.from({ length: 129 }, () => caller.call(silent, request, 500).catch(String));
    expect((await Promise.all(calls)).filter((text) => String(text).includes('128 are under way'))).toHaveLength(1);
  });
});

describe('NodeCalls', () => {
  it('reaches the other broker through both relays, and answers its calls', async () => {
    const toMain: RaftToMain[] = [];
    const relay = new NodeCallRelay((message) => void toMain.push(message));
    const toRaft: MainToRaft[] = [];
    const calls = new NodeCalls((message) => void toRaft.push(message));
    await expect(relayed(relay.answer('a', 'echo', Buffer.from('1')))).rejects.toThrow('Nobody here answers');
    calls.serve('echo', async (from, body) => Buffer.from(`${from} ${body}`));
    expect(String(await relayed(relay.answer('a', 'echo', Buffer.from('2'))))).toBe('a 2');

    const answer = calls.call('b', 'echo', Buffer.from('3'), 100);
    const [message] = toRaft.splice(0);
    if (message?.type !== 'node-call') throw new Error('there is a call');
    relay.pass(message, async () => Buffer.from('4'));
    await new Promise((resolve) => setImmediate(resolve));
    for (const each of toMain.splice(0)) if (each.type === 'node-answer') calls.handle(each);
    expect(String(await answer)).toBe('4');

    const cut = calls.call('b', 'echo', Buffer.from('5'), 100);
    calls.close();
    await expect(cut).rejects.toThrow(NodeCallError);
    await expect(calls.call('b', 'echo', Buffer.from('6'), 100)).rejects.toThrow('this node stops');

    /** The main thread's turn. */
    async function relayed(promise: Promise<Uint8Array>): Promise<Uint8Array> {
      for (const each of toMain.splice(0)) if (each.type === 'node-call') calls.handle(each);
      await new Promise((resolve) => setImmediate(resolve));
      for (const each of toRaft.splice(0)) if (each.type === 'node-answer') relay.answered(each);
      return promise;
    }
  });
});
