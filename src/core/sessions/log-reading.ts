/**
 * What everybody who reads a message log from a place on has in common: what to read there, what a limit has dropped, and what a read that
 * failed means. Used by connected sessions and by groups; thread: the owner of the sessions.
 */
import { codeOf } from '../transactions/internal-stream.ts';
import type { LogFeed } from './log-feed.ts';
import { sourcesIn } from './message-survey.ts';
import { ReadPlan } from './read-plan.ts';
import type { SessionEntry } from './session-entry.ts';

const sourcesMax = 20_000;
const scanOffsetsMax = 65_536;
/** A reader that is so near behind what is not indexed yet reads the log instead of waiting. */
const scanInsteadOfWaiting = 4096;

type WantedFilters = Parameters<typeof sourcesIn>[1];

/** What to read from `position` on; null: `reader` waits for the index, and is called when it is there. */
export function planFrom(
  feed: LogFeed,
  position: number,
  filters: () => WantedFilters,
  reader: { resume(): void },
): ReadPlan | null {
  const { index, tail } = feed;
  const span = index.spanAt(position);
  if (span !== null) {
    const end = Math.min(span.to, tail);
    const sources = sourcesIn(span, filters(), position, end, sourcesMax);
    return new ReadPlan(sources, position, sources === null ? Math.min(end, position + scanOffsetsMax) : end);
  }
  const end = Math.min(index.nextFrom(position) ?? tail, tail);
  if (feed.willCover(position) && end - position > scanInsteadOfWaiting) {
    feed.waiting.add(reader);
    return null;
  }
  return new ReadPlan(null, position, Math.min(end, position + scanOffsetsMax));
}

/** Behind what a limit has dropped. */
export function afterSkips({ skips }: SessionEntry, partition: number, position: number): number {
  for (const skip of skips ?? []) {
    if (skip.partition === partition && position >= skip.from && position < skip.to) return skip.to;
  }
  return position;
}

/** Answers whether the place is damaged; otherwise it can be read again later, or was trimmed, which the feed knows then. Throws defects. */
export async function isDamage(feed: LogFeed, error: unknown): Promise<boolean> {
  const code = codeOf(error);
  if (code === null) throw error;
  if (code === 'STORAGE_OFFSET_OUT_OF_RANGE') {
    const places = await feed.partition.places().catch(() => null);
    if (places !== null) feed.trimmed(places.logStartOffset);
  }
  return code === 'STORAGE_CORRUPTED';
}
