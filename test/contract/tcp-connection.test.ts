/**
 * The contract of `Connection` over TCP (`src/core/ports/connection.ts`), run over both drivers of `TcpConnector`. Real
 * sockets on 127.0.0.1: bytes in and out in any chunking, back-pressure, and every way in which a connection ends.
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import net, { type Socket } from 'node:net';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  type Driver,
  listener,
  outputBytesMax,
  type Pair,
  pattern,
  Recorder,
  readToEnd,
  TcpFixture,
  turn,
  until,
} from './tcp-fixture.ts';

const drivers: readonly Driver[] = ['handle', 'stream'];

/** Frames of the tests: length (4 bytes), then that many bytes. */
function frame(length: number, seed: number): Buffer {
  const bytes = Buffer.concat([Buffer.alloc(4), pattern(length, seed)]);
  bytes.writeUInt32BE(length);
  return bytes;
}

/** Makes `handler` consume whole frames, at most `framesMax` per call. */
function consumeFrames(handler: Recorder, framesMax = Number.MAX_SAFE_INTEGER): Buffer[] {
  const frames: Buffer[] = [];
  handler.consume = (buffer, start, end) => {
    let position = start;
    for (let count = 0; count < framesMax && end - position >= 4; count++) {
      const length = 4 + buffer.readUInt32BE(position);
      if (position + length > end) break;
      frames.push(Buffer.from(buffer.subarray(position, position + length)));
      position += length;
    }
    return position;
  };
  return frames;
}

/** Writes until the kernel takes no more of this connection. */
async function fill({ connection }: Pair, chunk: Buffer): Promise<number> {
  let written = 0;
  while (connection.outputBytes === 0) {
    connection.write(chunk, 0, chunk.length);
    written += chunk.length;
    await turn();
  }
  return written;
}

async function send(peer: Socket, bytes: Buffer): Promise<void> {
  if (!peer.write(bytes)) await once(peer, 'drain');
}

