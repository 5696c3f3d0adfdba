import { describe, expect, it } from 'vitest';
import { type MetricFamily, renderExposition } from '../../../src/observability/exposition.ts';
import { mainMetricDefinitions } from '../../../src/observability/main-metrics.ts';
import { type MetricDefinition, MetricsLayout, ThreadMetrics } from '../../../src/observability/metrics.ts';
import { collectProcessMetrics } from '../../../src/observability/process-metrics.ts';
import { workerMetricDefinitions } from '../../../src/observability/worker-metrics.ts';
import { CounterBlock, createCounters } from '../../../src/shm/counters.ts';

const frames: MetricDefinition = { name: 'ringmq_test_frames_total', help: 'Frames.', kind: 'counter' };

function source(worker: string, definitions: readonly MetricDefinition[]) {
  const layout = new MetricsLayout([definitions]);
  const counters = new CounterBlock(createCounters(layout.slotCount));
  return { worker, layout, counters, metrics: new ThreadMetrics(layout, counters) };
}

/** A small reader of the text format that knows nothing of the writer: fails on anything that is not in the format. */
function parseExposition(text: string): Map<string, { type: string; samples: Map<string, number> }> {
  const families = new Map<string, { type: string; samples: Map<string, number> }>();
  const lines = text.split('\n');
  expect(lines.pop()).toBe('');
  let current = '';
  for (const line of lines) {
    const help = /^# HELP (\w+) (.*)$/.exec(line);
    const type = /^# TYPE (\w+) (counter|gauge)$/.exec(line);
    const sample = /^(\w+)(\{(?:\w+="(?:[^"\\]|\\[\\n"])*"(?:,(?!\})|(?=\})))*\})? (-?[0-9.e+-]+|[+-]Inf|NaN)$/.exec(
      line,
    );
    if (help) {
      current = help[1] ?? '';
      expect(families.has(current), `family ${current} is there once`).toBe(false);
    } else if (type) {
      expect(type[1]).toBe(current);
      families.set(current, { type: type[2] ?? '', samples: new Map() });
    } else {
      expect(sample, line).not.toBeNull();
      expect(sample?.[1]).toBe(current);
      const { samples } = families.get(current) ?? { samples: new Map<string, number>() };
      expect(samples.has(sample?.[2] ?? '')).toBe(false);
      samples.set(sample?.[2] ?? '', Number(sample?.[3]?.replace('Inf', 'Infinity')));
    }
  }
  return families;
}

describe('renderExposition()', () => {
  it('renders a family once for all threads', () => {
    const sources = [source('0', [frames]), source('1', [frames]), source('main', [frames])];
    sources[0]?.metrics.add(0, 3);
    sources[2]?.metrics.add(0, 1);
    expect(renderExposition(sources)).toBe(
      [
        '# HELP ringmq_test_frames_total Frames.',
        '# TYPE ringmq_test_frames_total counter',
        'ringmq_test_frames_total{worker="0"} 3',
        'ringmq_test_frames_total{worker="1"} 0',
        'ringmq_test_frames_total{worker="main"} 1',
        '',
      ].join('\n'),
    );
  });

  it('escapes backslash, quote and line feed', () => {
    const definition = { ...frames, help: 'A\\b\nc "d"', labels: { listener: 'a"b\\c\nd' } };
    const text = renderExposition([source('0', [definition])]);
    expect(text).toContain('# HELP ringmq_test_frames_total A\\\\b\\nc "d"\n');
    expect(text).toContain('{worker="0",listener="a\\"b\\\\c\\nd"} 0\n');
  });

  it('writes the special numbers as the format spells them', () => {
    const values = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN, 1e21, 0.25];
    const samples = values.map((value, index) => ({ labels: { n: String(index) }, value }));
    const family: MetricFamily = { name: 'ringmq_test_special', help: 'Special.', kind: 'gauge', samples };
    const lines = renderExposition([], [family]).trimEnd().split('\n').slice(2);
    expect(lines.map((line) => line.split(' ')[1])).toEqual(['+Inf', '-Inf', 'NaN', '1e+21', '0.25']);
  });

  it('leaves out a family without samples', () => {
    const family: MetricFamily = { name: 'ringmq_test_none', help: 'None.', kind: 'gauge', samples: [] };
    expect(renderExposition([], [family])).toBe('');
  });

  it('throws when threads disagree about the kind of a family', () => {
    const gauge: MetricDefinition = { name: 'ringmq_test_x', help: 'X.', kind: 'gauge' };
    const family: MetricFamily = { ...gauge, kind: 'counter', samples: [{ value: 1 }] };
    expect(() => renderExposition([source('0', [gauge])], [family])).toThrow('one kind');
  });

  it('renders what a node with main thread, workers and process exposes as valid text', async () => {
    const listeners = [
      { name: 'echo', protocol: 'echo' },
      { name: 'echo-2', protocol: 'echo' },
    ];
    const sources = [
      source('0', workerMetricDefinitions(listeners)),
      source('1', workerMetricDefinitions(listeners)),
      source('main', mainMetricDefinitions(listeners)),
    ];
    const families = parseExposition(renderExposition(sources, await collectProcessMetrics('1.2.3')));
    expect(families.get('ringmq_connections_open')?.samples.size).toBe(4);
    expect(families.get('ringmq_event_loop_delay_max_seconds')?.samples.size).toBe(3);
    expect(families.get('process_cpu_seconds_total')?.type).toBe('counter');
    expect([...(families.get('ringmq_build_info')?.samples.keys() ?? [])].join()).toContain('version="1.2.3"');
    expect(families.get('process_resident_memory_bytes')?.samples.get('')).toBeGreaterThan(1_000_000);
    const startSeconds = families.get('process_start_time_seconds')?.samples.get('') ?? 0;
    expect(Math.abs(Date.now() / 1000 - process.uptime() - startSeconds)).toBeLessThan(60);
    if (process.platform === 'linux') {
      expect(families.get('process_open_fds')?.samples.get('')).toBeGreaterThan(2);
      expect(families.get('process_max_fds')?.samples.get('')).toBeGreaterThan(2);
    }
  });
});
