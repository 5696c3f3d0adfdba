/** SCRAM against the example of RFC 7677, section 3, and the keys that a server stores. */
import { expect, test } from 'vitest';
import { deriveScramKeys, findScramKeys } from '../../../src/auth/scram-keys.ts';
import { ScramClient } from '../../support/scram-client.ts';

const serverFirst = 'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096';

test('the client of the tests says what the RFC says', () => {
  const client = new ScramClient('sha256', 'user', 'pencil', 'rOprNGfwEbeRWgbNEkqO');
  expect(client.first).toBe('n,,n=user,r=rOprNGfwEbeRWgbNEkqO');
  const proof = 'dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=';
  expect(client.final(serverFirst)).toBe(`c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=${proof}`);
  expect(client.isServer('v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=')).toBe(true);
});

test('findScramKeys() takes its own kind alone, and no keys that are weak or cut', () => {
  const text = deriveScramKeys('scram-sha-512', Buffer.from('pencil-case'), 4_096) ?? '';
  expect(text).not.toContain('pencil');
  expect(findScramKeys('scram-sha-512', ['$scrypt$x', text])).toMatchObject({ iterations: 4_096 });
  expect(findScramKeys('scram-sha-256', [text])).toBeNull();
  expect(findScramKeys('scram-sha-512', [text.replace('i=4096', 'i=1')])).toBeNull();
  expect(findScramKeys('scram-sha-512', [text.slice(0, -40)])).toBeNull();
});

test('deriveScramKeys() is null for what is no text', () => {
  expect(deriveScramKeys('scram-sha-256', Buffer.from([0xff, 0xfe, 0xfd]))).toBeNull();
});
