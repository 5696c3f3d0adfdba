/**
 * How much may wait for a session, and what goes when it is more. Thread: the owner of the sessions. The cost is that of a survey: some
 * searches for each topic that the session's filters match, whatever the number of messages.
 *
 * With several message logs each gives up its share: a log that holds a third of what waits keeps a third of what may.
 */
import type { LogFeed } from './log-feed.ts';
import { type FilterSince, Survey, sourcesIn, type TopicSource } from './message-survey.ts';
import type { SessionEntry, Skip } from './session-entry.ts';
import type { SessionTable } from './session-table.ts';

export interface SessionLimits {
  /** Messages that may wait for one session. */
  readonly countMax: number;
  /** Bytes of records that may wait for one session. */
  readonly bytesMax: number;
  /** Older messages are not delivered, milliseconds; infinite: no bound. */
  readonly ageMsMax: number;
  /** Which ones go when there are too many. */
  readonly overflow: 'drop-oldest' | 'refuse-newest';
}

/** A session that is so near the end is not made to wait for the index. */
const shortLag = 4096;
const sourcesMax = 100_000;
const skipsMax = 64;

interface Waiting {
  readonly feed: LogFeed;
  readonly from: number;
  readonly to: number;
  readonly survey: Survey;
  readonly count: number;
  readonly bytes: number;
}

/** What came of it. `wait`: the index is not there yet; the feed will be. */
export type LimitOutcome =
  | { readonly type: 'wait'; readonly feed: LogFeed }
  | { readonly type: 'done'; readonly dropped: number };

const nothing: LimitOutcome = { type: 'done', dropped: 0 };

/** Applies the limits to what waits for the session now. A log that the index does not cover is left alone. */
export function applyLimits(
  entry: SessionEntry,
  table: SessionTable,
  feeds: readonly LogFeed[],
  limits: SessionLimits,
): LimitOutcome {
  const all: Waiting[] = [];
  let count = 0;
  let bytes = 0;
  for (const feed of feeds) {
    const position = Math.max(table.position(entry, feed.number), feed.logStart);
    const skips = skipsOf(entry, feed.number);
    const from = Math.max(position, skips.at(-1)?.to ?? 0);
    for (const part of skipped(position, skips)) {
      const kept = surveyOf(entry, feed, part.from, part.to);
      count += kept?.count ?? 0;
      bytes += kept?.bytes ?? 0;
    }
    if (from >= feed.tail) continue;
    const survey = surveyOf(entry, feed, from, feed.tail);
    if (survey === null) {
      if (feed.willCover(from) && feed.tail - from > shortLag) return { type: 'wait', feed };
      continue;
    }
    all.push({ feed, from, to: feed.tail, survey, count: survey.count, bytes: survey.bytes });
  }
  // What was accepted before takes its part of what may wait.
  const countMax = Math.max(0, limits.countMax - count);
  const bytesMax = Math.max(0, limits.bytesMax - bytes);
  const countAll = all.reduce((sum, each) => sum + each.count, 0);
  const bytesAll = all.reduce((sum, each) => sum + each.bytes, 0);
  const isTooMuch = countAll > countMax || bytesAll > bytesMax;
  let dropped = 0;
  for (const each of all) {
    if (isTooMuch)
      dropped += cut(
        entry,
        table,
        each,
        limits,
        shareOf(countMax, each.count, countAll),
        shareOf(bytesMax, each.bytes, bytesAll),
      );
    else if (entry.online === null && entry.skips === null) advance(entry, table, each);
  }
  return dropped === 0 ? nothing : { type: 'done', dropped };
}

/** What waits for a session, without what it has in flight. */
export interface Backlog {
  readonly count: number;
  readonly bytes: number;
  /** False: there is more, in a part of a log that the index does not cover. */
  readonly isCounted: boolean;
  /** Of the first message in each log; below 0: none waits there. */
  readonly first: readonly number[];
}

/** Measures what waits, and changes nothing. Costs as much as the limits. */
export function backlogOf(entry: SessionEntry, table: SessionTable, feeds: readonly LogFeed[]): Backlog {
  let count = 0;
  let bytes = 0;
  let isCounted = true;
  const first = feeds.map((feed) => {
    const position = Math.max(table.position(entry, feed.number), feed.logStart);
    const skips = skipsOf(entry, feed.number);
    const rest = { from: Math.max(position, skips.at(-1)?.to ?? 0), to: feed.tail };
    let offset = -1;
    for (const { from, to } of [...skipped(position, skips), rest]) {
      if (from >= to) continue;
      const survey = surveyOf(entry, feed, from, to);
      if (survey === null) isCounted = false;
      else if (survey.count > 0 && offset < 0) offset = survey.firstOffset;
      count += survey?.count ?? 0;
      bytes += survey?.bytes ?? 0;
    }
    return offset;
  });
  return { count, bytes, isCounted, first };
}

function shareOf(max: number, part: number, all: number): number {
  return all <= max ? part : Math.floor((max * part) / all);
}

function cut(
  entry: SessionEntry,
  table: SessionTable,
  { feed, survey, count, to }: Waiting,
  { overflow }: SessionLimits,
  countMax: number,
  bytesMax: number,
): number {
  if (overflow === 'drop-oldest') {
    table.setPosition(entry, feed.number, survey.newest(countMax, bytesMax));
  } else {
    const from = survey.oldest(countMax, bytesMax);
    if (from < to) addSkip(entry, { partition: feed.number, from, to });
  }
  return count - survey.count;
}

/** Nothing of what lies between is for this session. */
function advance(entry: SessionEntry, table: SessionTable, { feed, survey }: Waiting): void {
  table.setPosition(entry, feed.number, survey.firstOffset);
}

function surveyOf(entry: SessionEntry, feed: LogFeed, from: number, to: number): Survey | null {
  const spans = feed.index.covering(from, to);
  if (spans === null) return null;
  const filters: FilterSince[] = [];
  for (const { filter, grade, since } of entry.subscriptions) {
    if (grade > 0) filters.push({ filter, since: since[feed.number] ?? 0 });
  }
  const sources: TopicSource[] = [];
  for (const span of spans) {
    const found = sourcesIn(span, filters, from, to, sourcesMax);
    if (found === null) return null;
    sources.push(...found);
  }
  return new Survey(sources, from, to);
}

function skipsOf(entry: SessionEntry, partition: number): readonly Skip[] {
  return (entry.skips ?? []).filter((skip) => skip.partition === partition);
}

/** What was accepted between the position and the end of the last skip. */
function skipped(position: number, skips: readonly Skip[]): { readonly from: number; readonly to: number }[] {
  const parts: { from: number; to: number }[] = [];
  let from = position;
  for (const skip of skips) {
    if (from < skip.from) parts.push({ from, to: skip.from });
    from = Math.max(from, skip.to);
  }
  return parts;
}

/** Skips that touch become one; so do the last two when there are too many of them. */
function addSkip(entry: SessionEntry, added: Skip): void {
  const others = (entry.skips ?? []).filter(({ partition }) => partition !== added.partition);
  const mine = skipsOf(entry, added.partition).slice();
  const last = mine.at(-1);
  if (last !== undefined && (last.to >= added.from || mine.length >= skipsMax)) {
    mine[mine.length - 1] = { ...last, to: added.to };
  } else mine.push(added);
  entry.skips = [...others, ...mine];
}

/** Forgets skips that the session has passed. */
export function forgetSkips(entry: SessionEntry, positions: readonly number[]): void {
  if (entry.skips === null) return;
  const left = entry.skips.filter(({ partition, to }) => to > positions[partition]);
  entry.skips = left.length === 0 ? null : left;
}
