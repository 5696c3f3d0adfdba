/** A thread that uses the placement centre of another one, as `placement-client.test.ts` tells it. */
import { parentPort, workerData } from 'node:worker_threads';
import { openPlacementClient } from '../../../../src/raft/client/open-client.ts';
import { getOf, setOf, valueIn } from '../replica/local-group.ts';

const { port, stateFolder } = workerData;
const client = openPlacementClient(port, stateFolder);
const limit = { timeoutMs: 5_000 };

parentPort?.once('message', async () => {
  await client.execute(setOf('from-worker', 'value'), { requestId: null, ...limit });
  const linearizable = valueIn(await client.query(getOf('from-worker'), limit));
  let serializable: string | null = null;
  // A little behind: until the next flush.
  while (serializable === null) {
    serializable = valueIn(await client.query(getOf('from-worker', 'serializable'), limit));
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const { revision } = client.status();
  parentPort?.postMessage({ linearizable, serializable, revision });
  client.close();
});
