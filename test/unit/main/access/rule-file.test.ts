/** The rule file: what is in force after each version of it. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { mechanisms } from '../../../../src/auth/registry.ts';
import { mechanismNames } from '../../../../src/config/access-schema.ts';
import type { AuditKind } from '../../../../src/core/ports/access.ts';
import { RuleFile, readRuleFile } from '../../../../src/main/access/rule-file.ts';
import { createLogger } from '../../../../src/observability/log.ts';
import { auditKinds } from '../../../../src/observability/worker-metrics.ts';

let folder: string;
let path: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ringmq-rules-'));
  path = join(folder, 'rules.yaml');
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('readRuleFile()', () => {
  test('reads every field', async () => {
    writeFileSync(
      path,
      `rules:
  - name: own
    permission: allow
    actions: [publish, subscribe]
    users: [ann, '']
    groups: [staff]
    clients: [c1]
    addresses: [10.0.0.0/8]
    topics: ['devices/\${clientid}/#']
    qos: [0, 1]
  - permission: deny
    topics: ['#']
    exact: true
`,
    );
    const read = await readRuleFile(path);
    expect(read).toMatchObject({
      kind: 'rules',
      rules: [
        { rule: 'file:own', permission: 'allow', users: ['ann', ''], qos: [0, 1], retain: 'any', isExact: false },
        { rule: 'file:2', permission: 'deny', actions: [], isExact: true, tenant: 'default' },
      ],
    });
  });

  test.each([
    ['', 'empty', 'holds no rules'],
    ['# nothing\n', 'empty', 'holds no rules'],
    ['rules: []', 'empty', 'holds no rules'],
    ['rules: [[[', 'broken', 'Cannot parse'],
    ['rule: []', 'broken', 'unknown'],
    ['rules:\n  - topics: [a]', 'broken', 'permission'],
    ['rules:\n  - permission: maybe', 'broken', 'permission'],
    ['rules:\n  - permission: allow\n    topics: [a#]', 'broken', 'wildcard'],
    ['rules:\n  - permission: allow\n    adresses: [::1]', 'broken', 'adresses'],
    ['just a text', 'broken', 'Cannot use'],
    ['rules:\n  - permission: allow\n    users: [1]', 'broken', 'users'],
  ])('%j is %s', async (text, kind, reason) => {
    writeFileSync(path, text);
    const read = await readRuleFile(path);
    expect(read).toMatchObject({ kind, reason: expect.stringContaining(reason) });
  });

  test('a file that is not there is empty, a folder is broken', async () => {
    expect(await readRuleFile(path)).toMatchObject({ kind: 'empty' });
    expect(await readRuleFile(folder)).toMatchObject({ kind: 'broken' });
  });
});

describe('RuleFile', () => {
  const good = 'rules:\n  - permission: deny\n    topics: [a]\n';

  test('start() denies everything by a broken file; later a broken one leaves the rules, a missing one denies', async () => {
    const told: (readonly [number, string | null])[] = [];
    const log = createLogger({ level: 'error', format: 'text', write: () => undefined });
    const file = new RuleFile({ path, log, changed: (rules, problem) => told.push([rules.length, problem]) });
    writeFileSync(path, '{');
    await file.start();
    expect(told).toEqual([[0, expect.stringContaining('Cannot parse')]]);
    writeFileSync(path, good);
    await file.reload();
    expect(told.at(-1)).toEqual([1, null]);
    writeFileSync(path, '{');
    await file.reload();
    expect(told).toHaveLength(2);
    expect(file.problem).toContain('Cannot parse');
    rmSync(path);
    await file.reload();
    expect(told.at(-1)).toEqual([0, expect.stringContaining('does not exist')]);
    file.stop();
  });
});

describe('names that stand in two places', () => {
  test('the mechanisms of the settings are those of the registry, in their order', () => {
    expect(mechanisms.map(({ name }) => name)).toEqual(mechanismNames);
  });

  test('the kinds of the metric are those of the core', () => {
    const kinds: readonly AuditKind[] = auditKinds;
    expect(new Set(kinds).size).toBe(4);
  });
});
