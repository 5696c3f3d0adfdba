/**
 * When the oldest message of a group was stored: one message of each log is read, at the most, and again when another one is the oldest.
 * Thread: the owner of the group.
 */
import { codeOf } from '../../transactions/internal-stream.ts';
import type { StoredBatch } from '../batch-cache.ts';
import type { LogFeed } from '../log-feed.ts';
import { MessageView } from '../message-record.ts';

const readBytes = 4 * 1024;
const view = new MessageView();

interface Seen {
  offset: number;
  timestamp: number | null;
  isLoading: boolean;
}

export class GroupAge {
  readonly #seen: Seen[];

  constructor(logCount: number) {
    this.#seen = Array.from({ length: logCount }, () => ({ offset: -1, timestamp: null, isLoading: false }));
  }

  /** Time of the message at this offset, ms since 1970; null while it is being read, and when it cannot be. */
  timeOf(feed: LogFeed, offset: number): number | null {
    const seen = this.#seen[feed.number];
    if (seen === undefined) return null;
    if (seen.offset !== offset) {
      seen.offset = offset;
      seen.timestamp = null;
    }
    if (seen.timestamp !== null) return seen.timestamp;
    const batch = feed.cache.find(offset);
    if (batch !== null) seen.timestamp = timestampIn(batch, offset);
    else if (!seen.isLoading) void this.#load(feed, seen);
    return seen.timestamp;
  }

  async #load(feed: LogFeed, seen: Seen): Promise<void> {
    seen.isLoading = true;
    const { offset } = seen;
    try {
      const batch = await feed.cache.load(offset, readBytes);
      if (batch !== null && seen.offset === offset) seen.timestamp = timestampIn(batch, offset);
    } catch (error) {
      // Asked again with the next look; whoever gives the message to a member says what is wrong.
      if (codeOf(error) === null) throw error;
    } finally {
      seen.isLoading = false;
    }
  }
}

function timestampIn(batch: StoredBatch, offset: number): number | null {
  const isInside = offset >= batch.baseOffset && offset < batch.nextOffset;
  const start = isInside ? batch.startOf(offset) : -1;
  const isSound = start >= 0 && view.read(batch.bytes, start, batch.limit, batch.baseTimestamp);
  return isSound ? view.timestamp : null;
}
