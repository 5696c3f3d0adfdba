import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import {
  type DatabaseKind,
  type DatabaseSettings,
  databaseTarget,
} from '../../../../src/core/settings/database-settings.ts';

const kind: DatabaseKind = { name: 'Some', port: 4711, schemes: ['some', 'other'] };

function settings(changes: Partial<DatabaseSettings> = {}): DatabaseSettings {
  return {
    url: '',
    host: '127.0.0.1',
    port: 4711,
    user: 'ringmq',
    password: '',
    passwordFile: '',
    database: 'ringmq',
    tls: { mode: 'off', ca: '', certificate: '', key: '' },
    connections: 6,
    connectTimeoutMs: 5_000,
    lockTimeoutMs: 5_000,
    allowUnsafe: false,
    ...changes,
  };
}

function messageOf(changes: Partial<DatabaseSettings>): string {
  try {
    databaseTarget(kind, settings(changes));
    return 'none';
  } catch (error) {
    return (error as Error).message;
  }
}

describe('databaseTarget()', () => {
  it('takes the single settings when there is no URL', async () => {
    const target = databaseTarget(kind, settings({ host: 'db', port: 1, user: 'me', password: 'x', database: 'd' }));
    expect(target).toMatchObject({ host: 'db', port: 1, user: 'me', database: 'd', tls: null });
    expect(await target.password()).toBe('x');
  });

  it('prefers the URL, and decodes its parts', async () => {
    const url = 'other://m%40e:p%2Fw%20d@[::1]/the%20one';
    const target = databaseTarget(kind, settings({ url, host: 'elsewhere', password: 'no' }));
    expect(target).toMatchObject({ host: '::1', port: 4711, user: 'm@e', database: 'the one' });
    expect(await target.password()).toBe('p/w d');
    expect(databaseTarget(kind, settings({ url: 'some://u@h:99/d' })).port).toBe(99);
  });

  it('names what is wrong with a URL, and never quotes it', () => {
    const wrong = [
      'no url at all with secret',
      'http://u:secret@h/d',
      'some://u:secret@h',
      'some://:secret@h/d',
      'some://u:secret@h/d?ssl=off',
      'some://u:secret%zz@h/d',
    ];
    for (const url of wrong) {
      const message = messageOf({ url });
      expect(message).toMatch(/^Cannot use setting "url" of the database: /);
      expect(message).not.toContain('secret');
    }
  });

  it('reads the password file each time, without the line feed at its end', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'ringmq-password-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const passwordFile = join(folder, 'password');
    const target = databaseTarget(kind, settings({ password: 'no', passwordFile }));
    await expect(target.password()).rejects.toThrow(/"passwordFile".*ENOENT/);
    writeFileSync(passwordFile, ' first\r\n');
    expect(await target.password()).toBe(' first');
    writeFileSync(passwordFile, 'second');
    expect(await target.password()).toBe('second');
  });

  it('reads the files of TLS, and refuses those that make no sense', () => {
    const folder = mkdtempSync(join(tmpdir(), 'ringmq-tls-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const ca = join(folder, 'ca.pem');
    writeFileSync(ca, 'PEM');
    const none = { ca: '', certificate: '', key: '' };
    const { tls } = databaseTarget(kind, settings({ tls: { ...none, mode: 'verify', ca } }));
    expect(tls).toEqual({ rejectUnauthorized: true, ca: 'PEM' });
    const unverified = databaseTarget(kind, settings({ tls: { ...none, mode: 'unverified' } }));
    expect(unverified.tls).toEqual({ rejectUnauthorized: false });
    expect(messageOf({ tls: { ...none, mode: 'off', ca } })).toContain('its mode is off');
    expect(messageOf({ tls: { ...none, mode: 'verify', key: ca } })).toContain('belong together');
    expect(messageOf({ tls: { ...none, mode: 'verify', ca: join(folder, 'none') } })).toContain('"tls.ca"');
  });
});
