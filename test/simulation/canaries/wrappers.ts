/** Bugs that are planted around the system: a disk, a log or a store that does not do what it should. */
import { rootKey } from '../../../src/raft/placement/root-record.ts';
import type { FileSystem, RaftLog, RandomAccessFile, StateStore } from '../../../src/raft/ports.ts';
import type { Later, Mutation } from '../mutation.ts';

function withFiles(files: FileSystem, change: (file: RandomAccessFile) => Partial<RandomAccessFile>): FileSystem {
  return {
    list: () => files.list(),
    open: (name, options) => {
      const file = files.open(name, options);
      return {
        size: () => file.size(),
        read: (target, position) => file.read(target, position),
        write: (source, position) => file.write(source, position),
        truncate: (size) => file.truncate(size),
        sync: (done) => file.sync(done),
        syncNow: () => file.syncNow(),
        close: () => file.close(),
        ...change(file),
      };
    },
    rename: (from, to) => files.rename(from, to),
    remove: (name) => files.remove(name),
    syncFolder: () => files.syncFolder(),
    freeBytes: () => files.freeBytes(),
  };
}

function withLog(log: RaftLog, change: Partial<RaftLog>): RaftLog {
  return {
    initialState: () => log.initialState(),
    firstIndex: () => log.firstIndex(),
    lastIndex: () => log.lastIndex(),
    term: (index) => log.term(index),
    entries: (low, high, bytesMax) => log.entries(low, high, bytesMax),
    snapshotPosition: () => log.snapshotPosition(),
    append: (write, done) => log.append(write, done),
    reset: (position, hardState) => log.reset(position, hardState),
    compact: (position) => log.compact(position),
    sizeBytes: () => log.sizeBytes(),
    close: () => log.close(),
    ...change,
  };
}

function withStore(store: StateStore, change: Partial<StateStore>): StateStore {
  return {
    get: (key) => store.get(key),
    range: (start, end, limit, isReverse) => store.range(start, end, limit, isReverse),
    count: (start, end) => store.count(start, end),
    commit: (batch, done) => store.commit(batch, done),
    openView: () => store.openView(),
    sizeBytes: () => store.sizeBytes(),
    close: () => store.close(),
    ...change,
  };
}

export const wrapperCanaries: readonly Mutation[] = [
  {
    name: 'sync-skipped',
    bug: 'the log says that a write is durable without a sync of the file',
    seedsMax: 10,
    needs: ['power-loss'],
    wrapFileSystem: (files, later: Later) => withFiles(files, () => ({ sync: (done) => later(() => done(null)) })),
  },
  {
    name: 'persisted-before-sync',
    bug: 'the driver is told that a round is durable while its sync is still under way',
    seedsMax: 20,
    needs: ['power-loss', 'slow-sync'],
    wrapLog: (log, later) =>
      withLog(log, {
        append: (write, done) => {
          log.append(write, () => undefined);
          later(() => done(null));
        },
      }),
  },
  {
    name: 'vote-not-stored',
    bug: 'the vote is left out of the hard state, so that a restarted replica votes again in the same term',
    seedsMax: 20,
    needs: ['kill', 'partition'],
    wrapLog: (log) =>
      withLog(log, {
        append: (write, done) => {
          const { hardState } = write;
          log.append({ ...write, hardState: hardState === null ? null : { ...hardState, vote: 0 } }, done);
        },
      }),
  },
  {
    name: 'term-forgotten',
    bug: 'the hard state is never written: a restarted replica begins with the term of its last entry',
    seedsMax: 20,
    needs: ['kill', 'partition'],
    mayStall: true,
    wrapLog: (log) =>
      withLog(log, { append: (write, done) => log.append({ ...write, hardState: null, mustSync: true }, done) }),
  },
  {
    name: 'truncation-skipped',
    bug: 'an append over entries that conflict keeps the stored ones',
    seedsMax: 200,
    needs: ['partition', 'kill'],
    wrapLog: (log) =>
      withLog(log, {
        append: (write, done) => {
          const last = log.lastIndex();
          log.append({ ...write, entries: write.entries.filter(({ index }) => index > last) }, done);
        },
      }),
  },
  {
    name: 'applied-index-apart-from-data',
    bug: 'the store keeps the data of a commit and loses the row with the applied index',
    seedsMax: 20,
    needs: ['kill'],
    wrapStore: (store) => {
      let commits = 0;
      return withStore(store, {
        commit: (batch, done) => {
          const isSpoilt = ++commits % 2 === 0;
          store.commit(isSpoilt ? batch.filter(({ key }) => Buffer.compare(key, rootKey) !== 0) : batch, done);
        },
      });
    },
  },
];
