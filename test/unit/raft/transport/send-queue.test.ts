/** What waits for a slow peer. */
import { describe, expect, it } from 'vitest';
import { type BatchMessage, messageSize } from '../../../../src/raft/transport/message-codec.ts';
import { SendQueue } from '../../../../src/raft/transport/send-queue.ts';

function append(index: number, size: number): BatchMessage {
  const entries = [{ term: 1, index, kind: 0 as const, data: new Uint8Array(size) }];
  return { type: 'append', from: 1, to: 2, term: 1, previousIndex: index - 1, previousTerm: 1, commit: 0, entries };
}

function heartbeat(commit: number): BatchMessage {
  return { type: 'heartbeat', from: 1, to: 2, term: 1, commit, readSequence: 0 };
}

function propose(size: number): BatchMessage {
  return { type: 'propose', from: 1, to: 2, term: 0, entries: [{ kind: 0, data: new Uint8Array(size) }] };
}

describe('SendQueue', () => {
  it('take() gives messages in their order, as many as fit and at least one', () => {
    const queue = new SendQueue(10_000);
    const messages = [append(1, 1000), append(2, 1000), append(3, 1000)];
    for (const message of messages) expect(queue.push(message)).toBe(0);
    const size = messageSize(messages[0]);
    expect(queue.take(size * 2)).toEqual({ messages: messages.slice(0, 2), bytes: size * 2 });
    expect(queue.sizeBytes).toBe(size);
    queue.push(messages[0]);
    expect(queue.take(1).messages).toEqual([messages[2]]);
    expect(queue.take(10_000)).toEqual({ messages: [messages[0]], bytes: size });
    expect(queue.isEmpty).toBe(true);
  });

  it('push() drops all waiting appends when it is full and keeps the rest', () => {
    const queue = new SendQueue(5_000);
    for (const message of [append(1, 2_000), heartbeat(1), append(2, 2_000), heartbeat(2)])
      expect(queue.push(message)).toBe(0);
    const next = append(3, 2_000);
    expect(queue.push(next)).toBe(2);
    expect(queue.take(10_000).messages).toEqual([heartbeat(1), heartbeat(2), next]);
  });

  it('push() drops everything when appends alone do not make room', () => {
    const queue = new SendQueue(5_000);
    for (let i = 0; i < 4; i += 1) queue.push(propose(1_100));
    expect(queue.push(propose(1_100))).toBe(4);
    expect(queue.take(10_000).messages).toHaveLength(1);
  });

  it('push() takes a message that is larger than the queue when it is empty', () => {
    const queue = new SendQueue(1_000);
    expect(queue.push(append(1, 5_000))).toBe(0);
    expect(queue.push(append(2, 5_000))).toBe(1);
    expect(queue.take(1).messages).toHaveLength(1);
    expect(queue.clear()).toBe(0);
  });
});
