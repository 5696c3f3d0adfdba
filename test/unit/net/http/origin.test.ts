import { describe, expect, it } from 'vitest';
import { originRule } from '../../../../src/net/http/origin.ts';

describe('originRule()', () => {
  it.each([
    ['http://mq.example', 'mq.example', true],
    ['https://mq.example', 'mq.example', true],
    ['https://mq.example', 'mq.example:443', true],
    ['http://mq.example:8083', 'mq.example:8083', true],
    ['http://MQ.example', 'mq.EXAMPLE', true],
    ['http://[::1]:9001', '[::1]:9001', true],
    ['http://mq.example', 'mq.example:8083', false],
    ['http://evil.example', 'mq.example', false],
    ['http://mq.example.evil.example', 'mq.example', false],
    ['null', 'mq.example', false],
    ['file://', 'mq.example', false],
    ['http://mq.example', '', false],
    ['not an origin', 'mq.example', false],
    ['http://mq.example', 'a b', false],
  ])('without a list judges %s at %s as %s', (origin, host, expected) => {
    expect(originRule([])(origin, host)).toBe(expected);
  });

  it('with a list takes these and no other', () => {
    const rule = originRule(['https://console.example']);
    expect(rule('https://CONSOLE.example', 'mq.example')).toBe(true);
    expect(rule('http://console.example', 'mq.example')).toBe(false);
    expect(rule('http://mq.example', 'mq.example')).toBe(false);
  });

  it('with * takes all', () => {
    expect(originRule(['*'])('null', '')).toBe(true);
  });
});
