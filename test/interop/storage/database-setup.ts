/** How an adapter over a database server starts: what it is told when it cannot, passwords, encryption. Part of the tests of each of them. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { TestAuthority } from '../../support/certificates.ts';
import { batch, readValues, stored } from '../../support/stream-batches.ts';
import type { TestSettings } from './database-adapter.ts';
import type { DatabaseBench } from './database-bench.ts';

let users = 0;

function newUser(): { readonly user: string; readonly password: string } {
  users += 1;
  return { user: `somebody_${users}`, password: 'a secret that nobody may see' };
}

export function databaseSetup(bench: DatabaseBench): void {
  const { adapter } = bench;

  /** What the operator reads when the store does not open. */
  async function refusal(place: string, changes: Partial<TestSettings>): Promise<string> {
    const limits = { openWaitMsMax: 300, retryMsMin: 20 };
    try {
      const store = await bench.open(place, limits, changes);
      await store.close();
      return 'opened';
    } catch (error) {
      const { message, code } = error as { readonly message: string; readonly code?: string };
      expect(message).toContain(`Cannot open the ${adapter.name} store`);
      expect(message).not.toContain('a secret');
      return `${code} ${message}`;
    }
  }

  describe('opening', () => {
    it('tells wrong passwords, users and databases at once', async () => {
      const place = bench.place();
      const known = newUser();
      await bench.administer(adapter.sql.makeUser(known.user, known.password));
      const wrongPassword = await refusal(place, { user: known.user, password: 'another one' });
      expect(wrongPassword).toMatch(/STORAGE_PARTITION_FAILED .*user or password is wrong/);
      expect(await refusal(place, newUser())).toMatch(/user or password is wrong/);
      expect(await refusal(place, { database: 'nowhere' })).toMatch(/there is no such database/);
    });

    it('tells missing rights', async () => {
      const stranger = newUser();
      await bench.administer(adapter.sql.makeUser(stranger.user, stranger.password));
      expect(await refusal(bench.place(), stranger)).toMatch(/the user lacks a right/);
      const place = bench.place();
      await (await bench.open(place)).close();
      const limited = newUser();
      await bench.administer(adapter.sql.makeLimitedUser(limited.user, limited.password, place));
      expect(await refusal(place, limited)).toMatch(/the user lacks a right.*pieces/);
    });

    it('needs no more rights than the documentation says', async () => {
      const owner = newUser();
      await bench.administer(adapter.sql.makeOwner(owner.user, owner.password));
      const place = bench.place();
      expect(await refusal(place, owner)).toBe('opened');
      const guest = newUser();
      await bench.administer(adapter.sql.makeGuest(guest.user, guest.password, place));
      const store = await bench.open(place, {}, guest);
      onTestFinished(() => store.close());
      const partition = await store.create('p', { retentionBytes: 1 });
      await stored(partition, batch(['a']));
      await stored(partition, batch(['b'], { producerId: 1, producerEpoch: 0, baseSequence: 0 }));
      await store.upkeep();
      expect(await readValues(partition, (await partition.places()).logStartOffset)).toEqual(['1:b']);
      await store.remove('p');
    });

    it('tells a server that is not there, after some tries', async () => {
      const message = await refusal(bench.place(), { port: 1 });
      expect(message).toMatch(/STORAGE_UNAVAILABLE .*ECONNREFUSED/);
    });

    it('refuses tables of a newer version, and tables that are not its own', async () => {
      const newer = bench.place();
      await (await bench.open(newer)).close();
      await bench.administer(adapter.sql.makeNewer(newer));
      expect(await refusal(newer, {})).toMatch(/of a newer RingMQ: this one knows versions up to \d+/);
      const spoiled = bench.place();
      await (await bench.open(spoiled)).close();
      await bench.administer(adapter.sql.spoil(spoiled));
      expect(await refusal(spoiled, {})).toMatch(/other tables/);
    });

    it('refuses a server that does not sync, unless it is told to accept it', async () => {
      await bench.administer(adapter.sql.makeUnsafe);
      try {
        expect(await refusal(bench.place(), {})).toMatch(/the server can lose committed records in a crash/);
        expect(await refusal(bench.place(), { allowUnsafe: true })).toBe('opened');
      } finally {
        await bench.administer(adapter.sql.makeSafe);
      }
      expect(await refusal(bench.place(), {})).toBe('opened');
    });

    it('makes the tables once when several brokers start together', async () => {
      const place = bench.place();
      const stores = await Promise.all(Array.from({ length: 4 }, () => bench.open(place)));
      await stored(await stores[0].create('p'), batch(['a']));
      expect(await readValues(await stores[3].open('p'))).toEqual(['0:a']);
      await Promise.all(stores.map((store) => store.close()));
    });

    it('takes a URL, and a password from a file', async () => {
      const folder = mkdtempSync(join(tmpdir(), 'ringmq-password-'));
      onTestFinished(() => rmSync(folder, { recursive: true }));
      const { user, password, database, port } = bench.server;
      const place = bench.place();
      const url = `${adapter.scheme}://${user}:${encodeURIComponent(password)}@127.0.0.1:${port}/${database}`;
      expect(await refusal(place, { url, host: 'nowhere.invalid' })).toBe('opened');
      const passwordFile = join(folder, 'password');
      writeFileSync(passwordFile, `${password}\n`);
      expect(await refusal(place, { password: 'a secret', passwordFile })).toBe('opened');
    });
  });

  describe('encryption', () => {
    it('is used and checked when it is asked for', async () => {
      const authority = new TestAuthority();
      onTestFinished(() => authority.remove());
      const other = new TestAuthority();
      onTestFinished(() => other.remove());
      const server = await adapter.start(authority.issue('server', ['IP:127.0.0.1', 'DNS:localhost']));
      onTestFinished(() => server.process.stop());
      const { port } = server;
      const off = { certificate: '', key: '' };
      const tls = (mode: 'verify' | 'unverified', ca: string) => ({ port, tls: { mode, ca, ...off } });
      const place = bench.place();
      expect(await refusal(place, { ...tls('verify', authority.ca), host: 'localhost' })).toBe('opened');
      expect(await refusal(place, tls('unverified', ''))).toBe('opened');
      expect(await refusal(place, { ...tls('verify', other.ca), host: 'localhost' })).toMatch(/STORAGE_UNAVAILABLE/);
      expect(await refusal(place, tls('verify', ''))).toMatch(/STORAGE_UNAVAILABLE/);
    });

    it('is not given up when the server has none', async () => {
      const tls = { mode: 'unverified', ca: '', certificate: '', key: '' } as const;
      expect(await refusal(bench.place(), { tls })).not.toBe('opened');
    });
  });
}
