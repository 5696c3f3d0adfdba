import type { IPublishPacket } from 'mqtt';
import { describe, expect, test } from 'vitest';
import { compileFormat, formatPlain } from '../../../../src/cli/client/format.ts';
import { UsageError } from '../../../../src/cli/exit-codes.ts';

const at = new Date(2026, 10, 21, 9, 8, 7, 65);

function packet(changes: Partial<IPublishPacket> = {}): IPublishPacket {
  return {
    cmd: 'publish',
    topic: 'a/b',
    payload: Buffer.from('hi\xff', 'latin1'),
    qos: 1,
    dup: false,
    retain: true,
    messageId: 7,
    ...changes,
  };
}

function format(text: string, changes: Partial<IPublishPacket> = {}): string {
  return compileFormat(text, '', false)(packet(changes), at).toString('latin1');
}

describe('compileFormat()', () => {
  test('compileFormat() prints the parts of a message', () => {
    expect(format('%t|%q|%r|%l|%m|%x|%X|%%')).toBe('a/b|1|1|3|7|6869ff|6869FF|%');
  });

  test('compileFormat() leaves payload bytes as they are', () => {
    expect(format('<%p>')).toBe('<hi\xff>');
  });

  test('compileFormat() pads and cuts', () => {
    expect(format('%5t|%-5t|%.1t|%03m')).toBe('  a/b|a/b  |a|007');
  });

  test('compileFormat() prints times and escapes', () => {
    expect(format('@Y-@m-@d @H:@M:@S.@N@@\\t\\\\')).toBe('2026-11-21 09:08:07.065000000@\t\\');
    expect(format('%I')).toMatch(/^2026-11-21T09:08:07[+-]\d{4}$/);
    expect(format('%U')).toBe(`${Math.floor(at.getTime() / 1000)}.065000000`);
  });

  test('compileFormat() prints JSON with MQTT 5 properties', () => {
    const properties = {
      contentType: 'text/plain',
      correlationData: Buffer.from('id'),
      userProperties: { k: ['1', '2'] },
    };
    const message = JSON.parse(format('%j', { payload: Buffer.from('hi'), properties })) as Record<string, unknown>;
    expect(message).toMatchObject({ topic: 'a/b', qos: 1, retain: 1, payloadlen: 2, mid: 7, payload: 'hi' });
    expect(message.properties).toEqual({
      'content-type': 'text/plain',
      'correlation-data': '6964',
      'user-properties': [{ k: '1' }, { k: '2' }],
    });
    expect(format('%P', { properties })).toBe('k:1 k:2');
  });

  test('compileFormat() puts a JSON payload into %J unquoted', () => {
    const message = JSON.parse(format('%J', { payload: Buffer.from('{"t":27}') })) as Record<string, unknown>;
    expect(message.payload).toEqual({ t: 27 });
  });

  test('compileFormat() throws for what it does not know', () => {
    for (const text of ['%k', '@k', '\\k', 'x%']) expect(() => compileFormat(text, '', false)).toThrow(UsageError);
  });
});

describe('formatPlain()', () => {
  test('formatPlain() prints the payload, or topic and payload', () => {
    expect(formatPlain(false, '')(packet(), at).toString('latin1')).toBe('hi\xff');
    expect(formatPlain(true, '\n')(packet({ payload: Buffer.from('x') }), at).toString()).toBe('a/b x\n');
    expect(formatPlain(true, '\n')(packet({ payload: Buffer.alloc(0) }), at).toString()).toBe('a/b (null)\n');
  });
});
