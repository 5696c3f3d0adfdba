/** Verdicts of the side-by-side runs. Pure; made by the `judge.ts` of each, printed by `mqtt.ts` and `kv.ts`. */
import { formatTable } from './table.ts';

export interface Check {
  readonly row: string;
  readonly what: string;
  readonly value: string;
  readonly limit: string;
  readonly isKept: boolean;
}

export function formatChecks(checks: readonly Check[]): string {
  const lines = checks.map(({ row, what, value, limit, isKept }) => [
    row,
    what,
    value,
    limit,
    isKept ? 'pass' : 'FAIL',
  ]);
  return formatTable(['row', 'measure', 'value', 'limit', 'verdict'], lines);
}
