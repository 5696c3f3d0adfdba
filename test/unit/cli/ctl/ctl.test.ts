import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { PlacementError } from '../../../../src/core/ports/placement.ts';
import type { BackupSource } from '../../../../src/raft/api/backup-provider.ts';
import { event, FakeNode } from '../../raft/api/fake-node.ts';
import { ServerFixture } from '../../raft/api/server-fixture.ts';
import { type CliRun, findFreePort, runCli, startCli, until } from '../support.ts';

let fixture: ServerFixture;
let folder = '';
const chunks: Uint8Array[] = [];
let isBackupBroken = false;

const backup = {
  openBackup: (): BackupSource => {
    const rest = [...chunks];
    return {
      ...{ clusterId: 'c1', index: 10, term: 3, revision: 8 },
      next: () => {
        const chunk = rest.shift() ?? null;
        if (chunk === null && isBackupBroken) throw new PlacementError('STOPPED', 'The node stops');
        return chunk;
      },
      close: () => undefined,
    };
  },
};

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ringmq-ctl-'));
});

afterAll(() => rmSync(folder, { recursive: true }));

beforeEach(async () => {
  chunks.splice(0, chunks.length, Buffer.from('one'), Buffer.from('two'));
  isBackupBroken = false;
  fixture = await ServerFixture.start({}, { backup }, new FakeNode(''));
  process.env.RINGMQ_SERVER = fixture.address;
});

afterEach(async () => {
  delete process.env.RINGMQ_SERVER;
  await fixture.stop();
});

const ctl = (...argv: string[]): Promise<CliRun> => runCli(['ctl', ...argv]);
const jsonOf = async (...argv: string[]): Promise<unknown> => JSON.parse((await ctl(...argv, '--json')).out);

