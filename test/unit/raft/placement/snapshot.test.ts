import { describe, expect, it } from 'vitest';
import type { SnapshotPosition } from '../../../../src/raft/consensus/types.ts';
import { SnapshotError } from '../../../../src/raft/placement/errors.ts';
import { limits, snapshotChunkBytes } from '../../../../src/raft/placement/limits.ts';
import { SnapshotParser } from '../../../../src/raft/placement/snapshot-format.ts';
import {
  bytes,
  PlacementMachine,
  remove,
  requestId,
  set,
  textOf,
  transaction,
} from '../../../support/placement-machine.ts';

const founder = { replica: 11, name: 'first', address: 'host:1' };

/** A machine with some of everything: keys, leases, nodes, topics, request ids, compacted revisions. */
function filled(): PlacementMachine {
  const machine = new PlacementMachine();
  machine.run({ type: 'bootstrap', clusterId: 'the cluster', member: founder });
  machine.run({ type: 'lease-grant', lease: 5, ttlMs: 1_000 });
  machine.run({ type: 'node-register', node: 'n1', addresses: [], roles: [], rack: '', ttlMs: 1_000 });
  machine.run({ type: 'topic-create', tenant: 't', topic: 'p', partitions: 3, replicationFactor: 1 });
  for (let index = 0; index < 700; index++) machine.write(set(`key ${index}`, 'v'.repeat(index)));
  machine.write(set('leased', 'x', { lease: 5 }));
  machine.write(set('large', 'y'.repeat(700_000)));
  machine.run(transaction(set('once', '1')), requestId(9));
  machine.flush();
  return machine;
}

function chunksOf(machine: PlacementMachine): { chunks: Uint8Array[]; position: SnapshotPosition } {
  const source = machine.state.openSnapshot();
  const chunks: Uint8Array[] = [];
  for (let chunk = source.next(); chunk !== null; chunk = source.next()) chunks.push(chunk);
  source.close();
  return { chunks, position: source.position };
}

/** Writes the chunks and finishes; answers the error. */
function install(machine: PlacementMachine, position: SnapshotPosition, chunks: readonly Uint8Array[]): Error | null {
  const sink = machine.state.beginInstall(position);
  for (const chunk of chunks) {
    sink.write(chunk);
    machine.finishCommit();
  }
  let outcome: Error | null | undefined;
  sink.finish((error) => {
    outcome = error;
  });
  while (machine.finishCommit());
  if (outcome === undefined) throw new Error('finish() did not call back');
  return outcome;
}

