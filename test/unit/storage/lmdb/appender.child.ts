// Appends to partition `p` of the store in the folder of its argument, and says what became of each append, until it is killed or one fails.
import { openLmdbStore } from '../../../../src/storage/lmdb/lmdb-store.ts';
import { batch, verdict } from '../../../support/stream-batches.ts';

const store = await openLmdbStore(process.argv[2], { mapBytes: 2 ** 28, freeBytesMin: 0, commitTimeoutMs: 20_000 });
const partition = (await store.names()).includes('p') ? await store.open('p') : await store.create('p');
for (let round = 0; ; round += 1) {
  const verdicts = await Promise.all(
    Array.from({ length: 5 }, (_, at) => verdict(partition, batch([`${round}.${at}`.padEnd(2000, '.')]))),
  );
  process.stdout.write(`${verdicts.join('\n')}\n`);
  if (typeof verdicts[0] === 'number') continue;
  const later = await verdict(partition, batch(['later']));
  process.stdout.write(`${later}\n${store.health().state}\n`, () => process.exit(0));
  break;
}
