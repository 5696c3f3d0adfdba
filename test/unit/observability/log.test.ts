import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createLogger, type LoggerOptions, type RootLogger } from '../../../src/observability/log.ts';
import { BrokerError } from '../../../src/std/errors.ts';

beforeEach(() => {
  vi.useFakeTimers({ now: Date.UTC(2026, 0, 2, 3, 4, 5, 6) });
});
afterEach(() => {
  vi.useRealTimers();
});

function createRecorder(options: Partial<LoggerOptions> = {}): {
  log: RootLogger;
  lines: string[];
  records: () => Record<string, unknown>[];
} {
  const lines: string[] = [];
  const log = createLogger({ level: 'info', format: 'json', write: (line) => lines.push(line), ...options });
  return { log, lines, records: () => lines.map((line) => JSON.parse(line) as Record<string, unknown>) };
}

describe('createLogger()', () => {
  it('writes one JSON object per line', () => {
    const { log, lines } = createRecorder({ bindings: { worker: 1 } });
    log.info('listening', { port: 1883, address: '127.0.0.1' });
    expect(lines).toEqual([
      '{"time":"2026-01-02T03:04:05.006Z","level":"info","message":"listening","worker":1,"port":1883,"address":"127.0.0.1"}\n',
    ]);
  });

  it('writes text for people', () => {
    const { log, lines } = createRecorder({ format: 'text' });
    log.warn('connection closed', { reason: 'keep-alive', 'client id': 'a b', bytes: 3, tags: ['x'] });
    expect(lines).toEqual([
      '2026-01-02T03:04:05.006Z WARN  connection closed reason=keep-alive "client id"="a b" bytes=3 tags=["x"]\n',
    ]);
  });

  it('leaves out what is less urgent than the level, also after setLevel()', () => {
    const { log, records } = createRecorder({ level: 'warn' });
    const child = log.child({ part: 'net' });
    const all = (): void => {
      child.error('e');
      child.warn('w');
      child.info('i');
      child.debug('d');
    };
    all();
    log.setLevel('debug');
    all();
    log.setLevel('error');
    all();
    expect(
      records()
        .map((record) => record['message'])
        .join(''),
    ).toBe('ew' + 'ewid' + 'e');
    expect(log.level).toBe('error');
  });

  it('child() adds its fields and hides those of the same name', () => {
    const { log, records } = createRecorder({ bindings: { a: 1, b: 1 } });
    log.child({ b: 2, c: 2 }).child({ d: 3 }).info('x', { c: 4 });
    expect(records()[0]).toMatchObject({ a: 1, b: 2, c: 4, d: 3 });
  });

  it('renames fields that would replace the record’s own', () => {
    const { log, records } = createRecorder();
    log.info('x', { level: 'fake', time: 0, message: 'fake' });
    expect(records()[0]).toMatchObject({ level: 'info', message: 'x', level_: 'fake', time_: 0, message_: 'fake' });
  });

  it('writes operating errors with code and cause, and defects with their stack', () => {
    const { log, records } = createRecorder();
    const cause = Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' });
    log.error('x', {
      error: new BrokerError('LISTENER_FAILED', 'Cannot listen', { cause }),
      defect: new TypeError('oops'),
    });
    expect(records()[0]).toMatchObject({
      error: {
        name: 'BrokerError',
        code: 'LISTENER_FAILED',
        message: 'Cannot listen',
        cause: { code: 'ECONNRESET', message: 'read ECONNRESET' },
      },
      defect: { name: 'TypeError', message: 'oops', stack: expect.stringContaining('log.test.ts') },
    });
    expect(records()[0]?.['error']).not.toHaveProperty('stack');
  });

  it('writes every kind of value', () => {
    const { log, records } = createRecorder();
    const invalid = new Date(Number.NaN);
    log.info('x', {
      map: new Map([['a', 1]]),
      set: new Set([1]),
      big: 10n,
      bytes: Buffer.alloc(5),
      date: new Date(0),
      invalid,
    });
    log.info('x', {
      nan: Number.NaN,
      nothing: null,
      absent: undefined,
      call: () => 1,
      url: new URL('http://u:p@h/x?token=1'),
    });
    expect(records()[0]).toMatchObject({
      map: { a: 1 },
      set: [1],
      big: '10',
      bytes: '[5 bytes]',
      date: '1970-01-01T00:00:00.000Z',
      invalid: 'Invalid Date',
    });
    expect(records()[1]).toMatchObject({ nan: 'NaN', nothing: null, call: '[function call]', url: 'http://h/x' });
    expect(records()[1]).not.toHaveProperty('absent');
  });

  it('masks fields whose name says that they are secret', () => {
    const { log, lines } = createRecorder();
    log.info('x', { password: 'hunter2', nested: { Token: 'hunter2' }, map: new Map([['secret', 'hunter2']]) });
    expect(lines.join()).not.toContain('hunter2');
  });

  it('bounds depth, cycles, counts and lengths', () => {
    const { log, lines } = createRecorder();
    const cycle: Record<string, unknown> = { wide: Array.from({ length: 10_000 }, (_, index) => index) };
    cycle['self'] = cycle;
    log.info('m'.repeat(100_000), { cycle, long: 'x'.repeat(1_000_000) });
    expect(lines).toHaveLength(1);
    expect(lines[0]?.length).toBeLessThan(10_000);
  });

  it('does not throw for values that throw', () => {
    const { log, records } = createRecorder();
    const hostile = {
      get bad(): string {
        throw new Error('no');
      },
    };
    const proxy = new Proxy(
      {},
      {
        get: () => {
          throw new Error('no');
        },
        ownKeys: () => {
          throw new Error('no');
        },
      },
    );
    log.info('x', { hostile, proxy, ok: 1 });
    expect(records()[0]).toMatchObject({ hostile: { bad: '[unreadable]' }, proxy: '[unreadable]', ok: 1 });
  });

  it('keeps hostile values in one line that parses back to them', () => {
    const hostile = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.constantFrom('\u2028', '\u0085x', '\u001b[2J', '\r\n', '\u202e', '\ud800', '__proto__'),
    );
    fc.assert(
      fc.property(hostile, hostile, fc.constantFrom('json' as const, 'text' as const), (name, value, format) => {
        const { log, lines } = createRecorder({ format });
        log.info('x', { [`k${name}`]: value, nested: { [`k${name}`]: [value] } });
        expect(lines).toHaveLength(1);
        const line = lines[0] ?? '';
        expect(line.endsWith('\n')).toBe(true);
        expect(line.slice(0, -1)).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/);
        if (format === 'json') expect(JSON.parse(line)[`k${name}`]).toBe(value);
      }),
      { numRuns: 200 },
    );
  });
});

