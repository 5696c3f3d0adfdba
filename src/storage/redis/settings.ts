/**
 * Settings of the storage adapter on Redis. Any thread; read by the configuration, and by the engine beside it.
 */
import type { Static } from 'typebox';
import { boolean, choice, integer, section, text } from '../../core/settings/schema-builders.ts';

export const redisSettings = section(
  {
    address: text({
      description: 'Address `host:port` of the server, or of any node of the cluster.',
      default: '127.0.0.1:6379',
      format: 'host-port',
    }),
    mode: choice(['single', 'cluster'], {
      description: 'One server (with or without replicas), or Redis Cluster.',
      default: 'single',
    }),
    username: text({
      description: 'Name in the access control list of the server. Empty: its default user.',
      default: '',
      maxLength: 256,
    }),
    password: text({ description: 'Password. Empty: none.', default: '', maxLength: 1024, writeOnly: true }),
    passwordFile: text({
      description: 'File with the password, read for each new connection. Wins over `password`.',
      default: '',
      maxLength: 4096,
    }),
    database: integer({
      description: 'Number of the database; a cluster has 0 alone.',
      default: 0,
      minimum: 0,
      maximum: 65_535,
    }),
    tls: choice(['off', 'verify', 'unverified'], {
      description:
        'verify: TLS, with a certificate that is signed by a known authority for the name of the host. unverified: TLS with whoever answers.',
      default: 'off',
    }),
    tlsCa: text({
      description: 'File with the authority that signs the certificate of the server, PEM. Empty: the known ones.',
      default: '',
      maxLength: 4096,
    }),
    prefix: text({
      description: 'What the names of all keys begin with. One broker or cluster of brokers for each prefix.',
      default: 'ringmq:',
      pattern: '^[^{}\\s]{0,64}$',
      maxLength: 64,
    }),
    allowUnsafe: boolean({
      description: 'Accepts a server that answers before records are synced to its disk. Only for tests.',
      default: false,
    }),
    replicasMin: integer({
      description: 'Replicas of the server that must have a record before it is acknowledged.',
      default: 0,
      minimum: 0,
      maximum: 16,
    }),
    replicasLimitMs: integer({
      description: 'How long a write waits for replicas and for the disk before it counts as lost, ms.',
      default: 5000,
      minimum: 10,
      maximum: 60_000,
    }),
    connectLimitMs: integer({
      description: 'Time limit for a connection to the server, ms.',
      default: 5000,
      minimum: 10,
      maximum: 60_000,
    }),
  },
  { description: 'Records in Redis.' },
);

export type RedisSettings = Static<typeof redisSettings>;
