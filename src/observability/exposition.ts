/**
 * Prometheus text exposition, format 0.0.4, of the counter blocks of all threads and of process-wide families.
 * Runs on whichever thread serves `/metrics`; it only reads shared memory and asks no other thread.
 */
import { assert } from '../std/assert.ts';
import type { MetricLabels, MetricsLayout } from './metrics.ts';

/** The counters of one thread, as the exposition reads them. */
export interface MetricsSource {
  /** Value of the label `worker`: the worker's index, or `main`. */
  readonly worker: string;
  readonly layout: MetricsLayout;
  readonly counters: { get(slot: number): number };
}

/** A family that no counter block holds, for example a property of the process. */
export interface MetricFamily {
  readonly name: string;
  readonly help: string;
  readonly kind: 'counter' | 'gauge';
  readonly samples: readonly MetricSample[];
}

interface MetricSample {
  readonly labels?: MetricLabels;
  readonly value: number;
}

interface RenderedFamily {
  readonly kind: string;
  readonly help: string;
  readonly lines: string[];
}

/**
 * The whole answer to a scrape. Each family stands once, in the order in which it is met first, with all its samples
 * behind its HELP and TYPE lines, however many threads contribute. Ends with a line feed, as the format demands.
 */
export function renderExposition(sources: readonly MetricsSource[], families: readonly MetricFamily[] = []): string {
  const rendered = new Map<string, RenderedFamily>();
  for (const { worker, layout, counters } of sources) {
    let countBelow = 0;
    for (const [slot, { name, help, kind, labels, part }] of layout.definitions.entries()) {
      const lines = linesOf(rendered, name, kind, help);
      const value = counters.get(slot);
      if (part === undefined) lines.push(sampleLine(name, { worker, ...labels }, value));
      else if (part === 'sum') {
        lines.push(sampleLine(`${name}_sum`, { worker, ...labels }, value));
        lines.push(sampleLine(`${name}_count`, { worker, ...labels }, countBelow));
        countBelow = 0;
      } else {
        // A slot counts what fell into its bucket alone; the format wants all that is below the bound.
        countBelow += value;
        lines.push(sampleLine(`${name}_bucket`, { worker, ...labels, le: part }, countBelow));
      }
    }
  }
  for (const { name, help, kind, samples } of families) {
    const lines = linesOf(rendered, name, kind, help);
    for (const { labels, value } of samples) lines.push(sampleLine(name, labels ?? {}, value));
  }
  let text = '';
  for (const [name, { kind, help, lines }] of rendered) {
    if (lines.length === 0) continue;
    text += `# HELP ${name} ${escapeHelp(help)}\n# TYPE ${name} ${kind}\n${lines.join('\n')}\n`;
  }
  return text;
}

function linesOf(rendered: Map<string, RenderedFamily>, name: string, kind: string, help: string): string[] {
  let family = rendered.get(name);
  if (family === undefined) {
    family = { kind, help, lines: [] };
    rendered.set(name, family);
  }
  assert(family.kind === kind, `the metric ${name} has one kind on all threads`);
  return family.lines;
}

function sampleLine(name: string, labels: MetricLabels, value: number): string {
  const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escapeLabelValue(text)}"`);
  return `${name}${pairs.length === 0 ? '' : `{${pairs.join(',')}}`} ${formatValue(value)}`;
}

function formatValue(value: number): string {
  if (value === Infinity) return '+Inf';
  if (value === -Infinity) return '-Inf';
  return String(value);
}

/** The format knows three escapes in label values; every other character stands for itself. */
function escapeLabelValue(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"');
}

function escapeHelp(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
}
