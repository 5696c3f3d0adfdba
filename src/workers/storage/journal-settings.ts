/** Settings of the default storage adapter, the journal: section `storage.journal`. Any thread. */
import type { Static } from 'typebox';
import { integer, list, section, text } from '../../core/settings/schema-builders.ts';

/** Name of the adapter, and of its folder in the data folder. */
export const journalName = 'journal';

const mebibyte = 1024 * 1024;

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
  },
  { description: 'Records in segment files on the disks of this node, synced before they are acknowledged.' },
);

export type JournalSettings = Static<typeof journalSettings>;
