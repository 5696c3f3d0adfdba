/** The checks must be able to fail: a server that has lost or changed something is found. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createPlacementServer, type PlacementServer } from '../../src/raft/api/server.ts';
import { PlacementClient } from '../../src/rpc/client/placement-client.ts';
import { FakeNode } from '../unit/raft/api/fake-node.ts';
import { checkUnique } from './checks.ts';

let server: PlacementServer;
let client: PlacementClient;

beforeEach(async () => {
  const options = { host: '127.0.0.1', port: 0, tls: null, version: '1', backup: null };
  server = await createPlacementServer(new FakeNode(), { ...options, onDefect: () => undefined });
  client = await PlacementClient.create({ servers: `127.0.0.1:${server.port}` });
});

afterEach(async () => {
  client.close();
  await server.close(0);
});

async function writeUnique(amount: number): Promise<Map<string, number>> {
  const unique = new Map<string, number>();
  for (let i = 0; i < amount; i++) {
    const key = `round/unique/0/${i}`;
    unique.set(key, (await client.set(key, key)).revision);
  }
  return unique;
}

describe('checkUnique', () => {
  test('checkUnique() finds nothing when everything is there', async () => {
    expect(await checkUnique(client, 'round', await writeUnique(20), 'here')).toEqual([]);
  });

  test('checkUnique() finds an acknowledged write that is lost', async () => {
    const unique = await writeUnique(5);
    await client.delete('round/unique/0/3');
    expect(await checkUnique(client, 'round', unique, 'here')).toEqual([
      expect.stringContaining('here: the acknowledged round/unique/0/3 (revision 4) is lost'),
    ]);
  });

  test('checkUnique() finds a write that was made again under another revision', async () => {
    const unique = await writeUnique(5);
    await client.set('round/unique/0/3', 'round/unique/0/3');
    expect(await checkUnique(client, 'round', unique, 'here')).toHaveLength(1);
  });

  test('checkUnique() finds another value', async () => {
    const unique = await writeUnique(5);
    await client.set('round/unique/0/3', 'another');
    expect(await checkUnique(client, 'round', unique, 'here')).toEqual([expect.stringContaining('has value another')]);
  });
});
