/**
 * The storage adapters: one line each, and the only place outside an adapter's own folder that knows it. Loaded wherever names and
 * settings are needed; the adapters themselves, and the packages that they need, are loaded when a store is opened.
 */
import type { StorageAdapter } from '../core/ports/storage-adapter.ts';
import { lmdb } from './lmdb/index.ts';
import { memory } from './memory/index.ts';
import { mysql } from './mysql/index.ts';
import { postgres } from './postgres/index.ts';
import { redis } from './redis/index.ts';
import { s3 } from './s3/index.ts';

// biome-ignore format: one adapter per line, so that adding one adds a line.
export const storageAdapters: readonly StorageAdapter[] = [
  lmdb,
  memory,
  mysql,
  postgres,
  redis,
  s3,
];