describe('snapshots', () => {
  it('a snapshot that is installed makes the same state, also after a crash', () => {
    const origin = filled();
    const { chunks, position } = chunksOf(origin);
    expect(position).toEqual(origin.state.position);
    const target = new PlacementMachine();
    expect(install(target, position, chunks)).toBeNull();
    expect(target.state.digest()).toBe(origin.state.digest());
    expect([target.state.durableIndex, target.state.clusterId]).toEqual([position.index, 'the cluster']);
    expect(target.state.members).toEqual(origin.state.members);
    target.crash();
    expect(target.state.digest()).toBe(origin.state.digest());
    // What follows from the rows in memory is there too.
    expect(target.run(transaction(set('once', '2')), requestId(9))).toMatchObject({ wasRepeated: true });
    expect(
      target.run({ type: 'topic-create', tenant: 't', topic: 'q', partitions: 1, replicationFactor: 1 }),
    ).toMatchObject({
      type: 'topic',
    });
  });

  it('next() makes chunks of at most 256 KiB', () => {
    const origin = filled();
    const { chunks } = chunksOf(origin);
    expect(chunks.length).toBeGreaterThan(4);
    expect(chunks.every(({ length }) => length <= snapshotChunkBytes)).toBe(true);
    const parser = new SnapshotParser(() => undefined);
    for (const chunk of chunks) parser.push(chunk);
    expect(parser.isComplete).toBe(true);
    expect(parser.root).toMatchObject({ clusterId: 'the cluster', index: origin.state.appliedIndex });
  });

  it('a source is unmoved by what is applied and committed while it is read', () => {
    const origin = filled();
    const digest = origin.state.digest();
    const source = origin.state.openSnapshot();
    const chunks: Uint8Array[] = [];
    for (let chunk = source.next(); chunk !== null; chunk = source.next()) {
      chunks.push(chunk);
      origin.write(set(`key ${chunks.length}`, 'changed'), set(`new ${chunks.length}`, ''));
      origin.flush();
    }
    source.close();
    source.close();
    expect(origin.store.viewCount()).toBe(0);
    const target = new PlacementMachine();
    expect(install(target, source.position, chunks)).toBeNull();
    expect(target.state.digest()).toBe(digest);
  });

  it('a snapshot has what is committed to the store, and its position says so', () => {
    const origin = filled();
    const digest = origin.state.digest();
    const { index } = origin.state.position;
    origin.write(set('later', '1'));
    const { chunks, position } = chunksOf(origin);
    expect(position.index).toBe(index);
    const target = new PlacementMachine();
    install(target, position, chunks);
    expect(target.state.digest()).toBe(digest);
    for (const entry of origin.log.slice(index)) target.state.apply(entry);
    expect(target.state.digest()).toBe(origin.state.digest());
  });

  it('requests that changed nothing are remembered in the state that was installed', () => {
    const origin = filled();
    const absent = transaction(remove('absent'));
    const first = origin.run(absent, requestId(11));
    origin.flush();
    const { chunks, position } = chunksOf(origin);
    const target = new PlacementMachine();
    install(target, position, chunks);
    target.write(set('absent', '1'));
    expect(target.run(absent, requestId(11))).toEqual({ ...first, wasRepeated: true });
    expect(target.items('absent')).toHaveLength(1);
  });

  it('next() takes few rows for a chunk, however small they are, and no more bytes than a chunk has', () => {
    const origin = new PlacementMachine();
    for (let index = 0; index < 3_000; index++) origin.write(set(`k${index}`, ''));
    for (let index = 0; index < 4; index++) origin.write(set(`large${index}`, 'x'.repeat(600_000)));
    origin.flush();
    const digest = origin.state.digest();
    const { chunks, position } = chunksOf(origin);
    const sizes = chunks.map(({ length }) => length);
    expect(Math.max(...sizes)).toBe(snapshotChunkBytes);
    expect(sizes.filter((size) => size < 50_000).length).toBeGreaterThan(6_000 / 500);
    const target = new PlacementMachine();
    install(target, position, chunks);
    expect(target.state.digest()).toBe(digest);
  });

  it('compacted revisions are no part of it, although they are still in the store', () => {
    const origin = new PlacementMachine();
    for (let index = 0; index < limits.revisionsKept + 5_000; index++) origin.write(set('a', `${index}`));
    origin.flush();
    origin.run({ type: 'compact', revision: 5_000 });
    origin.flush();
    const { chunks, position } = chunksOf(origin);
    const target = new PlacementMachine();
    install(target, position, chunks);
    expect(target.state.digest()).toBe(origin.state.digest());
    // Root, one key, the compaction as a request, and the revisions that are kept.
    expect(target.store.count(Buffer.from([0]), null)).toBe(limits.revisionsKept + 3);
  });

  it('an installation replaces the state that was there, whose rows go little by little', () => {
    const origin = filled();
    const { chunks, position } = chunksOf(origin);
    const target = new PlacementMachine();
    for (let index = 0; index < 300; index++) target.write(set(`old ${index}`, 'x'));
    target.flush();
    expect(install(target, position, chunks)).toBeNull();
    expect(target.items('old', 'olf')).toEqual([]);
    expect(target.state.digest()).toBe(origin.state.digest());
    target.write(set('more', ''));
    origin.write(set('more', ''));
    target.flush();
    target.flush();
    origin.flush();
    expect(target.state.digest()).toBe(origin.state.digest());
    expect(target.store.count(Buffer.from([0]), null)).toBe(origin.store.count(Buffer.from([0]), null));
    // And again, into the half that is free now.
    const again = chunksOf(origin);
    target.crash();
    expect(install(target, again.position, again.chunks)).toBeNull();
  });

  it('write() refuses damaged, missing, repeated and foreign chunks, and nothing changes', () => {
    const origin = filled();
    const { chunks, position } = chunksOf(origin);
    const damage = (chunk: Uint8Array, place: number) => {
      const copy = Uint8Array.from(chunk);
      copy[place] ^= 4;
      return copy;
    };
    const other = chunksOf(filled());
    const elsewhere = { ...position, index: position.index + 1 };
    const wrong: readonly (readonly [string, SnapshotPosition, readonly Uint8Array[]])[] = [
      ['no header', position, chunks.slice(1)],
      ['damaged', position, [chunks[0], damage(chunks[1], 5_000)]],
      ['damaged head', position, [damage(chunks[0], 20)]],
      ['cut', position, [chunks[0], chunks[1].subarray(0, -1)]],
      ['two headers', position, [chunks[0], chunks[0]]],
      ['after the end', position, [...chunks, chunks.at(-1)!]],
      ['other position', elsewhere, chunks],
      ['a chunk left out', position, [...chunks.slice(0, 2), ...chunks.slice(3)]],
      ['a chunk twice', position, [...chunks.slice(0, 2), ...chunks.slice(1)]],
      ['chunks exchanged', position, [chunks[0], chunks[2], chunks[1], ...chunks.slice(3)]],
      ['another stream', position, [...chunks.slice(0, -1), damage(other.chunks.at(-1)!, 15)]],
    ];
    for (const [what, place, stream] of wrong) {
      const target = new PlacementMachine();
      target.write(set('mine', '1'));
      target.flush();
      expect(() => install(target, place, stream), what).toThrow(SnapshotError);
      expect(target.items('\x01', '')).toEqual(['mine=1@1/1/1']);
    }
  });

  it('finish() fails when chunks are missing, and nothing changes', () => {
    const origin = filled();
    const { chunks, position } = chunksOf(origin);
    const target = new PlacementMachine();
    target.write(set('mine', '1'));
    expect(install(target, position, chunks.slice(0, -1))).toBeInstanceOf(SnapshotError);
    expect(target.items('\x01', '')).toEqual(['mine=1@1/1/1']);
    target.flush();
    target.flush();
    expect(target.store.count(Buffer.from([2]), Buffer.from([3]))).toBe(0);
  });

  it('finish() keeps a state that is newer', () => {
    const origin = filled();
    const { chunks, position } = chunksOf(origin);
    origin.write(set('later', '1'));
    const digest = origin.state.digest();
    expect(install(origin, position, chunks)).toBeNull();
    expect(origin.state.digest()).toBe(digest);
  });

  it('an installation that a crash broke off is removed, and the next one succeeds', () => {
    const origin = filled();
    const { chunks, position } = chunksOf(origin);
    for (let written = 0; written <= chunks.length; written++) {
      for (const keepPending of [false, true]) {
        const target = new PlacementMachine();
        target.write(set('mine', '1'));
        target.flush();
        const before = target.state.digest();
        const sink = target.state.beginInstall(position);
        for (const chunk of chunks.slice(0, written)) {
          sink.write(chunk);
          target.finishCommit();
        }
        target.crash(keepPending);
        expect(target.state.digest()).toBe(before);
        target.write(set('mine', '2'));
        target.flush();
        target.flush();
        expect(target.store.count(Buffer.from([2]), Buffer.from([3]))).toBe(0);
        expect(install(target, position, chunks)).toBeNull();
        expect(target.state.digest()).toBe(origin.state.digest());
      }
    }
  });

  it('a crash while the switch is under way leaves the old state or the new one, whole', () => {
    const origin = filled();
    const { chunks, position } = chunksOf(origin);
    for (const keepPending of [false, true]) {
      const target = new PlacementMachine();
      target.write(set('mine', '1'));
      target.flush();
      const before = target.state.digest();
      const sink = target.state.beginInstall(position);
      for (const chunk of chunks) sink.write(chunk);
      sink.finish(() => undefined);
      // Everything but the last commit, which puts the new half in force.
      const commits = target.store.commits;
      while (target.store.commits - commits < 100 && target.store.get(Buffer.from([2, 1, 0x6f])) === null) {
        const rows = target.store.count(Buffer.from([2]), Buffer.from([3]));
        target.finishCommit();
        if (rows > 0 && target.store.count(Buffer.from([2]), Buffer.from([3])) === rows) break;
      }
      target.crash(keepPending);
      expect([before, origin.state.digest()]).toContain(target.state.digest());
      expect(install(target, position, chunks)).toBeNull();
      expect(target.state.digest()).toBe(origin.state.digest());
    }
  });

  it('abort() and another beginInstall() end an installation', () => {
    const origin = filled();
    const { chunks, position } = chunksOf(origin);
    const target = new PlacementMachine();
    const first = target.state.beginInstall(position);
    first.write(chunks[0]);
    const second = target.state.beginInstall(position);
    expect(() => first.write(chunks[1])).toThrow(SnapshotError);
    for (const chunk of chunks.slice(0, 3)) second.write(chunk);
    second.abort();
    second.abort();
    expect(install(target, position, chunks)).toBeNull();
    expect(target.state.digest()).toBe(origin.state.digest());
  });

  it('beginInstall() is refused while a complete snapshot is put in place, and nothing of that is harmed', () => {
    const origin = filled();
    const { chunks, position } = chunksOf(origin);
    const target = new PlacementMachine();
    const first = target.state.beginInstall(position);
    for (const chunk of chunks) first.write(chunk);
    let outcome: Error | null | undefined;
    first.finish((error) => {
      outcome = error;
    });
    expect(() => target.state.beginInstall(position)).toThrow(SnapshotError);
    while (target.finishCommit());
    expect(outcome).toBeNull();
    expect(target.state.digest()).toBe(origin.state.digest());
    target.state.beginInstall({ ...position, index: position.index + 1 }).abort();
  });

  it('nothing of an aborted installation is written after it was cleaned up', () => {
    const origin = filled();
    const { chunks, position } = chunksOf(origin);
    const target = new PlacementMachine();
    const sink = target.state.beginInstall(position);
    for (const chunk of chunks) sink.write(chunk);
    sink.abort();
    target.flush();
    while (target.finishCommit());
    expect(target.store.count(Buffer.from([2]), Buffer.from([3]))).toBe(0);
  });

  it('write() asks to wait while the store is behind', () => {
    const origin = new PlacementMachine();
    for (let index = 0; index < 10; index++) origin.write(set(`k${index}`, 'x'.repeat(900_000)));
    origin.flush();
    const { chunks, position } = chunksOf(origin);
    const target = new PlacementMachine();
    const sink = target.state.beginInstall(position);
    let ready = 0;
    let waitedAt = -1;
    chunks.forEach((chunk, index) => {
      sink.write(chunk, (error) => {
        expect(error).toBeNull();
        ready++;
      });
      if (ready <= index && waitedAt === -1) waitedAt = index;
    });
    expect(waitedAt).toBeGreaterThan(10);
    while (target.finishCommit());
    expect(ready).toBe(chunks.length);
  });

  it('flushes go on during an installation', () => {
    const origin = filled();
    const { chunks, position } = chunksOf(origin);
    const target = new PlacementMachine();
    const sink = target.state.beginInstall(position);
    for (const chunk of chunks.slice(0, 3)) sink.write(chunk);
    target.write(set('mine', '1'));
    target.flush();
    expect(target.state.durableIndex).toBe(1);
    for (const chunk of chunks.slice(3)) sink.write(chunk);
    target.write(set('mine', '2'));
    sink.finish((error) => expect(error).toBeNull());
    while (target.finishCommit());
    expect(target.state.digest()).toBe(origin.state.digest());
    expect(target.state.unflushedEntries).toBe(0);
  });

  it('an error of the store fails the installation', () => {
    const origin = filled();
    const { chunks, position } = chunksOf(origin);
    const target = new PlacementMachine();
    target.store.failNextCommit(new Error('disk gone'));
    expect(install(target, position, chunks)).toMatchObject({ message: 'disk gone' });
  });

  it('watchers go on in the state that was installed', () => {
    const origin = new PlacementMachine();
    const target = new PlacementMachine();
    for (const machine of [origin, target]) machine.write(set('a', '1'));
    const events: string[] = [];
    target.state.watch(
      { key: bytes('a'), end: null, fromRevision: 1, withPrevious: false },
      {
        onBatch: (batch) => {
          for (const { item } of batch.events) events.push(textOf(item.value));
        },
        onEnd: ({ code }) => events.push(code),
      },
    );
    target.runDeferred();
    for (const value of ['2', '3']) origin.write(set('a', value));
    origin.flush();
    const { chunks, position } = chunksOf(origin);
    install(target, position, chunks);
    target.runDeferred();
    target.write(set('a', '4'));
    target.runDeferred();
    expect(events).toEqual(['1', '2', '3', '4']);
  });
});
