/**
 * How an S3-compatible object storage is reached: the settings that the storage adapter over it and the journal's cold tier have in
 * common. Any thread; read by the configuration.
 */
import type { Static } from 'typebox';
import { boolean, integer, section, text } from './schema-builders.ts';

/** The settings; whoever takes them adds its own. `prefix`: the default of that one. */
export function objectStorageProperties(prefix: string) {
  return {
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
      default: prefix,
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
    requestLimitMs: integer({
      description: 'Time limit for a request, ms; then it counts as lost.',
      default: 10_000,
      minimum: 100,
      maximum: 120_000,
    }),
  };
}

/** For the type alone. */
const plain = section(objectStorageProperties(''), { description: 'Object storage.' });

export type ObjectStorageSettings = Static<typeof plain>;
