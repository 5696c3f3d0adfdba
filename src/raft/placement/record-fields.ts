/** Fields that several kinds of typed records have. Pure; read by the files of `records/`. */
import { integer, text } from '../../core/settings/schema-builders.ts';
import { limits } from './limits.ts';

export function name(description: string) {
  return text({ description, minLength: 1, maxLength: limits.nameLengthMax });
}

export function tenantName() {
  return name('Tenant that it belongs to.');
}

export function counter(description: string) {
  return integer({ description, minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
}

export function timeMs(description: string) {
  return counter(`${description} Milliseconds since 1970, by the clock of the node that wrote it.`);
}

export function freeText(description: string, maxLength: number) {
  return text({ description, minLength: 0, maxLength });
}