describe('ringmq ctl kv', () => {
  test('set, get and delete print tables, or JSON', async () => {
    expect(await ctl('kv', 'set', 'a', 'one')).toEqual({ exitCode: 0, out: 'revision  1\n', err: '' });
    expect((await ctl('kv', 'get', 'a')).out).toBe(
      'KEY  VALUE  REVISION  VERSION  LEASE\na    one    1         1        -\n',
    );
    expect(await jsonOf('kv', 'get', 'a')).toEqual({
      ...{ revision: 1, key: 'a', value: 'one' },
      ...{ createRevision: 1, modRevision: 1, version: 1, lease: 0 },
    });
    expect(await jsonOf('kv', 'set', 'a', 'two', '--previous')).toMatchObject({
      revision: 2,
      previous: { value: 'one' },
    });
    expect((await ctl('kv', 'get', 'a', '--value-only')).out).toBe('two');
    expect((await ctl('kv', 'delete', 'a', '--previous')).out).toContain('deleted   1\n');
    expect(await jsonOf('kv', 'delete', 'a')).toEqual({ revision: 4, count: 0 });
  });

  test('get and exists end with status 1 when there is no such key', async () => {
    expect(await ctl('kv', 'get', 'nope')).toEqual({
      exitCode: 1,
      out: '',
      err: 'ringmq: Cannot get "nope": there is no such key\n',
    });
    expect(await ctl('kv', 'exists', 'nope')).toMatchObject({ exitCode: 1, out: 'false\n' });
    await ctl('kv', 'set', 'a', '1');
    expect(await ctl('kv', 'exists', 'a', '--serializable')).toMatchObject({ exitCode: 0, out: 'true\n' });
  });

  test('set takes the value from standard input or a file', async () => {
    await runCli(['ctl', 'kv', 'set', 'a', '-'], 'typed');
    expect(await jsonOf('kv', 'get', 'a')).toMatchObject({ value: 'typed' });
    const path = join(folder, 'value');
    writeFileSync(path, Buffer.of(0xff, 0));
    await ctl('kv', 'set', 'b', '--file', path, '--lease', '7');
    expect(await jsonOf('kv', 'get', 'b')).toMatchObject({ valueBase64: '/wA=', lease: 7 });
    expect((await ctl('kv', 'get', 'b')).out).toContain('\\xff\\x00');
    expect((await ctl('kv', 'set', 'b')).exitCode).toBe(1);
    expect((await ctl('kv', 'set', 'b', 'v', '--file', path)).exitCode).toBe(1);
    expect((await ctl('kv', 'set', 'b', '--file', join(folder, 'missing'))).err).toContain('Cannot read');
  });

  test('list and range print what they find, page after page', async () => {
    await Promise.all(Array.from({ length: 1200 }, (_, i) => ctlSet(`k${String(i).padStart(4, '0')}`)));
    const keys = async (...argv: string[]): Promise<string[]> => {
      const { items } = (await jsonOf(...argv)) as { items: { key: string }[] };
      return items.map(({ key }) => key);
    };
    expect(await keys('kv', 'list', 'k')).toHaveLength(1200);
    const reverse = await keys('kv', 'list', 'k', '--reverse', '--limit', '1100', '--keys-only');
    expect([reverse[0], reverse[1099], reverse.length]).toEqual(['k1199', 'k0100', 1100]);
    expect(await keys('kv', 'list')).toHaveLength(1200);
    expect(await keys('kv', 'range', 'k0003', 'k0005')).toEqual(['k0003', 'k0004']);
    expect(await keys('kv', 'range', 'k1198')).toEqual(['k1198', 'k1199']);
    expect((await ctl('kv', 'list', 'k', '--count-only')).out).toBe('1200\n');
    expect(await jsonOf('kv', 'delete', 'k', '--prefix')).toMatchObject({ count: 1200 });
    expect((await ctl('kv', 'delete', 'k', '--prefix', '--end', 'x')).exitCode).toBe(1);
  });

  test('cas writes when it is as expected', async () => {
    expect((await ctl('kv', 'cas', 'a', 'one', '--expect-missing')).exitCode).toBe(0);
    const missed = await ctl('kv', 'cas', 'a', 'two', '--expect', 'other');
    expect(missed).toEqual({ exitCode: 1, out: '', err: 'ringmq: Cannot set "a": it has "one"\n' });
    expect((await ctl('kv', 'cas', 'a', 'two', '--expect', 'one')).out).toBe('revision  2\n');
    expect(await jsonOf('kv', 'cas', 'a', 'three', '--expect-revision', '2')).toEqual({ revision: 3, succeeded: true });
    const gone = await ctl('kv', 'cas', 'b', 'x', '--expect', 'y', '--json');
    expect([gone.exitCode, JSON.parse(gone.out)]).toEqual([1, { revision: 3, succeeded: false, current: null }]);
    expect((await ctl('kv', 'cas', 'a', 'x')).err).toContain('expected exactly one of');
  });

  test('txn compares and runs operations', async () => {
    const argv = [
      'kv',
      'txn',
      '--if',
      'version',
      'lock',
      '=',
      '0',
      '--then',
      'set',
      'lock',
      'me',
      '--else',
      'get',
      'lock',
    ];
    expect((await ctl(...argv)).out).toBe('succeeded  true\nrevision   1\nset\n');
    expect(await jsonOf(...argv)).toMatchObject({
      succeeded: false,
      results: [{ type: 'get', items: [{ key: 'lock', value: 'me' }] }],
    });
    expect(await jsonOf('kv', 'txn', '--if', 'value', 'lock', '!=', 'x', '--then', 'delete', 'lock')).toMatchObject({
      results: [{ type: 'delete', count: 1 }],
    });
    expect((await ctl('kv', 'txn')).err).toContain('expected --then or --else');
    expect((await ctl('kv', 'txn', '--if', 'size', 'a', '=', '1', '--then', 'get', 'a')).err).toContain('"size"');
    expect((await ctl('kv', 'txn', '--if', 'version', 'a', '~', '1', '--then', 'get', 'a')).err).toContain('"~"');
    expect((await ctl('kv', 'txn', '--then', 'put', 'a')).err).toContain('"put"');
  });

  test('compact passes refusals on', async () => {
    expect((await ctl('kv', 'compact', '5')).out).toBe('compacted  5\n');
    fixture.node.answers.push({ type: 'refused', code: 'COMPACTED', message: 'It is compacted' });
    expect(await ctl('kv', 'compact', '5')).toEqual({
      exitCode: 2,
      out: '',
      err: 'ringmq: It is compacted (COMPACTED)\n',
    });
  });
});

async function ctlSet(key: string): Promise<void> {
  const operation = {
    type: 'set',
    key: Buffer.from(key),
    value: Buffer.from('v'),
    lease: 0,
    returnPrevious: false,
  } as const;
  const command = { type: 'transaction', compares: [], success: [operation], failure: [] } as const;
  await fixture.node.execute(command, { requestId: null, timeoutMs: 1 });
}

