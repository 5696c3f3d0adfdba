/** The decision between joining and founding, with nodes that are functions. */
import { describe, expect, it } from 'vitest';
import { createLogger } from '../../../../src/observability/log.ts';
import { findGroup, type JoiningOptions, keepAsking } from '../../../../src/raft/node/joining.ts';
import type { JoinAnswer } from '../../../../src/raft/transport/peer-ports.ts';

const log = createLogger({ level: 'error', format: 'text' });
const unfounded: JoinAnswer = { type: 'unfounded' };
const added: JoinAnswer = { type: 'added', clusterId: 'group', members: [] };
const failed = { type: 'failed', reason: 'nobody listens' } as const;
type Answer = Awaited<ReturnType<JoiningOptions['ask']>>;

function optionsOf(
  own: string,
  addresses: readonly string[],
  ask: (address: string) => Answer,
  signal = new AbortController().signal,
): JoiningOptions {
  return { own, addresses, ask: async (address) => ask(address), random: () => 0, signal, log };
}

describe('findGroup()', () => {
  it('founds at once without anybody else to ask', async () => {
    const never = () => expect.fail('it asked');
    expect(await findGroup(optionsOf('a:1', [], never))).toBeNull();
    expect(await findGroup(optionsOf('a:1', ['a:1'], never))).toBeNull();
  });

  it('exactly the lowest address of a common list founds, when all others say that they have no group', async () => {
    const list = ['b:1', 'a:1', 'c:1'];
    expect(await findGroup(optionsOf('a:1', list, () => unfounded))).toBeNull();
    for (const own of ['b:1', 'c:1']) {
      let rounds = 0;
      const ask = (address: string): Answer => {
        if (address !== 'a:1') return unfounded;
        rounds++;
        return rounds > 2 ? added : unfounded;
      };
      expect(await findGroup(optionsOf(own, list, ask))).toEqual(added);
    }
  });

  it('does not found while another node of the list cannot be reached', async () => {
    let rounds = 0;
    const ask = (address: string): Answer => {
      if (address === 'b:1') return unfounded;
      rounds++;
      return rounds > 2 ? unfounded : failed;
    };
    expect(await findGroup(optionsOf('a:1', ['a:1', 'b:1', 'c:1'], ask))).toBeNull();
    expect(rounds).toBe(3);
  });

  it('says that it waits only when the answers are others than before', async () => {
    const told: unknown[] = [];
    const observed = createLogger({ level: 'error', format: 'text' });
    observed.info = (_message, fields) => told.push(fields?.answers);
    const answers: Answer[] = [failed, failed, unfounded, unfounded, unfounded, failed, added];
    const ask = () => answers.shift() ?? expect.fail('it asked on');
    await findGroup({ ...optionsOf('b:1', ['a:1'], ask), log: observed });
    expect(told).toEqual(['a:1: nobody listens', 'a:1: unfounded', 'a:1: nobody listens']);
  }, 20_000);

  it('never founds when it is not on the list itself', async () => {
    const abort = new AbortController();
    let rounds = 0;
    const ask = (): Answer => {
      if (++rounds === 3) abort.abort();
      return unfounded;
    };
    await expect(findGroup(optionsOf('a:1', ['b:1'], ask, abort.signal))).rejects.toThrow();
    expect(rounds).toBe(3);
  });

  it('follows the word of who leads, and asks nobody twice in a round', async () => {
    const asked: string[] = [];
    const ask = (address: string): Answer => {
      asked.push(address);
      if (address === 'b:1') return { type: 'not-leader', leaderAddress: 'd:1' };
      return address === 'd:1' ? added : failed;
    };
    expect(await findGroup(optionsOf('a:1', ['b:1', 'c:1'], ask))).toEqual(added);
    expect(asked).toEqual(['b:1', 'd:1']);
    asked.length = 0;
    const loop = (address: string): Answer => {
      asked.push(address);
      return asked.length > 5 ? added : { type: 'not-leader', leaderAddress: address === 'b:1' ? 'c:1' : 'b:1' };
    };
    await findGroup(optionsOf('a:1', ['b:1', 'c:1'], loop));
    expect(asked).toEqual(['b:1', 'c:1', 'b:1', 'c:1', 'b:1', 'c:1']);
  });
});

describe('keepAsking()', () => {
  it('asks until it is done', async () => {
    let asked = 0;
    const options = optionsOf('a:1', [], () => {
      asked++;
      return failed;
    });
    await keepAsking(
      options,
      () => ['b:1'],
      () => asked > 0,
    );
    expect(asked).toBe(1);
  });
});
