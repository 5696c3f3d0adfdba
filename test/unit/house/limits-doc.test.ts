/** `docs/limits.md` names settings that exist, and every limit that is counted. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { formatPath, walkSchema } from '../../../src/config/json-schema.ts';
import { createSchema } from '../../../src/config/schema.ts';
import { limitKinds } from '../../../src/observability/limit-metrics.ts';
import { refusalReasons } from '../../../src/observability/main-metrics.ts';
import { protocols } from '../../../src/protocols/registry.ts';

const text = readFileSync(join(import.meta.dirname, '../../../docs/limits.md'), 'utf8');

/** Paths of all settings; entries of lists are 0. */
function settings(): Set<string> {
  const paths = new Set<string>();
  walkSchema(createSchema(protocols), (path) => paths.add(formatPath(path)));
  return paths;
}

describe('docs/limits.md', () => {
  it('names settings that exist', () => {
    const known = settings();
    const named = [...text.matchAll(/`((?:limits|mqtt|listeners|access|sessions)\.[A-Za-z0-9.…]+)`/g)].map(
      ([, path = '']) => path.replace('.N.', '.0.').replace('.….', '.default.'),
    );
    expect(named.length).toBeGreaterThan(30);
    expect(named.filter((path) => !known.has(path))).toEqual([]);
  });

  it('says where each limit stands that is counted, and no other', () => {
    const named = new Set([...text.matchAll(/`L=([a-z-]+)`/g)].map(([, limit = '']) => limit));
    expect([...named].sort()).toEqual([...limitKinds].sort());
  });

  it('names reasons of refusals that exist', () => {
    const named = [...text.matchAll(/`R=([a-z-]+)`/g)].map(([, reason = '']) => reason);
    expect(named.filter((reason) => !refusalReasons.some((known) => known === reason))).toEqual([]);
    expect(named).toContain('memory');
  });
});
