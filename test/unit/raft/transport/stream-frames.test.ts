/** Frames written by hand are those of the generated code, and who may open a stream. */
import { describe, expect, it } from 'vitest';
import {
  type BatchMessage,
  batchSize,
  encodeBatch,
  messageSize,
  protocolVersion,
} from '../../../../src/raft/transport/message-codec.ts';
import {
  encodeBatchFrame,
  encodeHelloFrame,
  helloOf,
  helloProblem,
} from '../../../../src/raft/transport/stream-frames.ts';
import { StreamMessagesRequest } from '../../../../src/rpc/generated/ringmq/raft/v1/peer.ts';

describe('encodeBatchFrame()', () => {
  it.each([0, 50, 51, 52, 100, 16_000, 16_300, 16_400, 3_000_000])(
    'makes the frame of the generated code with %d bytes of data',
    (size) => {
      const entries = [{ kind: 0 as const, data: new Uint8Array(size).fill(7) }];
      const messages: BatchMessage[] = [{ type: 'propose', from: 1, to: 2, term: 0, entries }];
      const messagesSize = messageSize(messages[0]);
      const value = new Uint8Array(batchSize(messagesSize));
      encodeBatch(messages, value, 0, value.length);
      const generated = StreamMessagesRequest.encode({ body: { $case: 'batch', value } }).finish();
      expect(encodeBatchFrame(messages, messagesSize).equals(generated)).toBe(true);
    },
  );
});

describe('helloProblem()', () => {
  const sender = { clusterId: 'c', replica: 1, name: 'a' };
  const receiver = { clusterId: 'c', replica: 2, name: 'b' };

  it('accepts the hello of a member of the same cluster', () => {
    const { body } = StreamMessagesRequest.decode(encodeHelloFrame(helloOf(sender, 2)));
    expect(body).toEqual({ $case: 'hello', value: { clusterId: 'c', fromReplica: 1, toReplica: 2, protocolVersion } });
    expect(body?.$case === 'hello' && helloProblem(body.value, receiver)).toBe(null);
  });

  it.each([
    ['another cluster', { ...sender, clusterId: 'd' }, 2, receiver, 'in cluster "c", not "d"', false],
    ['another replica', sender, 3, receiver, 'replica 2 lives at this address, not 3', false],
    ['no sender', { ...sender, replica: 0 }, 2, receiver, 'calls itself replica 0', false],
    ['itself', { ...sender, replica: 2 }, 2, receiver, 'calls itself replica 2', false],
    ['a node that joins', sender, 2, { ...receiver, clusterId: '' }, 'not part of a cluster yet', true],
  ])('refuses %s', (_name, identity, to, at, text, canRetry) => {
    expect(helloProblem(helloOf(identity, to), at)).toEqual({ text: expect.stringContaining(text), canRetry });
  });

  it('refuses another version before anything else', () => {
    const hello = { ...helloOf(sender, 2), protocolVersion: protocolVersion + 1 };
    expect(helloProblem(hello, receiver)?.text).toContain(
      `speaks version ${protocolVersion}, not ${protocolVersion + 1}`,
    );
  });
});
