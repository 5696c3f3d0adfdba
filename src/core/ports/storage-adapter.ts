/**
 * The port of a storage adapter: what one folder of `src/storage` gives to the rest of the broker. An adapter is added with one folder
 * and one line in `src/storage/registry.ts`. Thread: names and schemas on any; `open` on the one that holds the store.
 */
import type { TObject } from 'typebox';
import type { Logger } from '../../observability/log.ts';
import type { ObjectStorageSettings } from '../settings/object-storage-settings.ts';
import type { StoreFrontOptions } from '../streams/store-front.ts';
import type { ObjectStore } from './object-store.ts';
import type { StreamStore } from './stream-store.ts';

export interface StorageAdapter {
  /** Lower-case; key of its section below `storage`. */
  readonly name: string;
  /** Schema of its section, with defaults and descriptions. */
  readonly settings: TObject;
  /**
   * Opens the store; packages that only this adapter needs are loaded now. `settings` is the validated section.
   *
   * @throws StorageError STORAGE_UNAVAILABLE, or an Error that says what is wrong with the settings
   */
  open(settings: unknown, context: StorageContext): Promise<StreamStore>;
  /**
   * Opens a bucket for the objects of another store, its cold tier. Only of adapters that have such a service. Nothing is asked of the
   * service yet: it may be away.
   *
   * @throws an Error that says what is wrong with the settings, or which package is missing
   */
  openObjects?(settings: ObjectStorageSettings): Promise<ObjectStore>;
}

export interface StorageContext {
  /** Folder of this adapter's own on the disk of the node; made by the adapter if it keeps anything there. */
  readonly folder: string;
  readonly log: Logger;
  /** Bounds that are the same for all adapters; what is left out has its default. */
  readonly limits: StoreFrontOptions;
}
