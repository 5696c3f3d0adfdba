/** Settings of the LMDB adapter. Any thread. */
import type { Static } from 'typebox';
import { integer, section } from '../../core/settings/schema-builders.ts';

const mebibyte = 1024 * 1024;

export const lmdbSettings = section(
  {
    mapBytes: integer({
      description: 'Address space for the data file; the file is only as large as its content.',
      default: 64 * 1024 * mebibyte,
      minimum: 16 * mebibyte,
      maximum: 16 * 1024 * 1024 * mebibyte,
    }),
    freeBytesMin: integer({
      description: 'With less free space on the disk appends are refused, until there is room again.',
      default: 256 * mebibyte,
      minimum: 0,
      maximum: 1024 * 1024 * 1024 * mebibyte,
    }),
    commitTimeoutMs: integer({
      description: 'A commit that takes longer has failed, ms: LMDB may never answer after some errors of the disk.',
      default: 20_000,
      minimum: 1000,
      maximum: 600_000,
    }),
  },
  { description: 'Records in one LMDB file on the disk of this node, synced before they are acknowledged.' },
);

export type LmdbSettings = Static<typeof lmdbSettings>;
