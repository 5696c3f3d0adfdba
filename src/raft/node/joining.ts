/**
 * How a node without a group gets one: it asks the nodes that it was told of, or founds a group itself. Thread: the Raft
 * worker, at the first start of a data folder.
 *
 * With the same list on every node, all are without a group at first and exactly one may found it: the one with the
 * lowest address, and only when every other node of the list says that it has no group either. A node that cannot be
 * reached could be the last member of a group that exists.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '../../observability/log.ts';
import type { JoinAnswer } from '../transport/peer-ports.ts';

const PAUSE_MS_MIN = 100;
const PAUSE_MS_MAX = 2_000;

type Added = Extract<JoinAnswer, { readonly type: 'added' }>;
type Attempt = JoinAnswer | { readonly type: 'failed'; readonly reason: string };

export interface JoiningOptions {
  /** Address under which the others know this node. */
  readonly own: string;
  readonly addresses: readonly string[];
  /** Asks one node for membership; `failed` when it cannot be asked. */
  ask(address: string): Promise<Attempt>;
  /** Between 0 and 1. */
  random(): number;
  readonly signal: AbortSignal;
  readonly log: Logger;
}

/** Resolves with the membership, or with null when this node has to found the group. Rejects when it is aborted. */
export async function findGroup(options: JoiningOptions): Promise<Added | null> {
  const { own, addresses, signal, log } = options;
  const others = addresses.filter((address) => address !== own);
  if (others.length === 0) return null;
  const mayFound = others.length < addresses.length && others.every((address) => own < address);
  let told = '';
  for (let pauseMs = PAUSE_MS_MIN; ; pauseMs = Math.min(pauseMs * 2, PAUSE_MS_MAX)) {
    const round = await askAll(others, options);
    if (round.added !== null) return round.added;
    if (mayFound && round.unfounded === others.length) return null;
    const answers = round.answers.join('; ');
    if (answers !== told) log.info('Node waits for a group', { asked: others.length, answers });
    told = answers;
    await sleep(pauseMs * (0.5 + options.random() / 2), undefined, { signal });
  }
}

interface Round {
  readonly added: Added | null;
  readonly unfounded: number;
  readonly answers: readonly string[];
}

/** Asks every address once, and each leader that is named on the way. */
async function askAll(others: readonly string[], options: JoiningOptions): Promise<Round> {
  const waiting = [...others];
  const asked = new Set<string>([options.own]);
  const answers: string[] = [];
  let unfounded = 0;
  while (waiting.length > 0) {
    const address = waiting.shift() ?? '';
    if (address === '' || asked.has(address)) continue;
    asked.add(address);
    options.signal.throwIfAborted();
    const answer = await options.ask(address);
    if (answer.type === 'added') return { added: answer, unfounded, answers };
    if (answer.type === 'unfounded') unfounded++;
    if (answer.type === 'not-leader') waiting.unshift(answer.leaderAddress);
    answers.push(`${address}: ${'reason' in answer ? answer.reason : answer.type}`);
  }
  return { added: null, unfounded, answers };
}

/**
 * Asks again and again until `isDone`, after `first` each time: a leader forgets who wanted to be promoted when it is
 * replaced. Never rejects but for `signal`.
 */
export async function keepAsking(
  options: JoiningOptions,
  addresses: () => readonly string[],
  isDone: () => boolean,
  first: () => Promise<void> = async () => undefined,
): Promise<void> {
  for (;;) {
    await sleep(PAUSE_MS_MAX / 2 + (options.random() * PAUSE_MS_MAX) / 2, undefined, { signal: options.signal });
    if (isDone()) return;
    await first();
    await askAll(addresses(), options);
  }
}
