/** What must hold after a round: nothing acknowledged is lost, nobody was told what cannot be. Thread of the test. */
import type { PlacementClient } from '../../src/rpc/client/placement-client.ts';
import type { Cluster } from './cluster.ts';
import { type Round, textOf } from './load.ts';
import type { WatchRecorder } from './watch-recorder.ts';

const PAGE = 500;
const READ_LIMIT_MS = 10_000;

/** Reads every shared key on every running node, which goes into the history, then judges the history. */
export async function checkRound(cluster: Cluster, round: Round, keys: number): Promise<string[]> {
  for (const node of cluster.running) {
    const client = await cluster.observer(node);
    for (let i = 0; i < keys; i++) await readInto(round, client, `final read at ${node.name}`, `${round.name}/${i}`);
  }
  const problems = round.history.check();
  for (const node of cluster.running) {
    problems.push(...(await checkUnique(await cluster.observer(node), round.name, round.unique, `at ${node.name}`)));
  }
  return problems;
}

async function readInto(round: Round, client: PlacementClient, reader: string, key: string): Promise<void> {
  const call = round.history.call(reader, key, { type: 'read', value: null });
  const { item } = await client.get(key, { timeoutMs: READ_LIMIT_MS });
  call.answered({ type: 'read', value: item === undefined ? null : textOf(item.value) });
}

/** Every key of `unique` must be there with its own name as its value. */
export async function checkUnique(
  client: PlacementClient,
  round: string,
  unique: ReadonlyMap<string, number>,
  where: string,
): Promise<string[]> {
  const prefix = `${round}/unique/`;
  const found = new Map<string, { readonly value: string; readonly revision: number }>();
  const end = `${prefix}\u{10ffff}`;
  for (let key = prefix; ; ) {
    const { items, hasMore } = await client.range({ key, end }, { limit: PAGE, timeoutMs: READ_LIMIT_MS });
    for (const item of items) found.set(textOf(item.key), { value: textOf(item.value), revision: item.modRevision });
    const last = items.at(-1);
    if (!hasMore || last === undefined) break;
    key = `${textOf(last.key)}\0`;
  }
  const problems: string[] = [];
  for (const [key, revision] of unique) {
    const item = found.get(key);
    if (item === undefined) problems.push(`${where}: the acknowledged ${key} (revision ${revision}) is lost`);
    else if (item.value !== key) problems.push(`${where}: ${key} has value ${item.value}`);
    else if (revision >= 0 && item.revision !== revision) {
      problems.push(`${where}: ${key} was acknowledged at revision ${revision} and has ${item.revision}`);
    }
  }
  return problems;
}

/** Every acknowledged write must have come to the watch, under its revision. */
export async function checkWatch(watch: WatchRecorder, round: Round, limitMs: number): Promise<string[]> {
  const wanted = new Map<number, readonly [string, string | null]>(round.revisions);
  for (const [key, revision] of round.unique) if (revision >= 0) wanted.set(revision, [key, key]);
  const last = Math.max(0, ...wanted.keys());
  const problems: string[] = [];
  if (!(await watch.reaches(last, limitMs))) {
    problems.push(`The watch is at revision ${watch.revision} and does not come to ${last} within ${limitMs} ms`);
  }
  for (const [revision, [key, value]] of wanted) {
    const event = watch.eventAt(revision, key);
    if (event === undefined) problems.push(`The watch missed revision ${revision}, ${key} = ${value}`);
    else if (event.value !== value)
      problems.push(`The watch said ${key} = ${event.value} at ${revision}, not ${value}`);
  }
  problems.push(...watch.takeProblems());
  watch.forget();
  return problems;
}
