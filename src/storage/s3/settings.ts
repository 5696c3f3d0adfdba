/**
 * Settings of the storage adapter on S3-compatible object storage. Any thread; read by the configuration, and by the engine
 * beside it.
 */
import type { Static } from 'typebox';
import { objectStorageProperties } from '../../core/settings/object-storage-settings.ts';
import { integer, section } from '../../core/settings/schema-builders.ts';

const kibibyte = 1024;
const mebibyte = 1024 * kibibyte;

export const s3Settings = section(
  {
    ...objectStorageProperties('ringmq/'),
    uploadBytes: integer({
      description: 'Appends that wait are uploaded together, up to this size, bytes.',
      default: 4 * mebibyte,
      minimum: 64 * kibibyte,
      maximum: 64 * mebibyte,
    }),
    uploadIntervalMs: integer({
      description:
        'Least time between two uploads of a partition, ms. Appends gather meanwhile; fewer requests cost less.',
      default: 50,
      minimum: 0,
      maximum: 5000,
    }),
    segmentBytes: integer({
      description: 'Uploads are merged in the background into objects of up to this size, bytes.',
      default: 64 * mebibyte,
      minimum: mebibyte,
      maximum: 512 * mebibyte,
    }),
    cacheBytes: integer({
      description: 'Memory for what was written or read last, bytes.',
      default: 128 * mebibyte,
      minimum: 0,
      maximum: 64 * 1024 * mebibyte,
    }),
  },
  { description: 'Records in S3-compatible object storage.' },
);

export type S3Settings = Static<typeof s3Settings>;
