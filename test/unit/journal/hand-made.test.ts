import { expect, it } from 'vitest';
import { goldenBytes } from './golden.ts';
import { LogFixture } from './journal-fixture.ts';

it('PartitionLog reads files that were made by hand from the description of the format', () => {
  const fixture = new LogFixture();
  for (const [name, golden] of [
    ['00000000000000000005.log', 'segment'],
    ['checkpoint', 'checkpoint'],
  ]) {
    const file = fixture.disk.open(name, { create: true });
    file.write(goldenBytes(golden), 0);
    file.syncNow();
    file.close();
  }
  fixture.disk.syncFolder();
  const log = fixture.open();
  expect([log.logStartOffset, log.logEndOffset, log.leaderEpoch]).toEqual([5, 9, 0]);
  expect(fixture.all(log)).toEqual(['5:one', '6:two', '7:three', '8:four']);
  expect(fixture.events).toEqual([
    { type: 'torn-tail', partition: 'p', file: '00000000000000000005.log', position: 12_517, bytes: 12 },
  ]);
  expect(log.offsetForTime(2001)).toEqual({ offset: 7, timestamp: 2001 });
});
