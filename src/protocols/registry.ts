/**
 * The protocols that this broker speaks: one line each, and the only place outside a protocol's own folder that knows
 * it. Loaded on the main thread, which needs names and settings, and on every connection worker.
 */
import type { Protocol } from '../core/ports/protocol.ts';
import { mqtt } from './mqtt/index.ts';

// biome-ignore format: one protocol per line, so that adding one adds a line.
export const protocols: readonly Protocol[] = [
  mqtt,
];
