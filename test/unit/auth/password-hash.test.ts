/** Hashes of passwords: what is stored, and that nothing else passes. */
import { scryptSync } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { passwordError, userNameError } from '../../../src/auth/account-names.ts';
import { hashKinds, hashPassword, isPasswordHash, verifyPassword } from '../../../src/auth/password-hash.ts';

const password = Buffer.from('correct horse');

/** As cheap as one can be. */
function cheapHash(text: string): string {
  const salt = Buffer.alloc(16, 7);
  const hash = scryptSync(text, salt, 32, { N: 2, r: 1, p: 1 });
  return `$scrypt$ln=1,r=1,p=1$${[salt, hash].map((each) => each.toString('base64').replaceAll('=', '')).join('$')}`;
}

describe('verifyPassword()', () => {
  test.each(hashKinds)('knows the password of a %s hash, and no other', (kind) => {
    const hash = hashPassword(kind, password);
    expect(hash).not.toContain('correct');
    expect(verifyPassword(password, [hash])).toBe(true);
    expect(verifyPassword(Buffer.from('correct hors'), [hash])).toBe(false);
  });

  test.each(['correct horse ', 'Correct horse', 'correct horse\u0000', '\u0000', ''])('is false for %j', (wrong) => {
    expect(verifyPassword(Buffer.from(wrong), [cheapHash('correct horse')])).toBe(false);
  });

  test('takes one of several, and is false without any', () => {
    expect(verifyPassword(password, ['$scram-sha-256$i=4096$a$b$c', cheapHash('x'), cheapHash('correct horse')])).toBe(
      true,
    );
    expect(verifyPassword(password, [])).toBe(false);
  });

  test.each([
    '',
    '$scrypt$',
    '$scrypt$ln=31,r=8,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA',
    '$scrypt$ln=20,r=8,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA',
    '$scrypt$ln=15,r=8,p=1$AAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA',
    '$scrypt$ln=15,r=8,p=1$AAAAAAAAAAAAAAAAAAAAAA$',
    '$argon2id$v=19$m=9999999,t=3,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA',
    'correct horse',
  ])('isPasswordHash() is false for "%s", which would cost too much or says nothing', (verifier) => {
    expect(isPasswordHash(verifier)).toBe(false);
  });
});

describe('names and passwords', () => {
  test.each(['', 'a\u0000', 'a\n', 'e\u0301', '\ud800', 'a\u200bb', '\u202eabc', 'x'.repeat(256)])(
    'userNameError() refuses %j',
    (name) => expect(userNameError(name)).toBeDefined(),
  );
  test.each(['ann', '\u00e9ric', '__proto__', 'a+b#c/d', '日本', 'ann@example.com'])(
    'userNameError() takes %j',
    (name) => expect(userNameError(name)).toBeUndefined(),
  );
  test('passwordError() bounds the length', () => {
    expect(passwordError(Buffer.alloc(7))).toContain('at least 8');
    expect(passwordError(Buffer.alloc(1_025))).toContain('at most 1024');
    expect(passwordError(Buffer.from('12345678'))).toBeUndefined();
    expect(passwordError(Buffer.from('1234567\u0000'))).toContain('no byte 0');
  });
});
