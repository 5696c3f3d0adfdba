/** Commits until it fails, and says how; run with a limit on the size of files. Argument: the folder. */
import { openLmdbStore } from '../../../../src/raft/placement/lmdb-store.ts';

process.on('unhandledRejection', (reason) => {
  console.log(`unhandled ${String(reason)}`);
});
const store = openLmdbStore({ path: process.argv[2] });

function commit(number: number): Promise<Error | null> {
  return new Promise((resolve) => {
    store.commit([{ key: Buffer.from([1, number]), value: Buffer.alloc(50_000, number) }], resolve);
  });
}

let good = 0;
while (good < 100 && (await commit(good)) === null) good++;
console.log(`good ${good}`);
console.log(`after ${(await commit(200))?.message}`);
// Late rejections would come within a turn or two.
await new Promise((resolve) => setTimeout(resolve, 50));
console.log(`kept ${store.count(Buffer.from([1]), Buffer.from([2]))}`);
process.exit(0);
