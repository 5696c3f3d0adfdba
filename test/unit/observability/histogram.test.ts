/** Histograms from the counter block to the text that is scraped. */
import { describe, expect, it } from 'vitest';
import { renderExposition } from '../../../src/observability/exposition.ts';
import { Histogram, histogramDefinitions } from '../../../src/observability/histogram.ts';
import { MetricsLayout, ThreadMetrics } from '../../../src/observability/metrics.ts';
import { CounterBlock, createCounters } from '../../../src/shm/counters.ts';

const bounds = [0.5, 1, 10];

function layoutOf(): MetricsLayout {
  return new MetricsLayout([
    histogramDefinitions('ringmq_a_seconds', 'A.', bounds),
    histogramDefinitions('ringmq_b_seconds', 'B.', bounds, { kind: 'x' }),
    histogramDefinitions('ringmq_b_seconds', 'B.', bounds, { kind: 'y' }),
  ]);
}

describe('Histogram', () => {
  it('observe() counts in the first bucket that holds the value, and the exposition adds up', () => {
    const layout = layoutOf();
    const counters = new CounterBlock(createCounters(layout.slotCount));
    const metrics = new ThreadMetrics(layout, counters);
    const a = new Histogram(metrics, 'ringmq_a_seconds', bounds);
    for (const value of [0, 0.5, 0.6, 10, 11]) a.observe(value);
    new Histogram(metrics, 'ringmq_b_seconds', bounds, { kind: 'y' }).observe(2, 3);
    const text = renderExposition([{ worker: '0', layout, counters }]);
    expect(text).toBe(`# HELP ringmq_a_seconds A.
# TYPE ringmq_a_seconds histogram
ringmq_a_seconds_bucket{worker="0",le="0.5"} 2
ringmq_a_seconds_bucket{worker="0",le="1"} 3
ringmq_a_seconds_bucket{worker="0",le="10"} 4
ringmq_a_seconds_bucket{worker="0",le="+Inf"} 5
ringmq_a_seconds_sum{worker="0"} 22.1
ringmq_a_seconds_count{worker="0"} 5
# HELP ringmq_b_seconds B.
# TYPE ringmq_b_seconds histogram
ringmq_b_seconds_bucket{worker="0",kind="x",le="0.5"} 0
ringmq_b_seconds_bucket{worker="0",kind="x",le="1"} 0
ringmq_b_seconds_bucket{worker="0",kind="x",le="10"} 0
ringmq_b_seconds_bucket{worker="0",kind="x",le="+Inf"} 0
ringmq_b_seconds_sum{worker="0",kind="x"} 0
ringmq_b_seconds_count{worker="0",kind="x"} 0
ringmq_b_seconds_bucket{worker="0",kind="y",le="0.5"} 0
ringmq_b_seconds_bucket{worker="0",kind="y",le="1"} 0
ringmq_b_seconds_bucket{worker="0",kind="y",le="10"} 3
ringmq_b_seconds_bucket{worker="0",kind="y",le="+Inf"} 3
ringmq_b_seconds_sum{worker="0",kind="y"} 6
ringmq_b_seconds_count{worker="0",kind="y"} 3
`);
  });

  it('is defined once, with parts', () => {
    expect(() => new MetricsLayout([[{ name: 'a_seconds', help: 'A.', kind: 'histogram' }]])).toThrow('has parts');
    const twice = histogramDefinitions('a_seconds', 'A.', bounds);
    expect(() => new MetricsLayout([twice, twice])).toThrow('defined once');
  });
});
