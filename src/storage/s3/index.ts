/** The adapter on S3-compatible object storage, as the registry sees it. Any thread. */
import type { StorageAdapter } from '../../core/ports/storage-adapter.ts';
import { type S3Settings, s3Settings } from './settings.ts';

export const s3: StorageAdapter = {
  name: 's3',
  settings: s3Settings,
  open: async (settings, { limits, log }) => {
    const { StoreFront } = await import('../../core/streams/store-front.ts');
    const { S3Engine } = await import('./engine.ts');
    return StoreFront.open(new S3Engine(settings as S3Settings, log), limits);
  },
  openObjects: async (settings) => {
    const { TierObjects } = await import('./tier-objects.ts');
    return TierObjects.open(settings);
  },
};
