/** How a node asks others who they are and to be taken in. */
import { afterEach, describe, expect, it } from 'vitest';
import { PeerCallError, probePeer, requestJoin } from '../../../../src/raft/transport/join-client.ts';
import type { JoinAnswer, JoinApplication } from '../../../../src/raft/transport/peer-ports.ts';
import { TestPeer, type TestPeerOptions } from './test-peer.ts';

const stops: (() => unknown)[] = [];

afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

const application: JoinApplication = {
  replica: 2 ** 53 - 1,
  name: 'new',
  address: '127.0.0.1:1',
  clusterId: '',
  staysLearner: true,
};
const added: JoinAnswer = {
  type: 'added',
  clusterId: 'c',
  members: [
    { replica: 1, name: 'a', address: '127.0.0.1:1', isLearner: false },
    { replica: 2 ** 53 - 1, name: 'new', address: '127.0.0.1:2', isLearner: true },
  ],
};

async function start(options: Partial<TestPeerOptions> = {}): Promise<TestPeer> {
  const peer = await TestPeer.start({ replica: 1, ...options });
  stops.push(() => peer.stop());
  return peer;
}

const call = { tls: null, timeoutMs: 2_000 };

describe('probePeer()', () => {
  it('says who lives at the address', async () => {
    const peer = await start();
    expect(await probePeer(peer.address, call)).toEqual({ clusterId: 'cluster', replica: 1, name: 'node-1' });
  });

  it('rejects with the address when nobody answers', async () => {
    const peer = await start();
    await peer.stop();
    stops.length = 0;
    const failure = probePeer(peer.address, call);
    await expect(failure).rejects.toThrow(PeerCallError);
    await expect(failure).rejects.toThrow(`Cannot ask node at "${peer.address}": `);
  });
});

describe('requestJoin()', () => {
  it.each<JoinAnswer>([
    added,
    { type: 'not-leader', leaderAddress: '127.0.0.1:7' },
    { type: 'not-leader', leaderAddress: '' },
    { type: 'unfounded' },
    { type: 'refused', reason: 'Its cluster is another one' },
  ])('brings the application to the node and its answer back: $type', async (answer) => {
    const asked: JoinApplication[] = [];
    const join = async (each: JoinApplication): Promise<JoinAnswer> => {
      asked.push(each);
      return answer;
    };
    const peer = await start({ join });
    expect(await requestJoin(peer.address, application, '', call)).toEqual(answer);
    expect(asked).toEqual([application]);
  });

  it('is refused with a wrong token before the node is asked, and logged once', async () => {
    const peer = await start({ joinToken: 'secret' });
    for (const guess of ['guess', 'another', '']) {
      const answer = await requestJoin(peer.address, application, guess, call);
      expect(answer).toEqual({ type: 'refused', reason: 'The join token is wrong' });
    }
    expect(peer.log).toEqual(['warn Node may not join: The join token is wrong']);
    expect(peer.counters.joinsRefused).toBe(3);
  });

  it('is taken with the right token', async () => {
    const peer = await start({ joinToken: 'secret', join: async () => added });
    expect(await requestJoin(peer.address, application, 'secret', call)).toEqual(added);
  });

  it.each([
    [{ replica: 0 }, 'It has no replica id'],
    [{ address: 'nowhere' }, 'Its address "nowhere" is not HOST:PORT'],
    [{ name: '' }, 'It has no name'],
  ])('is refused with %j', async (wrong, reason) => {
    const peer = await start();
    expect(await requestJoin(peer.address, { ...application, ...wrong }, '', call)).toEqual({
      type: 'refused',
      reason,
    });
  });

  it('rejects when the node cannot say', async () => {
    const join = async (): Promise<JoinAnswer> => {
      throw new Error('The change was not committed in time');
    };
    const peer = await start({ join });
    await expect(requestJoin(peer.address, application, '', call)).rejects.toThrow('was not committed in time');
  });
});
