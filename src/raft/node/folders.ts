/** Where a replica keeps its files in the folder of the placement centre; see `storage.ts`. Any thread. */
import { join } from 'node:path';
import type { ReplicaId } from '../consensus/types.ts';

export const logFolder = (folder: string, replica: ReplicaId): string => join(folder, `log-${replica}`);
export const stateFolder = (folder: string): string => join(folder, 'state');
