/** A group founded anew from the folder of one of its replicas, and from a backup. */
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { readIdentity, writeIdentity } from '../../../../src/raft/node/identity.ts';
import { forceNewGroup, restoreSnapshot } from '../../../../src/raft/node/recovery.ts';
import { type GroupNode, LocalGroup, read, write } from '../replica/local-group.ts';

/** A group that is founded anew begins so far above what its clients may have seen of the old one. */
const revisionsSkipped = 1_000_000;

let group: LocalGroup;
const others: LocalGroup[] = [];
afterEach(async () => {
  await group.close();
  for (const other of others.splice(0)) await other.close();
});

function remember({ folder, member }: GroupNode): void {
  const { replica, name } = member;
  writeIdentity(folder, { replica, name, clusterId: 'test', isFounder: true, wantsVote: false, port: 1, seeds: [] });
}

/** The replica that lies in the folder now, running. */
function runAnew(folder: string, replica: number): GroupNode {
  const alone = new LocalGroup();
  others.push(alone);
  return alone.open({ replica, name: '', address: '' }, folder);
}

describe('forceNewGroup()', () => {
  it('makes a follower the only voter of a group of its own and keeps what it had', async () => {
    group = await LocalGroup.found(3);
    const leader = await group.leader();
    for (let index = 0; index < 50; index++) await write(leader, `key-${index}`, 'value');
    const follower = await group.follower();
    await expect.poll(() => follower.node.status().revision).toBe(50);
    for (const made of group.nodes) await group.kill(made);
    remember(follower);
    const report = await forceNewGroup(follower.folder);
    expect(report).toMatchObject({ revision: 50 });
    const identity = readIdentity(follower.folder);
    expect(identity).toMatchObject({
      replica: report.replica,
      clusterId: report.clusterId,
      name: follower.member.name,
    });
    expect(report.replica).not.toBe(follower.member.replica);
    const alone = runAnew(follower.folder, report.replica);
    expect(await read(alone, 'key-49')).toBe('value');
    await write(alone, 'more', 'value');
    expect(alone.node.status()).toMatchObject({
      clusterId: report.clusterId,
      revision: revisionsSkipped + 51,
      members: [{ replica: String(report.replica), name: follower.member.name, role: 'voter', isLeader: true }],
    });
    expect(alone.node.status().members).toHaveLength(1);
  });

  it('refuses a folder without a member', async () => {
    group = new LocalGroup();
    await expect(forceNewGroup(join(group.folder, 'nothing'))).rejects.toThrow('holds no member of a group');
  });
});

describe('restoreSnapshot()', () => {
  it('founds a group on the state of a backup', async () => {
    group = await LocalGroup.found(1);
    const [one] = group.nodes;
    for (let index = 0; index < 50; index++) await write(one, `key-${index}`, 'value');
    await new Promise<void>((resolve) => one.storage.state.flush(() => resolve()));
    const source = one.node.replica.openSnapshot();
    const { position } = source;
    async function* chunks() {
      for (let chunk = source.next(); chunk !== null; chunk = source.next()) yield chunk;
      source.close();
    }
    const folder = join(group.folder, 'restored');
    const report = await restoreSnapshot(folder, position, chunks());
    expect(report).toMatchObject({ revision: 50, index: position.index, uncertainEntries: 0 });
    const restored = runAnew(folder, report.replica);
    expect(await read(restored, 'key-49')).toBe('value');
    expect(restored.node.status()).toMatchObject({ clusterId: report.clusterId, revision: revisionsSkipped + 50 });
    expect(restored.node.status().members).toHaveLength(1);
  });

  it('leaves nothing behind when the backup is damaged, and refuses a folder that is not empty', async () => {
    group = await LocalGroup.found(1);
    const folder = join(group.folder, 'restored');
    async function* damaged() {
      yield Buffer.from('this is no chunk');
    }
    await expect(restoreSnapshot(folder, { index: 5, term: 1 }, damaged())).rejects.toThrow();
    expect(readIdentity(folder)).toBeNull();
    await expect(restoreSnapshot(group.nodes[0].folder, { index: 5, term: 1 }, damaged())).rejects.toThrow('not empty');
  });
});
