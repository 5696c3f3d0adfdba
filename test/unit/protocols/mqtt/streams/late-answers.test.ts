import { beforeEach, describe, expect, it } from 'vitest';
import { PacketType } from '../../../../../src/protocols/mqtt/codec/frame.ts';
import { ReasonCode } from '../../../../../src/protocols/mqtt/codec/reason-code.ts';
import { type PendingAnswer, PendingAnswers } from '../../../../../src/protocols/mqtt/durable/pending-answers.ts';
import type { ClientState } from '../../../../../src/protocols/mqtt/handlers/client-state.ts';
import { Session } from '../../../../../src/protocols/mqtt/state/session.ts';
import { holdAnswer, release } from '../../../../../src/protocols/mqtt/streams/late-answers.ts';

let written: { type: number; ids: number[]; failures: [number, number][] }[];
let failed: number[];
let session: Session;

function clientOf(level: 3 | 4 | 5): ClientState {
  const write = ({ type, ids, count, failures }: PendingAnswer): void => {
    written.push({ type, ids: [...ids.subarray(0, count)], failures: [...(failures ?? [])] });
  };
  return {
    ...{ level, session, connection: { closed: false }, pendingAnswers: new PendingAnswers(write) },
    host: { settings: { receiveMaximum: 100 }, limits: { exceeded: () => undefined } },
    fail: (reasonCode: number) => failed.push(reasonCode),
  } as unknown as ClientState;
}

const ids = Uint16Array.of(1, 2, 3, 4);

describe('release()', () => {
  beforeEach(() => {
    written = [];
    failed = [];
    session = new Session('c', 10);
  });

  it('answers in the order of the publications, whatever is stored first', () => {
    const client = clientOf(5);
    const first = holdAnswer(client, ids, 2, 1);
    const second = holdAnswer(client, ids.subarray(2), 1, 1);
    release(client, session, second, 0);
    expect(written).toEqual([]);
    release(client, session, first, ReasonCode.QUOTA_EXCEEDED);
    expect(written).toEqual([
      {
        ...{ type: PacketType.PUBACK, ids: [1, 2] },
        failures: [
          [0, ReasonCode.QUOTA_EXCEEDED],
          [1, ReasonCode.QUOTA_EXCEEDED],
        ],
      },
      { type: PacketType.PUBACK, ids: [3], failures: [] },
    ]);
  });

  it('waits for all that hold an answer back, and tells the first reason', () => {
    const client = clientOf(5);
    const answer = holdAnswer(client, ids, 1, 1);
    answer.holds += 1;
    release(client, session, answer, ReasonCode.UNSPECIFIED_ERROR);
    expect(written).toEqual([]);
    release(client, session, answer, ReasonCode.QUOTA_EXCEEDED);
    expect(written[0]?.failures).toEqual([[0, ReasonCode.UNSPECIFIED_ERROR]]);
  });

  it('ends the connection of an MQTT 3 client without an answer when it may come again', () => {
    const client = clientOf(4);
    release(client, session, holdAnswer(client, ids, 1, 1), ReasonCode.UNSPECIFIED_ERROR);
    expect([written, failed]).toEqual([[], [ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR]]);
  });

  it('acknowledges to an MQTT 3 client what would be refused again', () => {
    const client = clientOf(4);
    release(client, session, holdAnswer(client, ids, 1, 1), ReasonCode.TOPIC_NAME_INVALID);
    expect(written).toEqual([{ type: PacketType.PUBACK, ids: [1], failures: [] }]);
  });

  it('remembers a QoS 2 identifier until it fails, also when the client has gone meanwhile', () => {
    const client = clientOf(5);
    const answer = holdAnswer(client, ids, 2, 2);
    expect(session.receivedIds.has(1)).toBe(true);
    Object.assign(client, { session: null, connection: { closed: true } });
    release(client, session, answer, ReasonCode.UNSPECIFIED_ERROR);
    expect([session.receivedIds.has(1), written]).toEqual([false, []]);
  });

  it('forgets the receipts of a stored session before it tells that a copy failed', () => {
    const client = clientOf(5);
    const stored: (() => void)[] = [];
    const forget = (_id: number, done: () => void): boolean => stored.push(done) > 0;
    Object.assign(session, { online: { release: forget, receiptCount: 0 } });
    const answer = holdAnswer(client, ids, 2, 2);
    release(client, session, answer, ReasonCode.UNSPECIFIED_ERROR);
    stored[0]?.();
    expect(written).toEqual([]);
    stored[1]?.();
    expect(written).toHaveLength(1);
  });
});
