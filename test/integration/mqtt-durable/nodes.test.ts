/** Sessions of MQTT clients on a cluster of real processes: one owner of each, whichever node its client comes to. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestAuthority } from '../../support/certificates.ts';
import { lasting, payloadsOf, publishStored } from '../../support/mqtt/durable-client.ts';
import type { AnyPacket } from '../../support/mqtt/mqtt-host.ts';
import type { RawClient } from '../../support/mqtt/raw-client.ts';
import { SessionCluster } from '../../support/mqtt/session-cluster.ts';

let cluster: SessionCluster;
let authority: TestAuthority;

/** The next packets, of whatever kind. */
async function take(client: RawClient, count: number): Promise<AnyPacket[]> {
  const taken: AnyPacket[] = [];
  while (taken.length < count) taken.push(await client.next());
  return taken;
}

beforeAll(async () => {
  authority = new TestAuthority();
  // Sessions go over the traffic of the cluster, with its certificates.
  const { ca, certificate, key } = authority.issue('node', ['IP:127.0.0.1']);
  const settings = { 'cluster.tls.ca': ca, 'cluster.tls.certificate': certificate, 'cluster.tls.key': key };
  cluster = await SessionCluster.start(['a', 'b', 'c'], { settings });
}, 60_000);
afterAll(async () => {
  await cluster?.end();
  authority.remove();
});

describe('a client id', () => {
  it('is taken over from another node: the former connection gets 0x8E', async () => {
    const first = await cluster.connect('a', { level: 5, clientId: 'live' });
    const second = await cluster.connect('b', { level: 5, clientId: 'live' });
    expect(await first.closed()).toMatchObject([{ cmd: 'disconnect', reasonCode: 0x8e }]);
    expect(second.connack).toMatchObject({ sessionPresent: false });
    const third = await cluster.connect('a', { level: 4, clientId: 'live' });
    expect(await second.closed()).toMatchObject([{ cmd: 'disconnect', reasonCode: 0x8e }]);
    await third.cut();
  });

  it('keeps its session on the way from node to node and back, in order, QoS 2 once', async () => {
    const first = await cluster.connect('a', lasting('mover'));
    await first.subscribe('m/#', 2, {}, { subscriptionIdentifier: 5 });
    await first.subscribe('$share/g/s/+', 1);
    await first.subscribe('low', 0);
    const writer = await cluster.connect('a', { clientId: 'writer', level: 5 });
    await publishStored(writer, 'm/1', 'one');
    await publishStored(writer, 'm/1', 'two', 2);
    const flying = await first.packets(2);
    first.send({ cmd: 'pubrec', messageId: flying[1].messageId });
    expect(await first.packet('pubrel')).toMatchObject({ messageId: flying[1].messageId });
    await first.cut();
    for (const at of [3, 4, 5]) await publishStored(writer, 'm/1', `${at}`, 1 + (at % 2));

    const second = await cluster.connect('b', lasting('mover'));
    expect(second.connack).toMatchObject({ sessionPresent: true });
    const there = await take(second, 5);
    expect(there[0]).toMatchObject({ cmd: 'pubrel', messageId: flying[1].messageId });
    expect(there[1]).toMatchObject({ messageId: flying[0].messageId, dup: true, topic: 'm/1' });
    expect(there[1].properties).toMatchObject({ subscriptionIdentifier: 5 });
    expect(payloadsOf(there.slice(1)).sort()).toEqual(['3', '4', '5', 'one']);
    const elsewhere = await cluster.connect('b', { clientId: 'writer-b', level: 5 });
    await publishStored(elsewhere, 'm/2', 'six');
    expect(payloadsOf(await second.packets(1))).toEqual(['six']);
    // A member of the group of that node, and subscribed to what is not stored.
    await publishStored(elsewhere, 's/1', 'shared');
    const [shared] = await second.packets(1);
    expect(payloadsOf([shared])).toEqual(['shared']);
    second.send({ cmd: 'puback', messageId: shared.messageId });
    elsewhere.publish('low', 'at most once');
    expect(payloadsOf(await second.packets(1))).toEqual(['at most once']);

    const third = await cluster.connect('a', lasting('mover'));
    expect(await second.closed()).toMatchObject([{ cmd: 'disconnect', reasonCode: 0x8e }]);
    const again = await take(third, 6);
    expect(again.map(({ cmd }) => cmd)).toEqual(['pubrel', 'publish', 'publish', 'publish', 'publish', 'publish']);
    expect(payloadsOf(again).sort()).toEqual(['3', '4', '5', 'one', 'six']);
    expect(again.slice(1).every(({ dup }) => dup === true)).toBe(true);
    // Nobody publishes to it from there any more.
    await publishStored(elsewhere, 'm/2', 'not for it');
    await publishStored(writer, 'm/2', 'seven');
    expect(payloadsOf(await third.packets(1))).toEqual(['seven']);
    await third.cut();
  });

  it('has no session of a former node after a clean start', async () => {
    const first = await cluster.connect('a', lasting('cleaned'));
    await first.subscribe('c', 1);
    const second = await cluster.connect('b', lasting('cleaned', { clean: true }));
    expect(second.connack).toMatchObject({ sessionPresent: false });
    expect(await first.closed()).toMatchObject([{ cmd: 'disconnect', reasonCode: 0x8e }]);
    await second.cut();
    const third = await cluster.connect('a', lasting('cleaned'));
    expect(third.connack).toMatchObject({ sessionPresent: true });
    expect(await third.barrier()).toEqual([]);
    await third.cut();
  });
});

