/** The state on its way to a follower: whole, checked, in bounded memory, and given up cleanly when anything breaks. */
import { afterEach, describe, expect, it } from 'vitest';
import type { Done } from '../../../../src/raft/ports.ts';
import type { SnapshotMessage, SnapshotReceiver, SnapshotSource } from '../../../../src/raft/transport/peer-ports.ts';
import { FaultLink } from '../../../support/fault-proxy.ts';
import { eventually, TestPeer, type TestPeerOptions } from './test-peer.ts';

const stops: (() => unknown)[] = [];

afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

const membership = { voters: [1, 2], outgoing: [1], learners: [3], learnersNext: [2], autoLeave: true };

function snapshotMessage(term = 4): SnapshotMessage {
  return { type: 'snapshot', from: 1, to: 2, term, position: { index: 10, term: 3, membership } };
}

class TestSource implements SnapshotSource {
  readonly position = { index: 12, term: 4, membership };
  readonly chunkBytes: number;
  isClosed = false;
  read = 0;
  private readonly chunks: number;

  constructor(chunks: number, chunkBytes = 1000) {
    this.chunks = chunks;
    this.chunkBytes = chunkBytes;
  }

  next(): Uint8Array | null {
    if (this.read === this.chunks) return null;
    this.read += 1;
    return new Uint8Array(this.chunkBytes).fill(this.read);
  }

  close(): void {
    this.isClosed = true;
  }
}

class TestReceiver implements SnapshotReceiver {
  message: SnapshotMessage | null = null;
  readonly chunks: number[] = [];
  isAborted = false;
  isFinished = false;
  /** Holds back `done` while set. */
  waiting: Done[] | null = null;

  write(chunk: Uint8Array, done: Done): void {
    this.chunks.push(chunk[0]);
    this.answer(done);
  }

  finish(done: Done): void {
    this.isFinished = true;
    this.answer(done);
  }

  abort(): void {
    this.isAborted = true;
  }

  private answer(done: Done): void {
    if (this.waiting === null) setImmediate(() => done(null));
    else this.waiting.push(done);
  }
}

async function start(options: TestPeerOptions): Promise<TestPeer> {
  const peer = await TestPeer.start(options);
  stops.push(() => peer.stop());
  return peer;
}

async function startPair(
  source: SnapshotSource,
  beginInstall: (message: SnapshotMessage) => SnapshotReceiver,
  limits: TestPeerOptions['limits'] = {},
): Promise<[TestPeer, TestPeer, FaultLink]> {
  const a = await start({ replica: 1, openSnapshot: () => source, limits });
  const b = await start({ replica: 2, beginInstall });
  const link = await FaultLink.to({ host: '127.0.0.1', port: b.port });
  stops.push(() => link.close());
  a.addresses.set(2, link.address);
  return [a, b, link];
}

function beginWith(receiver: TestReceiver): (message: SnapshotMessage) => TestReceiver {
  return (message) => {
    receiver.message = message;
    return receiver;
  };
}

function send(peer: TestPeer, message = snapshotMessage()): { readonly results: boolean[] } {
  const results: boolean[] = [];
  peer.transport.sendSnapshot(message, (hasArrived) => results.push(hasArrived));
  return { results };
}

