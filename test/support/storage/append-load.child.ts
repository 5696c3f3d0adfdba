/**
 * A program with a broker inside that appends as fast as it is answered, and says what was acknowledged: a line `ack OFFSET VALUE` each,
 * `code CODE` for a refusal. On SIGTERM it stops the broker under this load and ends with `stopped`. Arguments: data folder, prefix of
 * the values, adapter.
 */
import { startBroker } from '../../../src/main/index.ts';
import { batchOf } from './storage-rig.ts';

const [folder, prefix, adapter = 'journal'] = process.argv.slice(2);
const broker = await startBroker({ http: false, settings: { data: folder, storage: { adapter } } });
const names = await broker.storage.names();
const partition = names.includes('load-0')
  ? await broker.storage.open('load-0')
  : await broker.storage.create('load-0');

let sent = 0;
let isOver = false;

function send(): void {
  if (isOver) return;
  const value = `${prefix}-${sent++}`;
  partition.append(batchOf(value), ({ error, baseOffset }) => {
    if (error?.code === 'STORAGE_CLOSED') isOver = true;
    // The next one only when this line is out: when the reader is slow, a kill takes back no more lines than appends are under way.
    process.stdout.write(error === null ? `ack ${baseOffset} ${value}\n` : `code ${error.code}\n`, send);
  });
}

process.once('SIGTERM', () => {
  void broker.stop().then(() => {
    process.stdout.write('stopped\n', () => process.exit(0));
  });
});
process.stdout.write('ready\n');
for (let index = 0; index < 50; index += 1) send();
