/**
 * Settings of the storage adapter on S3-compatible object storage. Any thread; read by the configuration, and by the engine
 * beside it.
 */
import type { Static } from 'typebox';
import { boolean, integer, section, text } from '../../core/settings/schema-builders.ts';

const kibibyte = 1024;
const mebibyte = 1024 * kibibyte;

export const s3Settings = section(
  {
    endpoint: text({
      description: 'URL of the service, `http://` or `https://`. Empty: that of AWS for the region.',
      default: '',
      pattern: '^(https?://[^\\s@/?#]+(:\\d+)?/?)?$',
      maxLength: 1024,
    }),
    region: text({ description: 'Region of the bucket.', default: 'us-east-1', minLength: 1, maxLength: 64 }),
    bucket: text({ description: 'Bucket that holds the records.', default: 'ringmq', minLength: 3, maxLength: 63 }),
    createBucket: boolean({ description: 'Whether to make the bucket when it is missing.', default: false }),
    prefix: text({
      description: 'What the names of all objects begin with. One broker or cluster of brokers for each prefix.',
      default: 'ringmq/',
      pattern: '^([A-Za-z0-9._-]+/)*$',
      maxLength: 256,
    }),
    pathStyle: boolean({
      description: 'Whether the bucket stands in the path of the URL and not in the name of the host.',
      default: true,
    }),
    accessKeyId: text({
      description:
        "Access key. Empty: the environment, the files and the roles are asked that the service's tools ask.",
      default: '',
      maxLength: 256,
    }),
    secretAccessKey: text({
      description: 'Secret of the access key.',
      default: '',
      maxLength: 1024,
      writeOnly: true,
    }),
    secretAccessKeyFile: text({
      description: 'File with the secret. Wins over `secretAccessKey`.',
      default: '',
      maxLength: 4096,
    }),
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
    requestLimitMs: integer({
      description: 'Time limit for a request, ms; then it counts as lost.',
      default: 10_000,
      minimum: 100,
      maximum: 120_000,
    }),
  },
  { description: 'Records in S3-compatible object storage.' },
);

export type S3Settings = Static<typeof s3Settings>;