describe('the limit for repeated messages', () => {
  it('counts what goes beyond it and says so once per second', () => {
    const { log, records } = createRecorder({ repeatsPerS: 5 });
    for (let index = 0; index < 1239; index++) log.info('refused', { index });
    log.info('other');
    expect(records()).toHaveLength(6);
    vi.advanceTimersByTime(1000);
    expect(records().at(-1)).toMatchObject({
      level: 'info',
      message: 'refused … 1234 more suppressed',
      suppressed: 1234,
    });
    log.info('refused');
    expect(records().at(-1)?.['message']).toBe('refused');
  });

  it('is shared by children and does not hold back other texts', () => {
    const { log, records } = createRecorder({ repeatsPerS: 2 });
    const child = log.child({ a: 1 });
    for (const text of ['x', 'y', 'x', 'y', 'x', 'y']) child.warn(text);
    log.warn('x');
    expect(records()).toHaveLength(4);
  });

  it('lets one through per refilled token', () => {
    const { log, records } = createRecorder({ repeatsPerS: 2 });
    for (let tick = 0; tick < 20; tick++) {
      log.info('x');
      vi.advanceTimersByTime(100);
    }
    const written = records().filter((record) => record['message'] === 'x').length;
    expect(written).toBeGreaterThanOrEqual(5);
    expect(written).toBeLessThanOrEqual(6);
  });

  it('does not hold back debug lines', () => {
    const { log, lines } = createRecorder({ level: 'debug', repeatsPerS: 1 });
    for (let index = 0; index < 50; index++) log.debug('x');
    expect(lines).toHaveLength(50);
  });

  it('flush() writes the summaries at once, and leaves no timer', () => {
    const { log, records } = createRecorder({ repeatsPerS: 1 });
    for (let index = 0; index < 3; index++) log.error('x');
    log.flush();
    expect(records().at(-1)).toMatchObject({ level: 'error', suppressed: 2 });
    expect(vi.getTimerCount()).toBe(0);
  });

  it('stays bounded when texts are not constant', () => {
    const { log, records } = createRecorder({ repeatsPerS: 1 });
    for (let index = 0; index < 2000; index++) {
      log.info(`text ${index}`);
      log.info(`text ${index}`);
    }
    log.flush();
    const summaries = records().filter((record) => record['suppressed'] !== undefined).length;
    expect(summaries).toBeLessThanOrEqual(512);
  });

  it('takes no tokens when the clock is set back', () => {
    const { log, lines } = createRecorder({ repeatsPerS: 2 });
    log.info('x');
    vi.setSystemTime(0);
    log.info('x');
    expect(lines).toHaveLength(2);
  });
});

