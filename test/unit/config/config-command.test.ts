import { execFileSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { Check } from 'typebox/value';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { type CommandResult, runConfigCommand } from '../../../src/config/config-command.ts';
import { loadConfiguration } from '../../../src/config/load.ts';
import { createSchema } from '../../../src/config/schema.ts';
import { showYaml } from '../../../src/config/show.ts';
import { parts } from './invented-protocol.ts';

let folder = '';
let file = '';
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'ringmq-show-'));
  file = path.join(folder, 'ringmq.yaml');
  await writeFile(file, 'workers: 3\nlimits: {connectionsMax: 9}\ncarrier: {key: hunter2, routes: [Rome]}\n');
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

const run = (...argv: string[]): Promise<CommandResult> =>
  runConfigCommand(argv, parts, { RINGMQ_LOG__FORMAT: 'json' });

describe('runConfigCommand() with show', () => {
  it('prints every value and its origin', async () => {
    const { exitCode, stdout, stderr } = await run('show', '--config', file, '--workers', '4');
    expect([exitCode, stderr]).toEqual([0, '']);
    const lines = stdout.split('\n');
    expect(lines).toContain('workers: 4 # flag --workers');
    expect(lines).toContain(`  connectionsMax: 9 # ${file}:2`);
    expect(lines).toContain('  format: json # environment RINGMQ_LOG__FORMAT');
    expect(lines).toContain('sharding: least-connections # default');
    expect(lines).toContain('  - name: carrier # default');
    expect(lines).toContain('    address: "127.0.0.1:7007" # default');
    expect(lines).toContain('    limitMs: none # default');
  });

  it('masks secrets, in JSON too', async () => {
    const [yaml, json] = [await run('show', file), await run('show', file, '--json')];
    expect(yaml.stdout).toContain(`  key: "********" # ${file}:3`);
    expect(yaml.stdout + json.stdout).not.toContain('hunter2');
  });

  it('--json prints values and origins', async () => {
    const { stdout } = await run('show', '--json', '--config', file);
    const { values, origins } = JSON.parse(stdout);
    expect(values).toMatchObject({ workers: 3, limits: { connectionsMax: 9 }, carrier: { routes: ['Rome'] } });
    expect(origins).toMatchObject({ workers: `${file}:1`, 'carrier.routes.0': `${file}:3`, 'http.address': 'default' });
  });

  it('prints YAML that says the same when it is read back', async () => {
    const text = fc.oneof(
      fc.string({ unit: 'binary', minLength: 1, maxLength: 20 }),
      fc.constantFrom('true', 'null', '1', '# x', 'a: b', '- a', '"', "'", 'y', '\u0085'),
    );
    const settings = fc.record({
      data: text.filter((value) => !value.includes('\0')),
      carrier: fc.record({
        whistle: text.filter((value) => [...value].length <= 20),
        routes: fc.array(text, { maxLength: 3 }),
        isFast: fc.boolean(),
      }),
      listeners: fc.constantFrom([], [{ name: 'a', protocol: 'carrier', address: '[::1]:0' }]),
    });
    await fc.assert(
      fc.asyncProperty(settings, async (given) => {
        const configuration = await loadConfiguration({ environment: {}, flags: [], parts, settings: given });
        const values = { ...configuration.node, ...Object.fromEntries(configuration.protocols) };
        expect(parse(showYaml(configuration, createSchema(parts)))).toEqual(values);
      }),
      { numRuns: 100 },
    );
  });
});

describe('runConfigCommand() with check', () => {
  it('says OK and ends with 0', async () => {
    expect(await run('check', file)).toEqual({ exitCode: 0, stdout: 'OK\n', stderr: '' });
  });

  it('names every problem and ends with 2', async () => {
    const { exitCode, stdout, stderr } = await run('check', '--workers', 'x', '--nope');
    expect([exitCode, stdout]).toEqual([2, '']);
    expect(stderr).toContain('flag --workers: Cannot use "x"');
    expect(stderr).toContain('flag --nope: unknown flag\n');
  });
});

describe('runConfigCommand() with schema', () => {
  it('prints a JSON Schema that takes what RingMQ takes', async () => {
    const schema = JSON.parse((await run('schema')).stdout);
    expect(schema.$schema).toContain('2020-12');
    expect(schema).not.toHaveProperty('required');
    expect(Check(schema, {})).toBe(true);
    expect(Check(schema, { limits: { connectionsMax: 1 }, carrier: { isFast: true } })).toBe(true);
    expect(Check(schema, { listeners: [{ name: 'a', protocol: 'carrier', address: ':1' }] })).toBe(true);
    expect(Check(schema, { listeners: [{ name: 'a' }] })).toBe(false);
    expect(Check(schema, { limts: {} })).toBe(false);
    expect(Check(schema, { workers: 65 })).toBe(false);
  });
});

describe('runConfigCommand() with a wrong command line', () => {
  it('explains itself', async () => {
    expect(await run()).toMatchObject({ exitCode: 1, stdout: '' });
    expect((await run('shwo')).stderr).toContain('Cannot run "config shwo": unknown command; did you mean "show"?');
    expect(await run('show', '--help')).toMatchObject({ exitCode: 0, stderr: '' });
  });
});

describe('the cost of loading', () => {
  it('imports neither TypeBox nor YAML when there is no file', () => {
    const module = fileURLToPath(new URL('../../../src/config/load.ts', import.meta.url));
    const script = `
      import { registerHooks } from 'node:module';
      const seen = [];
      registerHooks({ resolve(name, context, next) { seen.push(name); return next(name, context); } });
      const { loadConfiguration } = await import(${JSON.stringify(module)});
      await loadConfiguration({ environment: {}, flags: [], parts: [] });
      console.log(JSON.stringify(seen.filter((name) => !name.startsWith('.') && !name.startsWith('node:') && !name.startsWith('/'))));
    `;
    const output = execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
    expect(JSON.parse(output)).toEqual([]);
  });
});