describe.each(drivers)('a TCP connection with the driver %s', (driver) => {
  let fixture: TcpFixture;

  beforeEach(async () => {
    fixture = await TcpFixture.start(driver);
  });
  afterEach(() => fixture.stop());

  it('uses the driver that was asked for, and says who the peer is', async () => {
    const { connection, peer } = await fixture.connect();
    expect(fixture.connector.driver).toBe(driver);
    expect(connection.remoteAddress).toBe('127.0.0.1');
    expect(connection.remotePort).toBe(peer.localPort);
  });

  describe('input', () => {
    it('arrives contiguous in any chunking, small tails and frames beyond every buffer alike', async () => {
      const sizes = [0, 1, 60, 4_000, 70_000, 65_532, 65_533, 131_072, 300 * 1024, 5, 200_000, 0, 9];
      const sent = sizes.map((size, index) => frame(size, index + 1));
      const bytes = Buffer.concat(sent);
      const pair = await fixture.connect();
      const frames = consumeFrames(pair.handler);
      const cuts = [
        1, 3, 4, 7, 60, 64, 1_000, 4_063, 65_536, 65_537, 70_000, 140_000, 200_001, 300_000, 400_000, 700_000,
      ];
      let from = 0;
      for (const cut of [...cuts, bytes.length]) {
        await send(pair.peer, bytes.subarray(from, cut));
        await turn();
        await turn();
        from = cut;
      }
      await until(() => frames.length === sent.length);
      expect(Buffer.concat(frames).equals(bytes)).toBe(true);
      expect(fixture.counts.received).toBe(bytes.length);
    });

    it('arrives contiguous for random frames and random cuts', async () => {
      const sizes = fc.array(fc.oneof(fc.nat(40), fc.nat(3_000), fc.nat(150_000)), { minLength: 1, maxLength: 12 });
      const cuts = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 8 });
      await fc.assert(
        fc.asyncProperty(sizes, cuts, async (lengths, places) => {
          const bytes = Buffer.concat(lengths.map((length, index) => frame(length, index + 1)));
          const pair = await fixture.connect();
          const frames = consumeFrames(pair.handler);
          let from = 0;
          for (const place of [...places].sort((one, other) => one - other)) {
            const to = Math.floor(place * bytes.length);
            await send(pair.peer, bytes.subarray(from, to));
            await turn();
            from = to;
          }
          await send(pair.peer, bytes.subarray(from));
          await until(() => frames.length === lengths.length);
          expect(Buffer.concat(frames).equals(bytes)).toBe(true);
          pair.connection.destroy('client');
        }),
        { numRuns: 25 },
      );
    });

    it('presents what a handler left over again, together with what came since', async () => {
      const pair = await fixture.connect();
      const presented: string[] = [];
      pair.handler.consume = (buffer, start, end) => {
        presented.push(buffer.toString('latin1', start, end));
        return start + 1;
      };
      pair.peer.write('abc');
      await until(() => presented.length === 1);
      pair.peer.write('d');
      await until(() => presented.length === 2);
      pair.peer.write('e');
      await until(() => presented.length === 3);
      expect(presented).toEqual(['abc', 'bcd', 'cde']);
    });

    it('resumeReading() presents the tail again without new bytes, and not within the call', async () => {
      const sent = Array.from({ length: 40 }, (_, index) => frame(3_000, index));
      const pair = await fixture.connect();
      const frames = consumeFrames(pair.handler, 1);
      const consume = pair.handler.consume;
      pair.handler.consume = (buffer, start, end) => {
        const next = consume(buffer, start, end);
        if (next > start) pair.connection.pauseReading();
        return next;
      };
      await send(pair.peer, Buffer.concat(sent));
      await until(() => frames.length === 1);
      for (let count = 1; count < sent.length; count++) {
        pair.connection.resumeReading();
        expect(frames.length).toBe(count);
        await until(() => frames.length === count + 1);
      }
      expect(Buffer.concat(frames).equals(Buffer.concat(sent))).toBe(true);
    });

    it('pauseReading() stops the input until resumeReading(), also when both come twice', async () => {
      const pair = await fixture.connect();
      pair.connection.pauseReading();
      pair.connection.pauseReading();
      pair.peer.write('held');
      for (let count = 0; count < 20; count++) await turn();
      expect(pair.handler.chunks).toEqual([]);
      pair.connection.resumeReading();
      pair.connection.pauseReading();
      pair.connection.resumeReading();
      pair.connection.resumeReading();
      await until(() => pair.handler.bytes.toString() === 'held');
      pair.peer.write('!');
      await until(() => pair.handler.bytes.toString() === 'held!');
    });

    it('starts paused when the protocol pauses before it answers', async () => {
      fixture.accepted = (handler) => handler.connection.pauseReading();
      const pair = await fixture.connect();
      pair.peer.write('later');
      for (let count = 0; count < 20; count++) await turn();
      expect(pair.handler.chunks).toEqual([]);
      pair.connection.resumeReading();
      await until(() => pair.handler.bytes.toString() === 'later');
    });

    it('keeps apart what many connections have left over', async () => {
      const pairs = await Promise.all(Array.from({ length: 20 }, () => fixture.connect()));
      const all = pairs.map((pair, index) => {
        const bytes = Buffer.concat([frame(100 + index, index + 1), frame(70_000, index + 100), frame(3, index + 200)]);
        return { pair, bytes, frames: consumeFrames(pair.handler) };
      });
      for (let from = 0; from < 80_000; from += 7_777) {
        for (const { pair, bytes } of all) pair.peer.write(bytes.subarray(from, from + 7_777));
        await turn();
      }
      await until(() => all.every(({ frames }) => frames.length === 3));
      for (const { bytes, frames } of all) expect(Buffer.concat(frames).equals(bytes)).toBe(true);
    });
  });

  describe('output', () => {
    it('write() and reserve() leave in one piece at the end of the turn', async () => {
      const pair = await fixture.connect();
      const received: Buffer[] = [];
      pair.peer.on('data', (chunk: Buffer) => received.push(chunk));
      const { connection } = pair;
      connection.write(Buffer.from('xxabcxx'), 2, 5);
      const offset = connection.reserve(3);
      connection.outputBuffer.write('def', offset);
      connection.write(Buffer.from('ghi'), 0, 3);
      connection.write(Buffer.from('nothing'), 3, 3);
      expect(connection.outputBytes).toBe(9);
      expect(fixture.counts.sent).toBe(0);
      await until(() => received.length > 0);
      expect(received.map(String)).toEqual(['abcdefghi']);
      expect(connection.outputBytes).toBe(0);
      expect(fixture.counts.sent).toBe(9);
    });

    it('write() takes shared memory', async () => {
      const pair = await fixture.connect();
      const shared = Buffer.from(new SharedArrayBuffer(100_000));
      pattern(100_000).copy(shared);
      pair.connection.write(shared, 0, 100_000);
      pair.connection.close('client');
      expect((await readToEnd(pair.peer)).equals(pattern(100_000))).toBe(true);
    });

    it('keeps order and content for random mixes of sizes over many connections with slow readers', async () => {
      const size = fc.oneof(
        { weight: 6, arbitrary: fc.integer({ min: 1, max: 100 }) },
        { weight: 4, arbitrary: fc.integer({ min: 100, max: 5_000 }) },
        { weight: 1, arbitrary: fc.integer({ min: 5_000, max: 200 * 1024 }) },
      );
      const step = fc.record({ connection: fc.nat(9), size, reserves: fc.boolean(), endsTurn: fc.nat(9) });
      const met = { full: 0, drained: 0 };
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 50, maxLength: 300 }), fc.nat(1_023), async (steps, slow) => {
          const pairs = await Promise.all(Array.from({ length: 10 }, () => fixture.connect()));
          const sums = pairs.map(() => createHash('sha1'));
          const written = pairs.map(() => 0);
          for (const [index, pair] of pairs.entries()) {
            if (((slow >> index) & 1) === 0) continue;
            const chunk = pattern(200_000, index);
            written[index] = await fill(pair, chunk);
            for (let count = 0; count < written[index] / chunk.length; count++) sums[index].update(chunk);
          }
          const read = pairs.map((pair, index) => ((slow >> index) & 1 ? null : readToEnd(pair.peer)));
          for (const [index, each] of steps.entries()) {
            const { connection } = pairs[each.connection];
            const bytes = pattern(each.size, index);
            if (each.reserves) {
              const offset = connection.reserve(each.size);
              bytes.copy(connection.outputBuffer, offset);
            } else connection.write(bytes, 0, bytes.length);
            sums[each.connection].update(bytes);
            written[each.connection] += each.size;
            if (connection.outputBytes > outputBytesMax) met.full++;
            expect(connection.outputBytes).toBeLessThanOrEqual(written[each.connection]);
            if (each.endsTurn === 0) await turn();
          }
          const bodies = pairs.map((pair, index) => read[index] ?? readToEnd(pair.peer));
          await until(() => pairs.every(({ connection }) => connection.outputBytes === 0));
          for (const pair of pairs) {
            met.drained += pair.handler.drains;
            pair.connection.close('client');
          }
          for (const [index, body] of (await Promise.all(bodies)).entries()) {
            expect(body.length).toBe(written[index]);
            expect(createHash('sha1').update(body).digest('hex')).toBe(sums[index].digest('hex'));
          }
        }),
        { numRuns: 12 },
      );
      // A property that met no full connection has shown nothing.
      expect(met.full).toBeGreaterThan(0);
      expect(met.drained).toBeGreaterThan(0);
    });

    it('keeps the memory of a write that the kernel did not take from everybody else', async () => {
      const slow = await fixture.connect();
      const others = await Promise.all(Array.from({ length: 62 }, () => fixture.connect()));
      const sent: Buffer[] = [];
      const noise = pattern(4_096, 77);
      for (const { peer } of others) peer.resume();
      // A span that grows in place to most of a slab, and others that take more than the rest of it in the same turn.
      const small = (round: number): void => {
        for (let part = 0; part < 50; part++) {
          const bytes = pattern(4_096, round * 50 + part);
          slow.connection.write(bytes, 0, bytes.length);
          sent.push(bytes);
        }
      };
      for (let round = 1; slow.connection.outputBytes === 0; round++) {
        small(round);
        for (const { connection } of others) connection.write(noise, 0, noise.length);
        await turn();
      }
      for (let round = 0; round < 8; round++) {
        for (const { connection } of others) connection.write(noise, 0, noise.length);
        await turn();
      }
      slow.connection.close('client');
      expect((await readToEnd(slow.peer)).equals(Buffer.concat(sent))).toBe(true);
    });

    it('counts output that the kernel does not take, and calls onDrain() when it has', async () => {
      const pair = await fixture.connect();
      const chunk = pattern(50_000);
      let written = await fill(pair, chunk);
      for (let count = 0; count < 10; count++) {
        const before = pair.connection.outputBytes;
        pair.connection.write(chunk, 0, chunk.length);
        expect(pair.connection.outputBytes).toBe(before + chunk.length);
        await turn();
        written += chunk.length;
      }
      expect(pair.connection.outputBytes).toBeGreaterThanOrEqual(10 * chunk.length);
      expect(pair.handler.drains).toBe(0);
      let bytesAtDrain = -1;
      pair.handler.drained = () => {
        if (bytesAtDrain === -1) bytesAtDrain = pair.connection.outputBytes;
      };
      let read = 0;
      pair.peer.on('data', (bytes: Buffer) => {
        read += bytes.length;
      });
      await until(() => read === written);
      expect(pair.connection.outputBytes).toBe(0);
      expect(bytesAtDrain).toBeGreaterThanOrEqual(0);
      expect(bytesAtDrain).toBeLessThanOrEqual(outputBytesMax / 2);
      expect(fixture.counts.sent).toBe(written);
    });

    it('calls onDrain() also when the kernel takes at once what was more than the limit', async () => {
      const pair = await fixture.connect();
      pair.peer.resume();
      const bytes = pattern(outputBytesMax * 2);
      pair.connection.write(bytes, 0, bytes.length);
      expect(pair.connection.outputBytes).toBeGreaterThan(outputBytesMax);
      expect(pair.handler.drains).toBe(0);
      await until(() => pair.handler.drains > 0);
      expect(pair.connection.outputBytes).toBe(0);
    });

    it('a handler may write in onDrain() and onData()', async () => {
      const pair = await fixture.connect();
      const chunk = pattern(60_000);
      let written = await fill(pair, chunk);
      for (let count = 0; count < 2; count++) pair.connection.write(chunk, 0, chunk.length);
      written += 2 * chunk.length;
      let writes = 0;
      pair.handler.drained = () => {
        if (writes++ === 5) return;
        const more = pattern(outputBytesMax * 2);
        pair.connection.write(more, 0, more.length);
        written += more.length;
      };
      const body = readToEnd(pair.peer);
      await until(() => writes === 6 && pair.connection.outputBytes === 0);
      pair.handler.consume = (buffer, start, end) => {
        pair.connection.write(buffer, start, end);
        pair.connection.close('client');
        return end;
      };
      pair.peer.write('last');
      const all = await body;
      expect(all.length).toBe(written + 4);
      expect(all.toString('latin1', written)).toBe('last');
    });

    it('bounds the memory that it keeps for later', async () => {
      const { memory } = fixture.connector.turn;
      const pools = memory as unknown as { freeChunks: Buffer[]; freeSlabs: Buffer[]; usedSlabs: Buffer[] };
      const pairs = await Promise.all(Array.from({ length: 30 }, () => fixture.connect()));
      const bytes = pattern(40_000);
      for (const { peer } of pairs) peer.resume();
      for (let round = 0; round < 10; round++) {
        for (const { connection } of pairs) {
          connection.write(bytes, 0, 3_000);
          connection.write(bytes, 0, bytes.length);
          connection.write(bytes, 0, bytes.length);
        }
        await turn();
      }
      await until(() => pairs.every(({ connection }) => connection.outputBytes === 0));
      expect(pools.freeChunks.length).toBeGreaterThan(0);
      expect(pools.freeChunks.length).toBeLessThanOrEqual(60);
      expect(new Set(pools.freeChunks).size).toBe(pools.freeChunks.length);
      expect(pools.freeSlabs.length).toBeLessThanOrEqual(4);
      expect(new Set([...pools.freeSlabs, memory.slab]).size).toBe(pools.freeSlabs.length + 1);
      expect(pools.usedSlabs).toEqual([]);
    });
  });

  describe('end', () => {
    it('close() calls onClose() once and within the call, whatever follows', async () => {
      const pair = await fixture.connect();
      await fill(pair, pattern(100_000));
      pair.connection.close('administrator');
      expect(pair.connection.closed).toBe(true);
      expect(pair.handler.closes).toEqual(['administrator']);
      pair.connection.close('client');
      pair.connection.destroy('shutdown');
      expect(pair.handler.closes).toEqual(['administrator']);
    });

    it('close() delivers everything to a reader that comes late', async () => {
      const pair = await fixture.connect();
      const chunk = pattern(100_000);
      const written = await fill(pair, chunk);
      pair.connection.write(chunk, 0, 1_000);
      pair.connection.close('administrator');
      for (let count = 0; count < 10; count++) await turn();
      const body = await readToEnd(pair.peer);
      expect(body.length).toBe(written + 1_000);
      expect(body.subarray(written).equals(chunk.subarray(0, 1_000))).toBe(true);
      pair.peer.end();
      await once(pair.peer, 'close');
    });

    it('close() with unread input does not reset the stream', async () => {
      const pair = await fixture.connect();
      pair.connection.pauseReading();
      await send(pair.peer, pattern(200_000));
      for (let count = 0; count < 10; count++) await turn();
      const errors: Error[] = [];
      pair.peer.on('error', (error) => errors.push(error));
      pair.connection.write(Buffer.from('goodbye'), 0, 7);
      pair.connection.close('refused');
      expect((await readToEnd(pair.peer)).toString()).toBe('goodbye');
      await send(pair.peer, pattern(200_000));
      pair.peer.end();
      await once(pair.peer, 'close');
      expect(errors).toEqual([]);
      expect(pair.handler.chunks).toEqual([]);
    });

    it('close() in onData() ends the input there', async () => {
      const pair = await fixture.connect();
      let calls = 0;
      pair.handler.consume = (_buffer, start) => {
        calls++;
        pair.connection.close('protocol-error');
        return start;
      };
      pair.peer.write('one');
      await readToEnd(pair.peer);
      pair.peer.write('two');
      await turn();
      expect(calls).toBe(1);
      expect(pair.handler.closes).toEqual(['protocol-error']);
    });

    it('close() before the protocol has answered reaches its handler once', async () => {
      fixture.accepted = (handler) => {
        handler.connection.write(Buffer.from('no'), 0, 2);
        handler.connection.close('limit');
      };
      const pair = await fixture.connect();
      expect((await readToEnd(pair.peer)).toString()).toBe('no');
      expect(pair.handler.closes).toEqual(['limit']);
      expect(fixture.connector.connectionCount).toBe(0);
    });

    it('destroy() drops what is queued', async () => {
      const pair = await fixture.connect();
      const chunk = pattern(100_000);
      await fill(pair, chunk);
      for (let count = 0; count < 30; count++) pair.connection.write(chunk, 0, chunk.length);
      pair.connection.destroy('slow-consumer');
      expect(pair.handler.closes).toEqual(['slow-consumer']);
      expect(pair.connection.closed).toBe(true);
      pair.peer.resume();
      pair.peer.on('end', () => pair.peer.end());
      await once(pair.peer, 'close');
      expect(pair.handler.closes).toEqual(['slow-consumer']);
      expect(fixture.connector.connectionCount).toBe(0);
    });

    it('write() after the end is ignored', async () => {
      const pair = await fixture.connect();
      pair.connection.write(Buffer.from('seen'), 0, 4);
      pair.connection.close('client');
      pair.connection.write(Buffer.from('not seen'), 0, 8);
      expect((await readToEnd(pair.peer)).toString()).toBe('seen');
    });

    it('a peer that resets is told apart from one that ends', async () => {
      const reset = await fixture.connect();
      const ended = await fixture.connect();
      reset.peer.resetAndDestroy();
      ended.peer.end();
      await until(() => reset.handler.closes.length + ended.handler.closes.length === 2);
      expect(reset.handler.closes).toEqual(['network-error']);
      expect(ended.handler.closes).toEqual(['client']);
      expect(fixture.counts.closed).toEqual(
        new Map([
          ['network-error', 1],
          ['client', 1],
        ]),
      );
    });

    it('a peer that ends its half gets what is queued, then the other half ends', async () => {
      const pair = await fixture.connect();
      pair.handler.consume = (_buffer, _start, end) => {
        pair.connection.write(Buffer.from('answer'), 0, 6);
        return end;
      };
      pair.peer.end('question');
      expect((await readToEnd(pair.peer)).toString()).toBe('answer');
      expect(pair.handler.closes).toEqual(['client']);
    });

    it('a stream found broken while writing is reported in a later turn, once', async () => {
      const pair = await fixture.connect();
      pair.connection.pauseReading(); // So that only a write finds out.
      pair.peer.resetAndDestroy();
      await turn();
      await turn();
      const chunk = pattern(70_000);
      // The public interface of a stream can know by itself.
      const known = pair.handler.closes.length;
      for (let count = 0; count < 5 && !pair.connection.closed; count++) {
        pair.connection.write(chunk, 0, chunk.length);
        pair.connection.reserve(5_000);
        expect(pair.handler.closes.length).toBe(known);
      }
      if (driver === 'handle') expect(known).toBe(0);
      await until(() => pair.handler.closes.length > 0);
      for (let count = 0; count < 5; count++) await turn();
      expect(pair.handler.closes).toEqual(['network-error']);
      expect(fixture.connector.connectionCount).toBe(0);
    });

    it('a reader that stops for good does not hold a closed connection for ever', async () => {
      const handles = (): number => process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length;
      const pair = await fixture.connect();
      await fill(pair, pattern(100_000));
      const before = handles();
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
      try {
        pair.connection.close('keep-alive');
        await turn();
        expect(handles()).toBe(before);
        vi.advanceTimersByTime(60_000);
        for (let count = 0; count < 5; count++) await turn();
        expect(handles()).toBe(before - 1);
      } finally {
        vi.useRealTimers();
      }
    });

    it('a peer that does not answer the end does not hold the connection for ever', async () => {
      const handles = (): number => process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length;
      const pair = await fixture.connect();
      const before = handles();
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
      try {
        pair.connection.close('client');
        await readToEnd(pair.peer);
        expect(handles()).toBe(before);
        vi.advanceTimersByTime(60_000);
        for (let count = 0; count < 5; count++) await turn();
        expect(handles()).toBe(before - 1);
      } finally {
        vi.useRealTimers();
      }
    });

    it('a socket that broke before it came here ends', async () => {
      const peer = net.connect(fixture.port, '127.0.0.1');
      await once(peer, 'connect');
      peer.destroy();
      await once(peer, 'close');
      const closes: string[] = [];
      fixture.connector.adopt(peer, listener, (connection) => {
        const handler = new Recorder(connection);
        handler.closed = (reason) => closes.push(reason);
        return handler;
      });
      await until(() => closes.length > 0);
      expect(closes).toEqual(['network-error']);
    });

    it('onClose() is called once, whoever ends the connection and however often', async () => {
      const ways: ((pair: Pair) => void)[] = [
        ({ connection }) => connection.close('client'),
        ({ connection }) => connection.destroy('client'),
        ({ peer }) => peer.end(),
        ({ peer }) => peer.resetAndDestroy(),
        ({ connection }) => connection.write(Buffer.alloc(90_000), 0, 90_000),
      ];
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.nat(ways.length - 1), { minLength: 2, maxLength: 6 }),
          fc.boolean(),
          async (order, inTurns) => {
            const pair = await fixture.connect();
            pair.handler.closed = () => {
              pair.connection.close('shutdown');
              pair.connection.destroy('shutdown');
            };
            for (const way of order) {
              ways[way](pair);
              if (inTurns) await turn();
            }
            pair.connection.destroy('client');
            pair.peer.destroy();
            await turn();
            expect(pair.handler.closes.length).toBe(1);
          },
        ),
        { numRuns: 40 },
      );
      expect(fixture.connector.connectionCount).toBe(0);
      const closed = [...fixture.counts.closed.values()].reduce((sum, count) => sum + count, 0);
      expect(closed).toBe(fixture.counts.opened);
    });

    it('1,000 connections leave nothing behind', async () => {
      const references: WeakRef<Recorder>[] = [];
      for (let batch = 0; batch < 10; batch++) {
        const pairs = await Promise.all(Array.from({ length: 100 }, () => fixture.connect()));
        const bodies = pairs.map(({ peer }) => readToEnd(peer));
        for (const { connection, handler, peer } of pairs) {
          references.push(new WeakRef(handler));
          peer.write('ask');
          handler.consume = (_buffer, _start, end) => {
            connection.write(Buffer.from('answer'), 0, 6);
            connection.close('client');
            return end;
          };
        }
        for (const body of await Promise.all(bodies)) expect(body.toString()).toBe('answer');
        for (const { peer } of pairs) peer.end();
        await Promise.all(pairs.map(({ peer }) => (peer.closed ? undefined : once(peer, 'close'))));
      }
      expect(fixture.connector.connectionCount).toBe(0);
      expect(fixture.counts).toMatchObject({ opened: 1_000, received: 3_000, sent: 6_000 });
      expect(fixture.counts.closed).toEqual(new Map([['client', 1_000]]));
    });
  });
});
