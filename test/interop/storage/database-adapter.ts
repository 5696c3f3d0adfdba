/** What the tests of the adapters over database servers know of each of them. Thread of the test. */
import type { StoreEngine } from '../../../src/core/streams/store-engine.ts';
import type { TestCertificate } from '../../support/servers/postgres.ts';
import type { ServerProcess } from '../../support/servers/server-process.ts';

export interface TestDatabase {
  readonly process: ServerProcess;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database: string;
}

/** What differs from one adapter to the other. */
export interface DatabaseAdapter {
  readonly name: string;
  /** In messages about the server. */
  readonly product: string;
  readonly scheme: string;
  start(tls?: TestCertificate): Promise<TestDatabase>;
  /** `place`: schema or prefix of the tables. */
  engine(settings: TestSettings, place: string): StoreEngine;
  /** Runs SQL as somebody who may do everything. */
  administer(server: TestDatabase, statements: readonly string[]): Promise<void>;
  /** Rows of a table of the adapter. */
  count(server: TestDatabase, place: string, table: string): Promise<number>;
  readonly sql: {
    /** Statements that make a user with this name and password, and rights to log in alone. */
    makeUser(name: string, password: string): readonly string[];
    /** A user with the rights that the documentation asks for: to make the tables, or to use those that are there. */
    makeOwner(name: string, password: string): readonly string[];
    makeGuest(name: string, password: string, place: string): readonly string[];
    /** Takes one right away from a user that had all. */
    makeLimitedUser(name: string, password: string, place: string): readonly string[];
    /** Tells the tables at `place` that a newer version made them. */
    makeNewer(place: string): readonly string[];
    /** Renames a column. */
    spoil(place: string): readonly string[];
    readonly makeUnsafe: readonly string[];
    readonly makeSafe: readonly string[];
  };
}

export interface TestSettings {
  readonly url: string;
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly passwordFile: string;
  readonly database: string;
  readonly tls: {
    readonly mode: 'off' | 'verify' | 'unverified';
    readonly ca: string;
    readonly certificate: string;
    readonly key: string;
  };
  readonly connections: number;
  readonly connectTimeoutMs: number;
  readonly lockTimeoutMs: number;
  readonly allowUnsafe: boolean;
}

/** Settings of the adapter for the superuser of the server. */
export function settingsOf(server: TestDatabase, changes: Partial<TestSettings> = {}): TestSettings {
  const { port, user, password, database } = server;
  return {
    url: '',
    host: '127.0.0.1',
    port,
    user,
    password,
    passwordFile: '',
    database,
    tls: { mode: 'off', ca: '', certificate: '', key: '' },
    connections: 6,
    connectTimeoutMs: 2_000,
    lockTimeoutMs: 2_000,
    allowUnsafe: false,
    ...changes,
  };
}
