/** Reads what another thread commits: every answer is the applied index and the value of the key "a". */
import { parentPort, workerData } from 'node:worker_threads';
import { PlacementReader } from '../../../../src/raft/placement/placement-reader.ts';

const reader = PlacementReader.open({ path: workerData as string });
parentPort!.on('message', (word: string) => {
  if (word === 'stop') {
    reader.close();
    parentPort!.close();
    return;
  }
  const index = reader.appliedIndex();
  const shape = { limit: 0, isReverse: false, keysOnly: false, countOnly: false } as const;
  const result = reader.query({
    type: 'range',
    key: Buffer.from('a'),
    end: null,
    ...shape,
    consistency: 'serializable',
  });
  const value = result.type === 'range' ? result.items.map((item) => Buffer.from(item.value).toString()).join() : '';
  parentPort!.postMessage({ index, value });
});
