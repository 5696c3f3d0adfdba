/** Opens the memory adapter. Thread: the one that holds the store. */
import { StoreFront, type StoreFrontOptions } from '../../core/streams/store-front.ts';
import { MemoryEngine } from './memory-engine.ts';
import type { MemorySettings } from './settings.ts';

export function openMemoryStore(settings: MemorySettings, limits: StoreFrontOptions = {}): Promise<StoreFront> {
  return StoreFront.open(new MemoryEngine(settings.bytesMax), limits);
}
