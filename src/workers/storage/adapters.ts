/**
 * All storage adapters by name, with the settings that each takes: the journal, which is part of the broker, and those of the registry.
 * Loaded on the main thread, for the configuration; the adapters themselves are loaded in the journal worker.
 */
import type { StoragePart } from '../../config/schema.ts';
import { storageAdapters } from '../../storage/registry.ts';
import { journalName, journalSettings } from './journal-settings.ts';

/** The default first. */
export const storageParts: readonly StoragePart[] = [
  { name: journalName, settings: journalSettings },
  ...storageAdapters.map(({ name, settings }) => ({ name, settings })),
];