describe('ringmq ctl cluster and member', () => {
  test('cluster status tells everything about the group', async () => {
    const { out, exitCode } = await ctl('cluster', 'status');
    expect(exitCode).toBe(0);
    expect(out).toContain('answered by  1 (leader, version 1.2.3)\n');
    expect(out).toMatch(/^1 +a +leader +10 +yes$/m);
    expect(await jsonOf('cluster', 'status')).toMatchObject({
      ...{ version: '1.2.3', clusterId: 'c1', leader: '1', role: 'leader', fault: null },
      members: [{ replica: '1', role: 'voter', isLeader: true, matchIndex: 10 }],
    });
    expect(await jsonOf('cluster', 'nodes')).toEqual({ nodes: [] });
  });

  test('member changes take numbers and names', async () => {
    expect((await ctl('member', 'list')).out).toMatch(/^REPLICA +NAME/);
    expect(await jsonOf('member', 'add', '5', 'h:7', '--name', 'five')).toMatchObject({ clusterId: 'c1' });
    await ctl('member', 'add', '6', 'h:8');
    await ctl('member', 'promote', '5');
    await ctl('member', 'remove', 'a');
    await ctl('member', 'transfer', '5');
    expect(fixture.node.changes).toEqual(['add 5 five h:7', 'add 6 h:8 h:8', 'promote 5', 'remove 1', 'transfer 5']);
    expect(await ctl('member', 'remove', 'nobody')).toMatchObject({
      exitCode: 2,
      err: 'ringmq: Cannot find member "nobody": there is no such member\n',
    });
  });

  test('a refused change ends with status 2 and says who leads', async () => {
    fixture.node.errors.push(new PlacementError('MEMBERSHIP_REFUSED', 'It would lose the quorum', 'h:9'));
    expect(await ctl('member', 'remove', '5')).toEqual({
      exitCode: 2,
      out: '',
      err: 'ringmq: It would lose the quorum (MEMBERSHIP_REFUSED; the leader is at h:9)\n',
    });
  });
});

describe('ringmq ctl lease', () => {
  test('grant, get, list, keep-alive and revoke work', async () => {
    expect((await ctl('lease', 'grant', '30', '--id', '5')).out).toBe('lease    5\nepoch    7\nseconds  30\n');
    expect((await jsonOf('lease', 'grant', '0.5')) as object).toMatchObject({ ttlMs: 500 });
    expect(await jsonOf('lease', 'get', '5')).toEqual({
      lease: 5,
      epoch: 7,
      ttlMs: 30_000,
      remainingMs: null,
      keys: [],
    });
    expect((await ctl('lease', 'list')).out.split('\n')).toHaveLength(4);
    expect((await ctl('lease', 'keep-alive', '5', '--once')).out).toBe('lease 5 has 30.0 s\n');
    const running = startCli(['ctl', 'lease', 'keep-alive', '5', '--json']);
    await until(() => running.io.out() !== '');
    running.interrupt();
    expect(await running.done).toEqual({ exitCode: 0, out: '{"lease":5,"remainingMs":30000}\n', err: '' });
    expect((await ctl('lease', 'revoke', '5')).exitCode).toBe(0);
    expect(await ctl('lease', 'revoke', '5')).toMatchObject({
      exitCode: 2,
      err: expect.stringContaining('LEASE_NOT_FOUND'),
    });
    expect((await ctl('lease', 'get', 'x')).exitCode).toBe(1);
  });
});

describe('ringmq ctl watch', () => {
  test('watch prints events until it is interrupted', async () => {
    const running = startCli(['ctl', 'watch', 'k', '--from', '1', '--previous']);
    await until(() => fixture.node.watches.size === 1);
    const [[, request]] = fixture.node.watches;
    expect(request).toMatchObject({ fromRevision: 1, withPrevious: true, end: null });
    const before = event('set', 'k', 1, 'old').item;
    const events = [event('set', 'k', 1), { ...event('set', 'k', 2), previous: before }, event('delete', 'k', 3)];
    await fixture.node.emit({ revision: 3, events });
    await until(() => running.io.out().includes('delete'));
    running.interrupt();
    expect(await running.done).toEqual({ exitCode: 0, out: '1 set k v\n2 set k v (was old)\n3 delete k\n', err: '' });
  });

  test('watch stops after as many events as were asked for', async () => {
    const running = startCli(['ctl', 'watch', '--prefix', '--count', '2', '--json']);
    await until(() => fixture.node.watches.size === 1);
    await fixture.node.emit({ revision: 3, events: [1, 2, 3].map((revision) => event('set', 'k', revision)) });
    const { out, exitCode } = await running.done;
    const lines = out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect([exitCode, lines.length, lines[1].modRevision]).toEqual([0, 2, 2]);
  });

  test('watch needs to know what', async () => {
    expect((await ctl('watch')).err).toContain('expected KEY or --prefix');
    expect((await ctl('watch', 'k', '--prefix', '--end', 'x')).exitCode).toBe(1);
  });
});