describe('an exclusive subscription', () => {
  it('has one owner on all nodes', async () => {
    const first = await cluster.connect('a', { level: 5, clientId: 'e1' });
    const second = await cluster.connect('b', { level: 5, clientId: 'e2' });
    expect(await first.subscribe('$exclusive/x', 1)).toMatchObject({ granted: [1] });
    expect(await second.subscribe('$exclusive/x', 1)).toMatchObject({ granted: [0x97] });
    await first.cut();
    await expect
      .poll(async () => (await second.subscribe('$exclusive/x', 1)).granted, { timeout: 5_000, interval: 50 })
      .toEqual([1]);
    await second.cut();
  });
});

describe('a node that is gone', () => {
  it('keeps its stored sessions: their clients are refused elsewhere, unless they begin anew', async () => {
    const first = await cluster.connect('c', lasting('waiting'));
    await first.subscribe('w', 1);
    const writer = await cluster.connect('c', { clientId: 'writer-c', level: 5 });
    await publishStored(writer, 'w', 'kept');
    const other = await cluster.connect('c', lasting('anew'));
    await other.subscribe('w', 1);
    const exclusive = await cluster.connect('c', { level: 5, clientId: 'e3' });
    expect(await exclusive.subscribe('$exclusive/y', 1)).toMatchObject({ granted: [1] });
    await cluster.kill('c');
    const refused = cluster.tryConnect('a', lasting('waiting'));
    const old = cluster.tryConnect('b', { level: 4, clean: false, clientId: 'waiting' });
    const anew = await cluster.connect('a', lasting('anew', { clean: true }));
    expect(anew.connack).toMatchObject({ sessionPresent: false });
    expect((await refused).connack).toMatchObject({ reasonCode: 0x88 });
    expect((await old).connack).toMatchObject({ returnCode: 3 });
    await cluster.startNode('c');
    const back = await cluster.connect('b', lasting('waiting'));
    expect(back.connack).toMatchObject({ sessionPresent: true });
    expect(payloadsOf(await back.packets(1))).toEqual(['kept']);
    // The one that began anew elsewhere is not there any more.
    const again = await cluster.connect('c', lasting('anew'));
    expect(again.connack).toMatchObject({ sessionPresent: true });
    expect(await again.barrier()).toEqual([]);
    const heir = await cluster.connect('a', { level: 5, clientId: 'e4' });
    expect(await heir.subscribe('$exclusive/y', 1)).toMatchObject({ granted: [1] });
  }, 60_000);
});
