import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { documents, renderConfigurationDocument } from '../../../scripts/generate-docs.ts';
import { walkSchema } from '../../../src/config/json-schema.ts';
import { loadConfiguration } from '../../../src/config/load.ts';
import { createSchema } from '../../../src/config/schema.ts';
import { parts } from '../config/invented-protocol.ts';

describe.each(documents)('$url.pathname', ({ url, render }) => {
  it('is what the generator writes (node scripts/generate-docs.ts)', async () => {
    expect(await readFile(url, 'utf8')).toBe(render());
  });
});

describe('renderConfigurationDocument()', () => {
  const text = renderConfigurationDocument(parts);

  it('lists every setting once, with its variable', () => {
    walkSchema(createSchema(parts), (settingPath, schema) => {
      const isGroup = schema.properties !== undefined || settingPath.join('.') === 'listeners';
      // Entries of lists of plain values have no row of their own.
      if (isGroup || settingPath.at(-1) === 0) return;
      expect(text.split(`| \`${settingPath.join('.')}\` |`), settingPath.join('.')).toHaveLength(2);
    });
  });

  it('shows an example that a broker takes', async () => {
    const example = /```yaml\n([\s\S]*?)```/.exec(text)?.[1] ?? '';
    const { node } = await loadConfiguration({ environment: {}, flags: [], parts, settings: parse(example) });
    expect(node.listeners).toHaveLength(2);
  });

  it('has one title and tables whose rows have all cells', () => {
    expect(text.match(/^# /gm)).toHaveLength(1);
    for (const line of text.split('\n').filter((one) => one.startsWith('| '))) {
      expect(line.split(/(?<!\\)\|/)).toHaveLength(7);
    }
  });
});
