// What the schema of bridges cannot say: problems have the path of the setting and say what is wrong.
import { describe, expect, it } from 'vitest';
import { loadConfiguration } from '../../../../../src/config/load.ts';
import { echoOf } from '../../../../../src/protocols/mqtt/bridge/bridge-check.ts';
import { mqtt } from '../../../../../src/protocols/mqtt/index.ts';

const plain = { name: 'up', servers: ['mqtt://remote.example'], out: [{ filter: 'a/#' }] };

async function problemsOf(...bridges: object[]): Promise<string> {
  try {
    await loadConfiguration({ environment: {}, flags: [], parts: [mqtt], settings: { mqtt: { bridges } } });
    return '';
  } catch (error) {
    return (error as Error).message;
  }
}

describe('checkBridges()', () => {
  it('takes a plain bridge, and one with everything', async () => {
    expect(await problemsOf(plain)).toBe('');
    const both = {
      ...plain,
      version: '3.1.1',
      servers: ['mqtt://[::1]:1884', 'mqtts://remote.example'],
      username: 'u',
      password: 'p',
      out: [{ filter: 'a/#', removePrefix: 'a/', addPrefix: 'b/', qos: 2 }],
      in: [{ filter: '$share/g/c/+', qos: 0, addPrefix: 'far/' }],
      tls: { alpn: ['mqtt'], verify: 'ca', serverName: 'other.example' },
    };
    expect(await problemsOf(both)).toBe('');
  });

  it.each([
    ['a server that is no address', { servers: ['remote.example:1883'] }, 'servers.0'],
    ['no direction', { out: [] }, 'neither "out" nor "in"'],
    ['a filter that is none', { out: [{ filter: 'a/#/b' }] }, 'out.0.filter'],
    ['a group to send from', { out: [{ filter: '$share/g/a' }] }, 'no group'],
    ['a group without a name', { in: [{ filter: '$share//a' }] }, 'name of the group'],
    ['a prefix with a wildcard', { out: [{ filter: 'a/#', addPrefix: 'b/+/' }] }, 'a prefix has no wildcards'],
    ['a prefix that no topic has', { out: [{ filter: 'a/b', removePrefix: 'c/' }] }, 'no topic of "a/b"'],
    ['remote topics of the server', { out: [{ filter: '$SYS/#' }] }, 'would begin with "$"'],
    ['local topics of the server', { in: [{ filter: '$SYS/#' }] }, 'would begin with "$"'],
    ['two passwords', { password: 'p', username: 'u', passwordFile: '/dev/null' }, 'there is a "password"'],
    ['a password without a name', { version: '3.1.1', password: 'p' }, 'no password without a user name'],
    ['a file that is not there', { passwordFile: '/no/such/file' }, 'cannot be read (ENOENT)'],
    ['TLS files without TLS', { tls: { ca: '/dev/null' } }, 'none of "servers" begins with mqtts://'],
    ['half a certificate', { servers: ['mqtts://r'], tls: { key: '/dev/null' } }, 'belong together'],
    ['pauses the wrong way round', { reconnectMs: 5_000, reconnectMaxMs: 1_000 }, '"reconnectMaxMs" is 1000'],
    [
      'messages that come back',
      { version: '3.1.1', bridgeBit: false, in: [{ filter: 'a/b' }] },
      'would come back through "a/b"',
    ],
  ])('refuses %s', async (_, changes, expected) => {
    expect(await problemsOf({ ...plain, ...changes })).toContain(expected);
  });

  it('refuses two bridges with one name or one session', async () => {
    expect(await problemsOf(plain, plain)).toContain('another bridge has this name');
    const one = { ...plain, clientId: 'c' };
    expect(await problemsOf(one, { ...one, name: 'down' })).toContain('bridge "up" has it already');
    expect(await problemsOf({ ...plain, servers: [`mqtts://r:70000`] })).toContain('expected mqtt://host:port');
  });

  it('never quotes a password', async () => {
    expect(await problemsOf({ ...plain, servers: ['x'], password: 'very-secret', username: '' })).not.toContain('very');
  });
});

describe('echoOf()', () => {
  it('looks at the names after the mapping', () => {
    const out = [{ filter: 'a/#', qos: 1, removePrefix: 'a/', addPrefix: 'b/' }];
    const incoming = (filter: string) => [{ filter, qos: 1, removePrefix: '', addPrefix: '' }];
    expect(echoOf({ out, in: incoming('a/#') })).toBeNull();
    expect(echoOf({ out, in: incoming('b/1') })).toContain('"a/#"');
    expect(echoOf({ out, in: incoming('$share/g/b/#') })).toContain('"$share/g/b/#"');
  });
});