describe('PeerTransport.sendSnapshot()', () => {
  it('brings all chunks in order, with the position of the source, and reports once', async () => {
    const source = new TestSource(50, 10_000);
    const receiver = new TestReceiver();
    const [a, b] = await startPair(source, beginWith(receiver));
    const sent = send(a);
    expect(sent.results).toEqual([]);
    await expect.poll(() => sent.results, eventually).toEqual([true]);
    expect(receiver.message).toEqual({ ...snapshotMessage(), position: source.position });
    expect(receiver.chunks).toEqual(Array.from({ length: 50 }, (_, index) => index + 1));
    expect([receiver.isFinished, receiver.isAborted, source.isClosed]).toEqual([true, false, true]);
    expect([a.counters.snapshotsSent, a.counters.snapshotBytesSent]).toEqual([1, 500_000]);
    expect([b.counters.snapshotsReceived, b.counters.snapshotBytesReceived]).toEqual([1, 500_000]);
  });

  it('brings a state without any chunk', async () => {
    const receiver = new TestReceiver();
    const [a] = await startPair(new TestSource(0), beginWith(receiver));
    const sent = send(a);
    await expect.poll(() => sent.results, eventually).toEqual([true]);
    expect(receiver.isFinished).toBe(true);
  });

  it('is never more than the window ahead of the receiver', async () => {
    const source = new TestSource(40, 256 * 1024);
    const receiver = new TestReceiver();
    receiver.waiting = [];
    const [a] = await startPair(source, beginWith(receiver));
    const sent = send(a);
    await expect.poll(() => receiver.chunks.length, eventually).toBe(1);
    await expect.poll(() => source.read, eventually).toBe(4);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect([source.read, receiver.chunks.length]).toEqual([4, 1]);
    const waiting = receiver.waiting;
    receiver.waiting = null;
    for (const done of waiting) done(null);
    await expect.poll(() => sent.results, eventually).toEqual([true]);
    expect(receiver.chunks).toHaveLength(40);
  });

  it('tells the sender why the receiver does not want it', async () => {
    const source = new TestSource(3);
    const [a, b] = await startPair(source, () => {
      throw new Error('The state here is newer');
    });
    const sent = send(a);
    await expect.poll(() => sent.results, eventually).toEqual([false]);
    expect(source.isClosed).toBe(true);
    expect(a.log).toEqual(['warn Snapshot did not arrive: The state here is newer']);
    expect(b.counters.snapshotsRefused).toBe(1);
  });

  it.each([
    [
      'a chunk is damaged',
      (_done: Done) => {
        throw new Error('Checksum differs');
      },
    ],
    ['a chunk cannot be written', (done: Done) => done(new Error('Checksum differs'))],
  ])('gives up when %s', async (_name, write) => {
    const receiver = new TestReceiver();
    receiver.write = (_chunk, done) => write(done);
    const [a] = await startPair(new TestSource(3), beginWith(receiver));
    const sent = send(a);
    await expect.poll(() => sent.results, eventually).toEqual([false]);
    expect([receiver.isAborted, receiver.isFinished]).toEqual([true, false]);
    expect(a.log[0]).toContain('Checksum differs');
  });

  it('fails when the state cannot be put in place', async () => {
    const receiver = new TestReceiver();
    receiver.finish = (done) => done(new Error('No space is left'));
    const [a] = await startPair(new TestSource(3), beginWith(receiver));
    const sent = send(a);
    await expect.poll(() => sent.results, eventually).toEqual([false]);
    expect(a.log[0]).toContain('No space is left');
  });

  it('reports a source that cannot be read as a fault of this node', async () => {
    const source = new TestSource(3);
    source.next = () => {
      throw new Error('The value of a key is damaged');
    };
    const receiver = new TestReceiver();
    const [a] = await startPair(source, beginWith(receiver));
    const sent = send(a);
    await expect.poll(() => sent.results, eventually).toEqual([false]);
    expect(a.sourceErrors.map((error) => error.message)).toEqual(['The value of a key is damaged']);
    await expect.poll(() => receiver.isAborted, eventually).toBe(true);
    expect(receiver.isFinished).toBe(false);
  });

  it('ends on both sides when the connection breaks in the middle, and works again after it', async () => {
    const source = new TestSource(1_000, 50_000);
    const receivers: TestReceiver[] = [];
    const [a, , link] = await startPair(source, (message) => {
      const receiver = beginWith(new TestReceiver())(message);
      receivers.push(receiver);
      return receiver;
    });
    const sent = send(a);
    await expect.poll(() => receivers.at(0)?.chunks.length ?? 0, eventually).toBeGreaterThan(3);
    link.reset();
    await expect.poll(() => sent.results, eventually).toEqual([false]);
    await expect.poll(() => receivers[0].isAborted, eventually).toBe(true);
    expect(source.isClosed).toBe(true);
    source.read = 990;
    const again = send(a);
    await expect.poll(() => again.results, eventually).toEqual([true]);
    expect(receivers[1].chunks).toHaveLength(10);
  });

  it('fails when the receiver is silent for too long', async () => {
    const receiver = new TestReceiver();
    receiver.waiting = [];
    const [a] = await startPair(new TestSource(3), beginWith(receiver), { snapshotStallMs: 80 });
    const sent = send(a);
    await expect.poll(() => sent.results, eventually).toEqual([false]);
    expect(a.log[0]).toContain('silent for 80 ms');
    await expect.poll(() => receiver.isAborted, eventually).toBe(true);
  });

  it('fails at once without an address, and while one to the same peer is on its way', async () => {
    const receiver = new TestReceiver();
    receiver.waiting = [];
    const [a] = await startPair(new TestSource(3), beginWith(receiver));
    const first = send(a);
    const second = send(a);
    await expect.poll(() => second.results, eventually).toEqual([false]);
    const unknown = send(a, { ...snapshotMessage(), to: 99 });
    await expect.poll(() => unknown.results, eventually).toEqual([false]);
    const newer = send(a, snapshotMessage(5));
    await expect.poll(() => first.results, eventually).toEqual([false]);
    a.transport.close();
    await expect.poll(() => newer.results, eventually).toEqual([false]);
  });

  it('lets a newer stream take the place of the one that is being received', async () => {
    const receivers: TestReceiver[] = [];
    const beginInstall = (message: SnapshotMessage): TestReceiver => {
      const receiver = beginWith(new TestReceiver())(message);
      if (receivers.length === 0) receiver.waiting = [];
      receivers.push(receiver);
      return receiver;
    };
    const [a, b] = await startPair(new TestSource(3), beginInstall);
    const c = await start({ replica: 3, openSnapshot: () => new TestSource(3) });
    c.knows(b);
    const first = send(a);
    await expect.poll(() => receivers.length, eventually).toBe(1);
    const second = send(c, { ...snapshotMessage(5), from: 3 });
    await expect.poll(() => second.results, eventually).toEqual([true]);
    await expect.poll(() => first.results, eventually).toEqual([false]);
    expect(receivers.map((receiver) => receiver.isAborted)).toEqual([true, false]);
  });

  it('is refused by another cluster', async () => {
    const [a, b] = await startPair(new TestSource(3), beginWith(new TestReceiver()));
    b.identity = { ...b.identity, clusterId: 'elsewhere' };
    const sent = send(a);
    await expect.poll(() => sent.results, eventually).toEqual([false]);
    expect(a.log[0]).toContain('in cluster "elsewhere", not "cluster"');
  });
});
