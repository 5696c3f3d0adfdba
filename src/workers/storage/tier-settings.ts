/**
 * Settings of the journal's cold tier: section `storage.journal.tier`. Any thread; read by the configuration, by the journal worker, and by
 * the offline tool.
 */
import type { Static } from 'typebox';
import type { ObjectStore } from '../../core/ports/object-store.ts';
import { objectStorageProperties } from '../../core/settings/object-storage-settings.ts';
import { boolean, integer, section } from '../../core/settings/schema-builders.ts';
import type { TierLimits } from '../../journal/tier/tier-options.ts';
import { assert } from '../../std/assert.ts';

const mebibyte = 1024 * 1024;
const gibibyte = 1024 * mebibyte;

export const tierSettings = section(
  {
    enabled: boolean({
      description: 'Whether there is a cold tier. Streams that are to use it say so, unless all do.',
      default: false,
    }),
    allStreams: boolean({
      description: 'Whether streams that say nothing of it are tiered; those that are compacted never are.',
      default: false,
    }),
    ...objectStorageProperties('ringmq-tier/'),
    localBytes: integer({
      description:
        'Bytes of a partition after which local copies go of what is in the tier, for streams that do not say so themselves. 0: no bound.',
      default: gibibyte,
      minimum: 0,
      maximum: 1024 * 1024 * gibibyte,
    }),
    localMs: integer({
      description: 'The same by age of the newest record of a segment, ms. 0: no bound.',
      default: 0,
      minimum: 0,
      maximum: 100 * 365 * 86_400_000,
    }),
    partBytes: integer({
      description: 'Segments are uploaded in parts of this size; two of them are in memory for each upload.',
      default: 8 * mebibyte,
      minimum: 5 * mebibyte,
      maximum: 64 * mebibyte,
    }),
    uploadsMax: integer({ description: 'Uploads at once.', default: 2, minimum: 1, maximum: 16 }),
    cacheBytes: integer({
      description: 'Memory for what was read last from the tier.',
      default: 128 * mebibyte,
      minimum: 0,
      maximum: 1024 * gibibyte,
    }),
    readAheadBytes: integer({
      description: 'How much is fetched ahead for a reader that reads on.',
      default: 4 * mebibyte,
      minimum: 256 * 1024,
      maximum: 64 * mebibyte,
    }),
    backlogBytesMax: integer({
      description: 'Full segments that wait for the tier: more of it makes the storage degraded.',
      default: 8 * gibibyte,
      minimum: mebibyte,
      maximum: 1024 * 1024 * gibibyte,
    }),
  },
  { description: 'Older segments of the journal in S3-compatible object storage.' },
);

export type TierSettings = Static<typeof tierSettings>;

/** Asks nothing of the service. Rejects when the package that reaches it, or the file with the secret, is missing. */
export async function openTierObjects(settings: TierSettings): Promise<ObjectStore> {
  const { storageAdapters } = await import('../../storage/registry.ts');
  const adapter = storageAdapters.find(({ openObjects }) => openObjects !== undefined);
  assert(adapter?.openObjects !== undefined, 'an adapter gives objects to the cold tier');
  return adapter.openObjects(settings);
}

export function tierLimitsOf(settings: TierSettings): Partial<TierLimits> {
  const { allStreams, localBytes, localMs, partBytes, uploadsMax, cacheBytes, readAheadBytes, backlogBytesMax } =
    settings;
  const local = { bytes: localBytes === 0 ? null : localBytes, ms: localMs === 0 ? null : localMs };
  return { isDefault: allStreams, local, partBytes, uploadsMax, cacheBytes, readAheadBytes, backlogBytesMax };
}
