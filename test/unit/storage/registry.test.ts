import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { storageAdapters } from '../../../src/storage/registry.ts';

const folder = new URL('../../../src/storage/', import.meta.url);

describe('storageAdapters', () => {
  it('has one line for each folder', () => {
    const folders = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    expect(storageAdapters.map(({ name }) => name)).toEqual(folders.map(({ name }) => name).sort());
  });

  it('describes each setting, and says its default', () => {
    for (const { name, settings } of storageAdapters) {
      const described = settings as { readonly type: string; readonly properties: Record<string, unknown> };
      expect([name, described.type]).toEqual([name, 'object']);
      for (const [key, setting] of Object.entries(described.properties)) {
        expect([name, key, setting]).toMatchObject([name, key, { description: expect.stringMatching(/\w/) }]);
      }
    }
  });

  it('loads no package of an adapter before a store is opened', () => {
    const script = `
      import { registerHooks } from 'node:module';
      const seen = [];
      registerHooks({ resolve: (name, context, next) => { seen.push(name); return next(name, context); } });
      await import(${JSON.stringify(new URL('registry.ts', folder).href)});
      console.log(JSON.stringify(seen.filter((name) => !/^(node:|[.]|file:)/.test(name))));`;
    const output = execFileSync(process.execPath, ['--input-type=module', '--eval', script], { encoding: 'utf8' });
    expect(JSON.parse(output)).toEqual([]);
  });
});
