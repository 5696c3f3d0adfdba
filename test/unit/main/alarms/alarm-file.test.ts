/** Alarms on disk. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Alarm } from '../../../../src/core/ports/alarms.ts';
import { AlarmFile } from '../../../../src/main/alarms/alarm-file.ts';
import { createLogger } from '../../../../src/observability/log.ts';

let folder = '';
let logged: string[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ringmq-alarms-'));
  logged = [];
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function file(): AlarmFile {
  return new AlarmFile(folder, createLogger({ level: 'info', format: 'text', write: (line) => logged.push(line) }));
}

const alarm: Alarm = {
  ...{ name: 'disk-low', subject: 's', message: 'm', value: 1, threshold: 5, unit: 'percent' },
  ...{ activatedAtMs: 100, deactivatedAtMs: 200 },
};

describe('AlarmFile', () => {
  it('read() gives back what write() was given last, with the active ones ended', async () => {
    const one = file();
    one.write([]);
    one.write([alarm]);
    one.write([alarm, { ...alarm, activatedAtMs: 150, deactivatedAtMs: null }]);
    await one.settled();
    expect(readdirSync(folder)).toEqual(['alarms.json']);
    expect(await file().read(1_000)).toEqual([alarm, { ...alarm, activatedAtMs: 150, deactivatedAtMs: 1_000 }]);
    expect(logged).toEqual([]);
  });

  it('read() knows nothing when there is no file', async () => {
    expect(await file().read(0)).toEqual([]);
    expect(logged).toEqual([]);
  });

  it.each(['', '{"version":1', '[]', 'null', '{"version":2,"alarms":[]}', '{"version":1,"alarms":7}'])(
    'read() says so and knows nothing when the file is %j',
    async (text) => {
      writeFileSync(join(folder, 'alarms.json'), text);
      expect(await file().read(0)).toEqual([]);
      expect(logged.join()).toContain('Former alarms cannot be read');
    },
  );

  it('read() leaves out what is no alarm', async () => {
    const wrong = [null, 1, { ...alarm, name: 'other' }, { ...alarm, value: null }, { ...alarm, deactivatedAtMs: 'x' }];
    writeFileSync(join(folder, 'alarms.json'), JSON.stringify({ version: 1, alarms: [...wrong, alarm] }));
    expect(await file().read(0)).toEqual([alarm]);
  });

  it('write() says when it cannot', async () => {
    mkdirSync(join(folder, 'alarms.json')); // A folder stands where the file should.
    const one = file();
    one.write([alarm]);
    await one.settled();
    expect(logged.join()).toContain('Alarms cannot be written');
    one.write([alarm]);
    await one.settled();
    expect(readFileSync(join(folder, 'alarms.json.new'), 'utf8')).toContain('disk-low');
  });
});
