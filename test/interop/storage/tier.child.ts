/**
 * A process with a journal and its cold tier, for tests that kill it: appends records of some kilobytes with their number, one round after
 * the other, and prints `<offset>` of each that was acknowledged. Arguments: folder, settings of the object storage as JSON.
 */
import { TierObjects } from '../../../src/storage/s3/tier-objects.ts';
import { batch, stored } from '../../support/stream-batches.ts';
import { numbered, openTiered, tieredSettings } from './tier-bench.ts';

const [folder, settings] = process.argv.slice(2);
const store = openTiered(folder, await TierObjects.open(JSON.parse(settings)));
const names = await store.names();
const partition = names.includes('p') ? await store.open('p') : await store.create('p', tieredSettings);
let next = (await partition.places()).logEndOffset;
for (;;) {
  const round = Array.from({ length: 16 }, (_, at) => stored(partition, batch([numbered(next + at)])));
  next += round.length;
  for (const offset of await Promise.all(round)) process.stdout.write(`${offset}\n`);
  await new Promise((resolve) => setTimeout(resolve, 2));
}
