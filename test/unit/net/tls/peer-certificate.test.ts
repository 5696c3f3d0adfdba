import { describe, expect, it } from 'vitest';
import { splitAltNames, unescapeName } from '../../../../src/net/tls/peer-certificate.ts';

describe('unescapeName()', () => {
  it.each([
    ['plain', 'plain'],
    ['a\\, b', 'a, b'],
    ['M\\C3\\BCller', 'Müller'],
    ['\\\\', '\\'],
    ['\\#x\\20', '#x '],
  ])('reads %s', (text, expected) => {
    expect(unescapeName(text)).toBe(expected);
  });
});

describe('splitAltNames()', () => {
  it.each([
    ['', []],
    ['DNS:a.example', ['DNS:a.example']],
    [
      'DNS:a.example, IP Address:127.0.0.1, email:x@y.example, URI:urn:x',
      ['DNS:a.example', 'IP:127.0.0.1', 'email:x@y.example', 'URI:urn:x'],
    ],
    ['IP Address:0:0:0:0:0:0:0:1', ['IP:0:0:0:0:0:0:0:1']],
    ['DNS:"a.example, DNS:admin.example", DNS:b', ['DNS:a.example, DNS:admin.example', 'DNS:b']],
    ['DNS:"quote\\"d"', ['DNS:quote"d']],
  ])('splits %s', (text, expected) => {
    expect(splitAltNames(text)).toEqual(expected);
  });

  it('ends at a bound', () => {
    expect(splitAltNames(Array.from({ length: 500 }, (_, index) => `DNS:${index}`).join(', '))).toHaveLength(64);
  });
});
