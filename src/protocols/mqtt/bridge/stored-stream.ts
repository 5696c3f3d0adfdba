/**
 * The stream `__bridge.<name>` of one bridge: made when it is missing, kept within the limits of the configuration. Used on every
 * connection worker.
 */
import type { StreamPartition, StreamSettings, StreamStore } from '../../../core/ports/stream-store.ts';
import { StorageError } from '../../../core/streams/storage-error.ts';

const segmentsMin = 8;
const segmentBytesMin = 1_048_576;
const segmentBytesMax = 67_108_864;

export function storedStreamName(bridge: string): string {
  return `__bridge.${bridge}`;
}

/** Retention goes by whole segments, so they are small beside what may wait. */
export function storedStreamSettings({ bytesMax, ageMaxS }: { bytesMax: number; ageMaxS: number }): StreamSettings {
  const share = Math.floor(bytesMax / segmentsMin);
  return {
    retentionBytes: bytesMax,
    retentionMs: ageMaxS * 1000,
    segmentBytes: Math.min(segmentBytesMax, Math.max(segmentBytesMin, share)),
  };
}

/** Makes the stream, or opens it with the settings of now. Rejects with StorageError. */
export async function openStoredStream(
  store: StreamStore,
  name: string,
  settings: StreamSettings,
): Promise<StreamPartition> {
  try {
    return await store.create(name, settings);
  } catch (error) {
    if (!(error instanceof StorageError) || error.code !== 'STORAGE_PARTITION_EXISTS') throw error;
  }
  const { retentionBytes, retentionMs } = settings;
  await store.change(name, {
    ...(retentionBytes === undefined ? {} : { retentionBytes }),
    ...(retentionMs === undefined ? {} : { retentionMs }),
  });
  return store.open(name);
}
