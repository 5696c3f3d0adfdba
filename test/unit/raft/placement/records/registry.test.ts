import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { RecordKind } from '../../../../../src/raft/placement/record-kind.ts';
import { isManagedTag, recordKinds } from '../../../../../src/raft/placement/records/registry.ts';

const folder = join(import.meta.dirname, '../../../../../src/raft/placement/records');

describe('registry of typed records', () => {
  it('recordKinds has the kind of every file of the folder', async () => {
    const files = readdirSync(folder).filter((name) => name !== 'registry.ts');
    const kinds = await Promise.all(
      files.map(async (file) => {
        const module = (await import(join(folder, file))) as Readonly<Record<string, unknown>>;
        const found = Object.entries(module).filter(([name]) => name.endsWith('Kind'));
        expect(found, file).toHaveLength(1);
        const kind = found[0][1] as RecordKind<unknown>;
        expect(`${kind.name}.ts`).toBe(file);
        return kind;
      }),
    );
    expect(new Set(kinds)).toEqual(new Set(recordKinds));
    expect(recordKinds).toHaveLength(files.length);
  });

  it('every kind has a tag of one byte, a version and a tenant as its first part where it has one', () => {
    for (const { tag, version, keyFields, schema } of recordKinds) {
      expect(Number.isInteger(tag) && tag > 0 && tag < 255).toBe(true);
      expect(version).toBeGreaterThanOrEqual(1);
      if ('tenant' in schema.properties) expect(keyFields[0]).toBe('tenant');
    }
  });

  it('isManagedTag() knows the kinds that have commands of their own', () => {
    const managed = recordKinds.filter(({ tag }) => isManagedTag(tag)).map(({ name }) => name);
    expect(managed.sort()).toEqual(['node', 'partition', 'topic']);
  });
});
