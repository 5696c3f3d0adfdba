/** Counters of a broker in the process of the test, read off its metrics. Thread of the test. */
import type { Broker } from '../../../src/main/index.ts';

/** Sum of all series of `name` whose labels contain `labels`. */
export async function counted(broker: Broker, name: string, labels: string): Promise<number> {
  const response = await fetch(`http://127.0.0.1:${broker.port('http')}/metrics`);
  let sum = 0;
  for (const line of (await response.text()).split('\n')) {
    if (line.startsWith(`${name}{`) && line.includes(labels)) sum += Number(line.slice(line.lastIndexOf(' ') + 1));
  }
  return sum;
}
