/** Settings of the default storage adapter, the journal: section `storage.journal`. Any thread. */
import type { Static } from 'typebox';
import { integer, list, section, text } from '../../core/settings/schema-builders.ts';
import { tierSettings } from './tier-settings.ts';

/** Name of the adapter, and of its folder in the data folder. */
export const journalName = 'journal';

const mebibyte = 1024 * 1024;

/** Of the pace of cold reads. */
export const coldReadDefaults = { minBytesPerS: 32 * mebibyte, maxBytesPerS: 1024 * mebibyte } as const;

export const journalSettings = section(
  {
    directories: list(
      text({ description: 'A folder, on a disk of its own where there are several.', minLength: 1, maxLength: 4096 }),
      {
        description:
          'Folders of the journal; a partition lies in one of them. Empty: the folder `journal` in the data folder.',
        default: [],
        maxItems: 64,
      },
    ),
    tailBytes: integer({
      description: 'Newest records of all partitions that are kept in memory for readers.',
      default: 64 * mebibyte,
      minimum: mebibyte,
      maximum: 1024 * 1024 * mebibyte,
    }),
    freeBytesMin: integer({
      description: 'With less free space on its disk a directory refuses records, until there is room again.',
      default: 256 * mebibyte,
      minimum: 0,
      maximum: 1024 * 1024 * 1024 * mebibyte,
    }),
    coldReadBytesPerSMin: integer({
      description:
        'Bytes a second that readers of old records always get from the disk together while records are appended, even if appends take longer.',
      default: coldReadDefaults.minBytesPerS,
      minimum: mebibyte,
      maximum: 1024 * 1024 * mebibyte,
    }),
    coldReadBytesPerSMax: integer({
      description:
        'Bytes a second that they get at most; between the two it is as much as leaves appends nearly as quick as without them. 0: they get what the disk gives.',
      default: coldReadDefaults.maxBytesPerS,
      minimum: 0,
      maximum: 1024 * 1024 * mebibyte,
    }),
    tier: tierSettings,
  },
  { description: 'Records in segment files on the disks of this node, synced before they are acknowledged.' },
);

export type JournalSettings = Static<typeof journalSettings>;
