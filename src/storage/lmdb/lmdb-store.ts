/** Opens the LMDB adapter. Thread: the one that holds the store. */
import { StoreFront, type StoreFrontOptions } from '../../core/streams/store-front.ts';
import { LmdbEngine } from './lmdb-engine.ts';
import type { LmdbSettings } from './settings.ts';

/** `folder` is made when it is missing; no other process has it open. */
export function openLmdbStore(
  folder: string,
  settings: LmdbSettings,
  limits: StoreFrontOptions = {},
): Promise<StoreFront> {
  // A call waits for the commit before its own at most; the engine's watchdog must bark first.
  const callTimeoutMs = 2 * settings.commitTimeoutMs + 10_000;
  return StoreFront.open(new LmdbEngine(folder, settings), { ...limits, callTimeoutMs });
}