describe('ringmq ctl snapshot', () => {
  test('save writes a file that check finds whole', async () => {
    const path = join(folder, 'good');
    const facts = { file: path, clusterId: 'c1', index: 10, term: 3, revision: 8, chunkCount: 2, byteCount: 6 };
    expect(await jsonOf('snapshot', 'save', path)).toEqual(facts);
    delete process.env.RINGMQ_SERVER;
    expect(await jsonOf('snapshot', 'check', path)).toEqual(facts);
    process.env.RINGMQ_SERVER = fixture.address;
    expect((await ctl('snapshot', 'save', path)).err).toContain('it exists already');
    writeFileSync(path, 'nonsense');
    expect(await ctl('snapshot', 'check', path)).toMatchObject({
      exitCode: 2,
      err: expect.stringContaining('Cannot use'),
    });
    expect((await ctl('snapshot', 'check', join(folder, 'missing'))).err).toContain('Cannot read');
  });

  test('save leaves nothing when the backup breaks off', async () => {
    isBackupBroken = true;
    const path = join(folder, 'broken');
    expect(await ctl('snapshot', 'save', path)).toMatchObject({
      exitCode: 2,
      err: 'ringmq: The node stops (STOPPED)\n',
    });
    expect(readdirSync(folder).filter((name) => name.startsWith('broken'))).toEqual([]);
    expect((await ctl('snapshot', 'save', join(folder, 'no', 'folder'))).err).toContain('Cannot write');
  });
});

describe('ringmq ctl', () => {
  test('--help tells about every level', async () => {
    expect((await ctl('--help')).out).toContain('Usage: ringmq ctl GROUP [VERB]');
    expect((await ctl('kv', '--help')).out).toContain('Usage: ringmq ctl kv VERB');
    const verb = await ctl('--server', 'h:1', 'kv', 'set', '--help');
    expect(verb.exitCode).toBe(0);
    expect(verb.out).toContain('Usage: ringmq ctl kv set KEY [VALUE] [OPTIONS]');
    expect(verb.out).toContain('--lease ID');
    expect(verb.out).toContain('--server HOST:PORT');
    expect((await ctl('watch', '--help')).out).toContain('Usage: ringmq ctl watch [KEY]');
  });

  test('a wrong line says what would be right, with status 1', async () => {
    const problems = [
      [['kv', 'st', 'a'], 'Cannot run "ctl kv st": did you mean set?'],
      [['kv'], 'Cannot run "ctl kv": expected one of set, get'],
      [[], 'Cannot run "ctl": expected one of kv, cluster'],
      [['zzz'], 'Cannot run "ctl zzz": expected one of'],
      [['kv', 'get'], 'Cannot run "ctl kv get": expected KEY'],
      [['kv', 'get', 'a', 'b'], 'Cannot run "ctl kv get": expected KEY'],
      [['cluster', 'status', 'x'], 'expected no values'],
      [['kv', 'get', 'a', '--limit', '1'], 'unknown option'],
      [['kv', 'get', 'a', '--server', 'nowhere'], 'Cannot use server "nowhere": expected host:port'],
      [['kv', 'get', 'a', '--timeout', '0'], '--timeout'],
      [['kv', 'get', 'a', '--ca', join(folder, 'missing')], 'Cannot read'],
    ] as const;
    for (const [argv, message] of problems) {
      const { exitCode, err } = await ctl(...argv);
      expect([exitCode, err]).toEqual([1, expect.stringContaining(message)]);
    }
    delete process.env.RINGMQ_SERVER;
    expect((await ctl('kv', 'get', 'a')).err).toContain('RINGMQ_SERVER');
  });

  test('no server there: status 2 within the time that was given', async () => {
    process.env.RINGMQ_SERVER = `127.0.0.1:${await findFreePort()}`;
    // Which of the two it is depends on whether an attempt was under way when the time was over.
    const failure = expect.stringMatching(/^ringmq: Cannot .*\((TIMED_OUT|NOT_CONNECTED)\)\n$/);
    const { exitCode, err } = await ctl('kv', 'get', 'a', '--timeout', '0.2');
    expect([exitCode, err]).toEqual([2, failure]);
    const status = await ctl('cluster', 'status', '--timeout', '0.2');
    expect([status.exitCode, status.err]).toEqual([2, failure]);
  });

  test('--server wins over the environment', async () => {
    process.env.RINGMQ_SERVER = 'nowhere:1';
    expect((await ctl('kv', 'set', 'a', '1', '--server', fixture.address)).exitCode).toBe(0);
    expect((await ctl('-s', fixture.address, 'kv', 'exists', 'a')).exitCode).toBe(0);
  });
});
