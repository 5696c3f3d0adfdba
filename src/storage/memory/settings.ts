/** Settings of the memory adapter. Any thread. */
import type { Static } from 'typebox';
import { integer, section } from '../../core/settings/schema-builders.ts';

export const memorySettings = section(
  {
    bytesMax: integer({
      description:
        'Bytes of records that are kept; appends beyond it are refused, until retention or deletion has made room.',
      default: 1024 * 1024 * 1024,
      minimum: 1024 * 1024,
      maximum: Number.MAX_SAFE_INTEGER,
    }),
  },
  { description: 'Records in memory. They are gone when the broker ends: for tests, and for data that may be lost.' },
);

export type MemorySettings = Static<typeof memorySettings>;