describe('the sink', () => {
  it('is told of lost lines when it takes lines again', () => {
    const lines: string[] = [];
    let takes = false;
    const write = (line: string): boolean => {
      if (takes) lines.push(line);
      return takes;
    };
    const log = createLogger({ level: 'info', format: 'json', write });
    log.info('a');
    log.info('b');
    takes = true;
    log.info('c');
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([
      { message: 'c' },
      { message: 'Log lines were lost', lost: 2 },
    ]);
  });
});

describe('writeToStderr()', () => {
  const module = fileURLToPath(new URL('../../../src/observability/log.ts', import.meta.url));
  const script = (worker: string): string => `
    import { Worker, isMainThread } from 'node:worker_threads';
    import { createLogger } from ${JSON.stringify(module)};
    const log = createLogger({ level: 'info', format: 'json' });
    log.info('main');
    const code = "import(" + ${JSON.stringify(JSON.stringify(module))} + ").then(({ createLogger }) => { const log = createLogger({ level: 'info', format: 'json' }); log.info('one'); log.info('two'); ${worker} })";
    const thread = new Worker(code, { eval: true });
    thread.on('error', (error) => log.error('worker died', { error }));
  `;
  const run = (worker: string): string =>
    execFileSync('sh', ['-c', '"$0" --input-type=module -e "$1" 2>&1', process.execPath, script(worker)], {
      encoding: 'utf8',
    });

  it('keeps the last lines of a worker that throws', () => {
    const messages = run("process.nextTick(() => { throw new Error('boom'); });")
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).message);
    expect(messages).toEqual(['main', 'one', 'two', 'worker died']);
  });

  it('survives a reader that went away', () => {
    const code = `
      import { createLogger } from ${JSON.stringify(module)};
      const log = createLogger({ level: 'info', format: 'json' });
      process.stdout.on('error', () => {});
      let n = 0;
      const timer = setInterval(() => { log.info('x' + n); if (++n === 20) { clearInterval(timer); process.exitCode = 7; } }, 5);
    `;
    const output = execFileSync(
      'bash',
      [
        '-c',
        `exec 4>&1; { "$0" --input-type=module -e "$1" 2>&1 >/dev/null; echo "code $?" >&4; } | head -n 1 >/dev/null; wait`,
        process.execPath,
        code,
      ],
      { encoding: 'utf8' },
    );
    expect(output).toContain('code 7');
  });
});
