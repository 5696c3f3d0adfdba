import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { variableOf } from '../../../src/config/environment.ts';
import { startHelp } from '../../../src/config/flags.ts';
import {
  type ConfigurationSources,
  type EffectiveConfiguration,
  loadConfiguration,
  resolveWorkers,
} from '../../../src/config/load.ts';
import { describeOrigin } from '../../../src/config/source.ts';
import { BrokerError } from '../../../src/std/errors.ts';
import { parts } from './invented-protocol.ts';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'ringmq-config-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

let fileCount = 0;
async function fileOf(content: string | Uint8Array): Promise<string> {
  const file = path.join(folder, `ringmq-${fileCount++}.yaml`);
  await writeFile(file, content);
  return file;
}

function load(sources: Partial<ConfigurationSources> = {}): Promise<EffectiveConfiguration> {
  return loadConfiguration({ environment: {}, flags: [], parts, ...sources });
}

async function loadYaml(
  content: string | Uint8Array,
  sources: Partial<ConfigurationSources> = {},
): Promise<EffectiveConfiguration> {
  return load({ file: await fileOf(content), ...sources });
}

/** The problems, with the file's folder taken away; fails when the configuration is accepted. */
async function problemsOf(loading: Promise<EffectiveConfiguration>): Promise<string[]> {
  const error: unknown = await loading.then(
    () => new Error('it was accepted'),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(BrokerError);
  const { code, message } = error as BrokerError;
  expect(code).toBe('CONFIG_INVALID');
  const [head, ...lines] = message.split('\n');
  if (lines.length <= 50)
    expect(head).toBe(`Cannot use the configuration: ${lines.length === 1 ? '1 problem' : `${lines.length} problems`}`);
  return lines.map((line) => line.replace(/^.*ringmq-\d+\.yaml/, 'ringmq.yaml'));
}

function originOf({ origins }: EffectiveConfiguration, settingPath: string): string | undefined {
  const origin = origins.get(settingPath);
  return origin && describeOrigin(origin).replace(/^.*ringmq-\d+\.yaml/, 'ringmq.yaml');
}

function carrierOf({ protocols }: EffectiveConfiguration): Record<string, unknown> {
  return protocols.get('carrier') as Record<string, unknown>;
}

describe('loadConfiguration() with nothing given', () => {
  it('fills in every default and knows that they are defaults', async () => {
    const configuration = await load();
    const { node } = configuration;
    expect(node.workers).toBe('auto');
    expect(node.listeners).toMatchObject([
      { name: 'carrier', protocol: 'carrier', address: '127.0.0.1:7007', connectionsMax: 0, backlog: 1024 },
      { name: 'talking-drum', protocol: 'talking-drum', address: '127.0.0.1:7008', connectionsMax: 0, backlog: 1024 },
    ]);
    expect(node.http.address).toMatch(/^127\.0\.0\.1:/);
    expect(carrierOf(configuration)).toEqual({
      ...{
        pigeonsMax: 12,
        isFast: false,
        nestBytes: 1024,
        whistle: 'peep',
        breed: 'homer',
        routes: [],
        rest: { limitMs: 'none' },
      },
    });
    expect(Object.keys(node)).not.toContain('carrier');
    for (const origin of configuration.origins.values()) expect(origin).toEqual({ kind: 'default' });
  });

  it('gives data that workers can be sent', async () => {
    const { node, protocols } = await load();
    expect(structuredClone({ node, protocols })).toEqual({ node, protocols });
  });

  it('resolveWorkers() makes auto a number', () => {
    expect(resolveWorkers(3)).toBe(3);
    expect(resolveWorkers('auto')).toBeGreaterThanOrEqual(1);
    expect(resolveWorkers('auto')).toBeLessThanOrEqual(64);
  });
});

describe('loadConfiguration() with a file', () => {
  it('takes values with their lines', async () => {
    const configuration = await loadYaml(
      '# comment\nworkers: 3\nlimits:\n  connectionsMax: 5\ncarrier: {isFast: true, routes: [Rome, Köln]}\n',
    );
    expect(configuration.node.workers).toBe(3);
    expect(configuration.node.limits.connectionsMax).toBe(5);
    expect(carrierOf(configuration)).toMatchObject({ isFast: true, routes: ['Rome', 'Köln'], pigeonsMax: 12 });
    expect(originOf(configuration, 'workers')).toBe('ringmq.yaml:2');
    expect(originOf(configuration, 'limits.connectionsMax')).toBe('ringmq.yaml:4');
    expect(originOf(configuration, 'limits.ringBytes')).toBe('default');
    expect(originOf(configuration, 'carrier.routes.1')).toBe('ringmq.yaml:5');
  });

  it('replaces the default listeners by its own', async () => {
    const { node } = await loadYaml('listeners:\n  - {name: a, protocol: carrier, address: "[::1]:0"}\n');
    expect(node.listeners).toMatchObject([
      { name: 'a', protocol: 'carrier', address: '[::1]:0', connectionsMax: 0, backlog: 1024 },
    ]);
  });

  it('binds to loopback when an address has no host', async () => {
    const { node } = await loadYaml(
      'http: {address: ":9000"}\nlisteners: [{name: a, protocol: carrier, address: ":0"}]',
    );
    expect([node.http.address, node.listeners[0]?.address]).toEqual(['127.0.0.1:9000', '127.0.0.1:0']);
  });

  it.each(['', '\n', '# only a comment\n', '---\n', '{}', 'limits:\n', '\ufeffworkers: auto'])(
    'accepts %j',
    async (content) => {
      expect((await loadYaml(content)).node.workers).toBe('auto');
    },
  );

  it.each<[string, string[]]>([
    ['workers: 2\nlog:\n  levl: info', ['ringmq.yaml:3:3: unknown key "levl" in "log"; did you mean "level"?']],
    ['limts: {}', ['ringmq.yaml:1:1: unknown key "limts" in the top level; did you mean "limits"?']],
    ['banana: 1', ['ringmq.yaml:1:1: unknown key "banana" in the top level']],
    [
      '\n\n\nworkers:   abc',
      ['ringmq.yaml:4:12: Cannot use "abc" for "workers": expected "auto" or a whole number from 1 to 64'],
    ],
    ['workers: 65', ['ringmq.yaml:1:10: Cannot use 65 for "workers": expected "auto" or a whole number from 1 to 64']],
    [
      'workers: 1.5',
      ['ringmq.yaml:1:10: Cannot use 1.5 for "workers": expected "auto" or a whole number from 1 to 64'],
    ],
    [
      'workers: .nan',
      ['ringmq.yaml:1:10: Cannot use NaN for "workers": expected "auto" or a whole number from 1 to 64'],
    ],
    ['workers:', ['ringmq.yaml:1:9: Cannot use nothing for "workers": expected "auto" or a whole number from 1 to 64']],
    ['limits: 5', ['ringmq.yaml:1:9: Cannot use 5 for "limits": expected a map of settings']],
    ['limits: []', ['ringmq.yaml:1:9: Cannot use a list for "limits": expected a map of settings']],
    ['listeners: {}', ['ringmq.yaml:1:12: Cannot use a map for "listeners": expected a list of at most 64 entries']],
    [
      'log: {level: loud}',
      ['ringmq.yaml:1:14: Cannot use "loud" for "log.level": expected "error", "warn", "info" or "debug"'],
    ],
    [
      'limits: {ringBytes: 100000}',
      ['ringmq.yaml:1:21: Cannot use 100000 for "limits.ringBytes": expected a power of two from 65536 to 1073741824'],
    ],
    ['carrier: {isFast: "yes"}', ['ringmq.yaml:1:19: Cannot use "yes" for "carrier.isFast": expected true or false']],
    [
      'carrier: {whistle: ""}',
      ['ringmq.yaml:1:20: Cannot use "" for "carrier.whistle": expected a text of 1 to 20 characters'],
    ],
    [
      'carrier: {routes: [a, b, c, d]}',
      ['ringmq.yaml:1:19: Cannot use a list of 4 entries for "carrier.routes": expected a list of at most 3 entries'],
    ],
    [
      'carrier: {key: abc}',
      ['ringmq.yaml:1:16: Cannot use the given value for "carrier.key": expected a text of at least 4 characters'],
    ],
    [
      'http: {address: "1883"}',
      [
        'ringmq.yaml:1:17: Cannot use "1883" for "http.address": expected an address such as 127.0.0.1:1883 or [::1]:1883',
      ],
    ],
    [
      'listeners: [{name: a}]',
      [
        'ringmq.yaml:1:13: the setting "listeners.0.protocol" is missing: expected "carrier" or "talking-drum"',
        'ringmq.yaml:1:13: the setting "listeners.0.address" is missing: expected an address such as 127.0.0.1:1883, [::1]:1883 or unix:/path',
      ],
    ],
    [
      'listeners: [{name: a, protocol: smoke, address: "x:1"}]',
      ['ringmq.yaml:1:33: Cannot use "smoke" for "listeners.0.protocol": expected "carrier" or "talking-drum"'],
    ],
    [
      'workers: 0\nlog: {format: xml, level: 3}\nnope: 1',
      [
        'ringmq.yaml:1:10: Cannot use 0 for "workers": expected "auto" or a whole number from 1 to 64',
        'ringmq.yaml:2:15: Cannot use "xml" for "log.format": expected "text" or "json"',
        'ringmq.yaml:2:27: Cannot use 3 for "log.level": expected "error", "warn", "info" or "debug"',
        'ringmq.yaml:3:1: unknown key "nope" in the top level',
      ],
    ],
    [
      'supervision: {restartBackoffMs: 50, restartBackoffMaxMs: 20}',
      ['ringmq.yaml:1:33: Cannot use 50 for "supervision.restartBackoffMs": "supervision.restartBackoffMaxMs" is 20'],
    ],
    [
      'listeners:\n- {name: a, protocol: carrier, address: ":1"}\n- {name: a, protocol: carrier, address: "127.0.0.1:1"}',
      [
        'ringmq.yaml:3:10: Cannot use "a" for "listeners.1.name": another listener has this name',
        'ringmq.yaml:3:41: Cannot use "127.0.0.1:1" for "listeners.1.address": "listeners.0.address" has it already',
      ],
    ],
  ])('refuses %j', async (content, expected) => {
    expect(await problemsOf(loadYaml(content))).toEqual(expected);
  });

  it.each<[string, string]>([
    ['workers: 1\nworkers: 2', 'ringmq.yaml:2:1: the key "workers" is there twice'],
    ['log:\n\tlevel: info', 'a tab'],
    ['workers: &a 1\ndata: *a', 'ringmq.yaml:1:13: Cannot use an anchor'],
    ['a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]', 'Cannot use an anchor'],
    ['log: {<<: {level: info}}', 'ringmq.yaml:1:7: Cannot use the merge key "<<"'],
    ['%YAML 1.1\n---\nlog: {<<: {level: info}}', 'Cannot use the merge key "<<"'],
    ['__proto__: {workers: 3}', 'ringmq.yaml:1:1: unknown key "__proto__" in the top level'],
    ['limits: {__proto__: 1, constructor: 2}', 'unknown key "__proto__" in "limits"'],
    ['- a', 'ringmq.yaml:1:1: Cannot use a list for the configuration: expected a map of settings'],
    ['just a text', 'ringmq.yaml:1:1: Cannot use a single value for the configuration'],
    ['workers: !!binary aGk=', 'Cannot use a tag'],
    ['workers: !own 1', 'tag'],
    ['workers: 1\n---\nworkers: 2', 'Cannot use a second document'],
    ['1: x', 'Cannot use this key'],
    ['? [a]\n: x', 'Cannot use this key'],
    ['workers: "a', 'Cannot parse the file'],
    ['workers: [1', 'Cannot parse the file'],
    ['['.repeat(20_000), 'Cannot parse the file'],
    [`a: ${'['.repeat(40)}${']'.repeat(40)}`, 'at most 32 levels'],
    [`# ${'x'.repeat(1_100_000)}`, 'it is larger than 1048576 bytes'],
  ])('refuses case %#', async (content, words) => {
    expect((await problemsOf(loadYaml(content)))[0]).toContain(words);
    expect(({} as Record<string, unknown>)['workers']).toBeUndefined();
  });

  it('refuses what is not UTF-8, not there or not a file', async () => {
    expect(await problemsOf(loadYaml(Uint8Array.of(0x61, 0xff)))).toEqual([
      'ringmq.yaml:1:1: Cannot read the file: it is not UTF-8 text',
    ]);
    const missing = path.join(folder, 'none.yaml');
    expect(await problemsOf(load({ file: missing }))).toEqual([
      `${missing}:1:1: Cannot read the file: it does not exist`,
    ]);
    expect(await problemsOf(load({ file: folder }))).toEqual([`${folder}:1:1: Cannot read the file: it is a folder`]);
  });

  it('tells a bounded number of problems and counts the others', async () => {
    const content = Array.from({ length: 200 }, (_, index) => `banana${index}: 1`).join('\n');
    const error: unknown = await loadYaml(content).catch((reason: unknown) => reason);
    const lines = (error as BrokerError).message.split('\n');
    expect(lines[0]).toContain('200 problems');
    expect(lines).toHaveLength(52);
    expect(lines.at(-1)).toBe('… 150 more');
  });

  it('names a key that is there twice at any depth, in time that does not grow with the square', async () => {
    const keys = Array.from({ length: 60_000 }, (_, index) => `  key${index}: 1`).join('\n');
    const error: unknown = await loadYaml(`limits:\n${keys}\n  key7: 1\n`).catch((reason: unknown) => reason);
    expect((error as BrokerError).message).toContain(':60002:3: the key "key7" is there twice');
  });

  it('never fails otherwise than with CONFIG_INVALID, whatever the file holds', async () => {
    const words = fc.constantFrom(
      'workers',
      'limits',
      ': ',
      '\n',
      '  ',
      '- ',
      '[',
      ']',
      '{',
      '}',
      '&a ',
      '*a',
      '"',
      '|',
      '!t ',
      '\t',
      '1',
      '?',
      ',',
      '<<',
      '---',
      '%',
      '#',
    );
    const content = fc.oneof(
      fc.array(words, { maxLength: 30 }).map((list) => list.join('')),
      fc.string({ unit: 'binary', maxLength: 40 }),
    );
    await fc.assert(
      fc.asyncProperty(content, async (yaml) => {
        const outcome: unknown = await loadYaml(yaml).catch((error: unknown) => error);
        if (outcome instanceof Error) expect((outcome as BrokerError).code).toBe('CONFIG_INVALID');
      }),
      { numRuns: 200 },
    );
  });
});

describe('loadConfiguration() with environment variables', () => {
  it('takes every kind of value', async () => {
    const configuration = await load({
      environment: {
        RINGMQ_WORKERS: '4',
        RINGMQ_LIMITS__CONNECTIONS_MAX: '7',
        RINGMQ_LIMITS__ACCEPT_RATE_PER_S: '9',
        RINGMQ_CARRIER__IS_FAST: 'true',
        RINGMQ_CARRIER__REST__LIMIT_MS: '5',
        RINGMQ_CARRIER__ROUTES: '["Rome"]',
        RINGMQ_CARRIER__WHISTLE: '12',
        RINGMQ_TALKING_DRUM__BEAT_MS: '3',
        PATH: '/bin',
        RINGMQ_DATA: undefined,
      },
    });
    expect(configuration.node).toMatchObject({
      workers: 4,
      limits: { connectionsMax: 7, acceptRatePerS: 9 },
      data: './data',
    });
    expect(carrierOf(configuration)).toMatchObject({
      isFast: true,
      rest: { limitMs: 5 },
      routes: ['Rome'],
      whistle: '12',
    });
    expect(configuration.protocols.get('talking-drum')).toEqual({ beatMs: 3 });
    expect(originOf(configuration, 'limits.acceptRatePerS')).toBe('environment RINGMQ_LIMITS__ACCEPT_RATE_PER_S');
  });

  it('changes, adds and replaces listeners', async () => {
    const { node } = await load({
      environment: {
        RINGMQ_LISTENERS__0__ADDRESS: '0.0.0.0:1',
        RINGMQ_LISTENERS__2__NAME: 'extra',
        RINGMQ_LISTENERS__2__PROTOCOL: 'carrier',
        RINGMQ_LISTENERS__2__ADDRESS: ':0',
      },
    });
    expect(node.listeners.map(({ name, address }) => `${name} ${address}`)).toEqual([
      'carrier 0.0.0.0:1',
      'talking-drum 127.0.0.1:7008',
      'extra 127.0.0.1:0',
    ]);
    const replaced = await load({
      environment: {
        RINGMQ_LISTENERS: '[{"name": "only", "protocol": "carrier", "address": "[::]:5"}]',
        RINGMQ_LISTENERS__0__BACKLOG: '9',
      },
    });
    expect(replaced.node.listeners).toMatchObject([
      { name: 'only', protocol: 'carrier', address: '[::]:5', connectionsMax: 0, backlog: 9 },
    ]);
  });

  it('takes positions as numbers', async () => {
    const entry = (index: number): [string, string] => [
      `RINGMQ_LISTENERS__${index}`,
      `{"name": "l${index}", "protocol": "carrier", "address": ":0"}`,
    ];
    const { node } = await load({
      environment: Object.fromEntries(Array.from({ length: 12 }, (_, index) => entry(11 - index))),
    });
    expect(node.listeners.map(({ name }) => name)).toEqual(Array.from({ length: 12 }, (_, index) => `l${index}`));
  });

  it.each<[Record<string, string>, string]>([
    [
      { RINGMQ_LIMTS__CONNECTIONS_MAX: '1' },
      'environment RINGMQ_LIMTS__CONNECTIONS_MAX: unknown variable "RINGMQ_LIMTS__CONNECTIONS_MAX"; did you mean "RINGMQ_LIMITS__CONNECTIONS_MAX"?',
    ],
    [
      { RINGMQ_WORKERS: '' },
      'environment RINGMQ_WORKERS: Cannot use "" for "workers": expected "auto" or a whole number from 1 to 64',
    ],
    [{ RINGMQ_WORKERS: '0x4' }, 'environment RINGMQ_WORKERS: Cannot use "0x4" for "workers"'],
    [{ RINGMQ_CARRIER__IS_FAST: 'yes' }, 'expected true or false'],
    [{ RINGMQ_CARRIER__ROUTES: '[' }, 'Cannot use "[" for "carrier.routes"'],
    [{ RINGMQ_CARRIER__KEY: 'abc' }, 'Cannot use the given value'],
    [{ RINGMQ_CARRIER: '"hunter2"' }, 'Cannot use the given value'],
    [
      { RINGMQ_LISTENERS__5__NAME: 'x' },
      'environment RINGMQ_LISTENERS__5__NAME: Cannot set entry 5 of "listeners": it has 2 entries',
    ],
    [{ RINGMQ_LIMITS: '{"__proto__": 1}' }, 'unknown key "__proto__" in "limits"'],
    [{ RINGMQ___PROTO__: '1' }, 'unknown variable'],
    [{ RINGMQ_HTTP_PORT: '8080' }, 'unknown variable'],
  ])('refuses %j', async (environment, words) => {
    expect((await problemsOf(load({ environment })))[0]).toContain(words);
  });

  it('ignores what Kubernetes sets for a service of that name', async () => {
    const environment = {
      RINGMQ_SERVICE_HOST: '10.0.0.1',
      RINGMQ_SERVICE_PORT: '1883',
      RINGMQ_SERVICE_PORT_CARRIER: '1883',
      RINGMQ_PORT: 'tcp://10.0.0.1:1883',
      RINGMQ_PORT_1883_TCP: 'tcp://10.0.0.1:1883',
      RINGMQ_PORT_1883_TCP_ADDR: '10.0.0.1',
      RINGMQ_HEADLESS_SERVICE_HOST: '10.0.0.2',
      RINGMQ_HEADLESS_PORT: 'tcp://10.0.0.2:1883',
      RINGMQ_HEADLESS_PORT_1883_TCP_PROTO: 'tcp',
    };
    expect((await load({ environment })).node.workers).toBe('auto');
  });

  it('ignores the variable that tells the client commands where the cluster is', async () => {
    expect((await load({ environment: { RINGMQ_SERVER: '127.0.0.1:9201' } })).node.workers).toBe('auto');
  });

  it('RINGMQ_CONFIG names the file; the option and the flag win', async () => {
    const [one, two, three] = [await fileOf('workers: 1'), await fileOf('workers: 2'), await fileOf('workers: 3')];
    const environment = { RINGMQ_CONFIG: one };
    expect((await load({ environment })).node.workers).toBe(1);
    expect((await load({ environment, file: two })).node.workers).toBe(2);
    expect((await load({ environment, file: two, flags: ['--config', three] })).node.workers).toBe(3);
  });
});

describe('loadConfiguration() with flags', () => {
  it('takes the flags that scripts rely on', async () => {
    const flags = [
      '--data',
      '/x',
      '--workers',
      '2',
      '--carrier',
      '[::1]:0',
      '--http=:0',
      '--log-level',
      'warn',
      '--set',
      'carrier.rest.limitMs=7',
    ];
    const configuration = await load({ flags });
    expect(configuration.node).toMatchObject({
      data: '/x',
      workers: 2,
      http: { address: '127.0.0.1:0' },
      log: { level: 'warn' },
    });
    expect(configuration.node.listeners.map(({ address }) => address)).toEqual(['[::1]:0', '127.0.0.1:7008']);
    expect(carrierOf(configuration)).toMatchObject({ rest: { limitMs: 7 } });
    expect(originOf(configuration, 'listeners.0.address')).toBe('flag --carrier');
    expect(originOf(configuration, 'listeners.0.name')).toBe('default');
    expect(originOf(configuration, 'carrier.rest.limitMs')).toBe('flag --set carrier.rest.limitMs');
  });

  it('--<protocol> moves its first listener or adds one', async () => {
    const file =
      'listeners:\n- {name: a, protocol: talking-drum, address: ":1"}\n- {name: b, protocol: carrier, address: ":2"}\n- {name: c, protocol: carrier, address: ":3"}\n';
    const moved = await loadYaml(file, { flags: ['--carrier', ':9'] });
    expect(moved.node.listeners.map(({ address }) => address)).toEqual(['127.0.0.1:1', '127.0.0.1:9', '127.0.0.1:3']);
    const added = await loadYaml('listeners: []', { flags: ['--talking-drum', ':9'] });
    expect(added.node.listeners).toMatchObject([
      { name: 'talking-drum', protocol: 'talking-drum', address: '127.0.0.1:9' },
    ]);
  });

  it('the last of several wins', async () => {
    expect((await load({ flags: ['--workers', '2', '--set', 'workers=3', '--set=workers=4'] })).node.workers).toBe(4);
  });

  it.each<[string[], string]>([
    [['--wrokers', '2'], 'flag --wrokers: unknown flag; did you mean "--workers"?'],
    [['-x'], 'flag -x: unknown flag'],
    [['stray'], 'flag stray: unexpected argument'],
    [['--workers'], 'flag --workers: a value is missing'],
    [
      ['--workers', 'many'],
      'flag --workers: Cannot use "many" for "workers": expected "auto" or a whole number from 1 to 64',
    ],
    [['--carrier', 'nowhere'], 'flag --carrier: Cannot use "nowhere" for "listeners.0.address": expected an address'],
    [['--set', 'limits'], 'flag --set limits: a value is missing; expected path=value'],
    [
      ['--set', 'limits.conectionsMax=1'],
      'flag --set limits.conectionsMax: unknown setting "limits.conectionsMax"; did you mean "limits.connectionsMax"?',
    ],
    [['--set', '__proto__.x=1'], 'unknown setting'],
    [['--set', 'listeners.7.name=x'], 'Cannot set entry 7 of "listeners": it has 2 entries'],
  ])('refuses %j', async (flags, words) => {
    const problems = await problemsOf(load({ flags }));
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(words);
  });

  it('names the problems of all sources at once', async () => {
    const problems = await problemsOf(
      loadYaml('workers: x', { environment: { RINGMQ_DATAS: '1' }, flags: ['--nope'] }),
    );
    expect(problems.map((line) => line.split(': ')[0])).toEqual([
      'flag --nope',
      'ringmq.yaml:1:10',
      'environment RINGMQ_DATAS',
    ]);
  });

  it('refuses a mistake in the file even where a flag hides it', async () => {
    expect(await problemsOf(loadYaml('workers: x', { flags: ['--workers', '2'] }))).toHaveLength(1);
  });

  it('startHelp() names every flag', () => {
    for (const flag of [
      '--config',
      '--data',
      '--workers',
      '--carrier',
      '--talking-drum',
      '--http',
      '--log-level',
      '--set',
      '--help',
    ]) {
      expect(startHelp(parts)).toContain(`  ${flag} `);
    }
  });
});

describe('loadConfiguration() with settings of a program', () => {
  it('lets them win and checks them like a file', async () => {
    const configuration = await load({
      flags: ['--workers', '2'],
      settings: { workers: 1, listeners: [], log: undefined },
    });
    expect(configuration.node).toMatchObject({ workers: 1, listeners: [], log: { level: 'info' } });
    expect(originOf(configuration, 'workers')).toBe('program');
    expect(await problemsOf(load({ settings: { workers: {}, limts: 1 } }))).toEqual([
      'program: Cannot use a map for "workers": expected "auto" or a whole number from 1 to 64',
      'program: unknown key "limts" in the top level; did you mean "limits"?',
    ]);
  });
});

describe('the order of the sources', () => {
  /** A setting with the values that the sources may give it. */
  const cases = fc.constantFrom<{ path: string[]; values: (string | number | boolean)[] }>(
    { path: ['workers'], values: [1, 2, 'auto', 64] },
    { path: ['data'], values: ['./data', '/var/x', '1', 'true'] },
    { path: ['http', 'address'], values: ['127.0.0.1:1', '[::1]:2', 'localhost:0'] },
    { path: ['log', 'level'], values: ['error', 'warn', 'info', 'debug'] },
    { path: ['limits', 'connectionsMax'], values: [1, 100_000, 5] },
    { path: ['carrier', 'isFast'], values: [true, false] },
    { path: ['carrier', 'whistle'], values: ['peep', '12', 'null', 'a: b', '# x'] },
    { path: ['carrier', 'rest', 'limitMs'], values: ['none', 3, 1000] },
    { path: ['talking-drum', 'beatMs'], values: [1, 1000] },
  );
  const given = cases.chain(({ path: settingPath, values }) => {
    const value = fc.option(fc.constantFrom(...values), { nil: undefined });
    return fc.record({ path: fc.constant(settingPath), file: value, environment: value, flag: value, program: value });
  });
  const nested = (settingPath: string[], value: unknown): unknown =>
    settingPath.reduceRight<unknown>((inner, key) => ({ [key]: inner }), value);

  it('program wins over flag, flag over environment, environment over file, file over default, for every setting', async () => {
    const defaults = await load();
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(given, { selector: (one) => one.path.join('.'), maxLength: 6 }),
        async (settings) => {
          const yaml = settings.filter(({ file }) => file !== undefined);
          // One source may not have a key twice, so sections are gathered.
          const tree = new Map<string, string[]>();
          for (const {
            path: [section = '', ...rest],
            file,
          } of yaml) {
            const lines = tree.get(section) ?? [];
            tree.set(section, lines);
            lines.push(
              rest.length === 0
                ? ` ${JSON.stringify(file)}`
                : `\n  ${rest[0]}: ${JSON.stringify(rest.length === 1 ? file : nested(rest.slice(1), file))}`,
            );
          }
          const configuration = await loadYaml(
            [...tree].map(([section, lines]) => `${section}:${lines.join('')}\n`).join(''),
            {
              environment: Object.fromEntries(
                settings
                  .filter((one) => one.environment !== undefined)
                  .map((one) => [variableOf(one.path), String(one.environment)]),
              ),
              flags: settings
                .filter((one) => one.flag !== undefined)
                .flatMap((one) => ['--set', `${one.path.join('.')}=${one.flag}`]),
              settings: settings
                .filter((one) => one.program !== undefined)
                .reduce<Record<string, unknown>>((all, one) => merge(all, nested(one.path, one.program)), {}),
            },
          );
          for (const { path: settingPath, program, flag, environment, file } of settings) {
            const dotted = settingPath.join('.');
            expect(read(configuration, settingPath), dotted).toBe(
              program ?? flag ?? environment ?? file ?? read(defaults, settingPath),
            );
            const winner =
              program !== undefined
                ? 'program'
                : flag !== undefined
                  ? 'flag'
                  : environment !== undefined
                    ? 'environment'
                    : file !== undefined
                      ? 'file'
                      : 'default';
            expect(configuration.origins.get(dotted)?.kind).toBe(winner);
          }
        },
      ),
      { numRuns: 150 },
    );
  });
});

function read({ node, protocols }: EffectiveConfiguration, settingPath: string[]): unknown {
  const all: unknown = { ...node, ...Object.fromEntries(protocols) };
  return settingPath.reduce((value, key) => (value as Record<string, unknown>)[key], all);
}

function merge(into: Record<string, unknown>, from: unknown): Record<string, unknown> {
  for (const [key, value] of Object.entries(from as object)) {
    const present = into[key];
    into[key] =
      typeof value === 'object' && typeof present === 'object'
        ? merge(present as Record<string, unknown>, value)
        : value;
  }
  return into;
}
