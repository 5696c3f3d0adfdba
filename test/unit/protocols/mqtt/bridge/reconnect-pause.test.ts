// Pauses of a bridge between attempts, and the order of its servers.
import { describe, expect, it } from 'vitest';
import { ReconnectPause } from '../../../../../src/protocols/mqtt/bridge/reconnect-pause.ts';
import { formatServerAddress, parseServerAddress } from '../../../../../src/protocols/mqtt/bridge/server-address.ts';

const limits = { reconnectMs: 1_000, reconnectMaxMs: 10_000 };

describe('ReconnectPause', () => {
  it('doubles up to the longest one, and leaves out a random part', () => {
    const most = new ReconnectPause(limits, 1, () => 1);
    expect([1, 2, 3, 4, 5, 6].map(() => most.failed())).toEqual([1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
    const least = new ReconnectPause(limits, 1, () => 0);
    expect([least.failed(), least.failed()]).toEqual([500, 1_000]);
  });

  it('goes through the servers before it pauses, and begins with the first again', () => {
    const pause = new ReconnectPause(limits, 3, () => 1);
    expect([pause.server, pause.failed(), pause.server, pause.failed(), pause.server]).toEqual([0, 50, 1, 50, 2]);
    expect([pause.failed(), pause.server]).toEqual([1_000, 0]);
    pause.failed();
    expect([pause.ended(60_000), pause.server]).toEqual([1_000, 0]);
  });

  it('takes a connection that is thrown out at once for a failure', () => {
    const pause = new ReconnectPause(limits, 1, () => 1);
    expect([pause.ended(10), pause.ended(10), pause.ended(10)]).toEqual([1_000, 2_000, 4_000]);
    expect(pause.ended(20_000)).toBe(1_000);
  });
});

describe('parseServerAddress()', () => {
  it.each([
    ['mqtt://a.example', 'mqtt://a.example:1883'],
    ['mqtts://a.example/', 'mqtts://a.example:8883'],
    ['MQTT://127.0.0.1:1', 'mqtt://127.0.0.1:1'],
    ['mqtt://[::1]:1884', 'mqtt://[::1]:1884'],
  ])('reads %s', (text, expected) => {
    const address = parseServerAddress(text);
    expect(address && formatServerAddress(address)).toBe(expected);
  });

  it.each([
    '',
    'a.example:1883',
    'http://a',
    'mqtt://',
    'mqtt://a:0',
    'mqtt://a:65536',
    'mqtt://u:p@a',
    'mqtt://a/path',
  ])('does not read "%s"', (text) => expect(parseServerAddress(text)).toBeUndefined());
});
