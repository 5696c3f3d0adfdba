/**
 * What happens when the other thread gets in between two steps of a call. On one thread, and so for certain: the other
 * side runs from within one of the call's `Atomics` operations, at each of them in turn.
 */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { createRing, RingConsumer, RingProducer } from '../../../src/shm/fan-out-ring.ts';

type Operation = (array: Int32Array, index: number, ...values: number[]) => number;

/** Runs `call`, and `other` right before the atomic operation number `step` of it; false when it has fewer. */
function interleave(step: number, call: () => void, other: () => void): boolean {
  let count = 0;
  for (const name of ['load', 'store', 'exchange', 'compareExchange'] as const) {
    const original = Atomics[name] as unknown as Operation;
    vi.spyOn(Atomics, name).mockImplementation(((array: Int32Array, index: number, ...values: number[]) => {
      // `other` runs its own operations through here too: they come after the one that was counted.
      if (count++ === step) other();
      return original(array, index, ...values);
    }) as never);
  }
  call();
  vi.restoreAllMocks();
  return count > step;
}

function publish(producer: RingProducer, length: number, word: number): boolean {
  if (producer.claim(length) < 0) return false;
  producer.publish(-1, -1, 0, word);
  return true;
}

function fill(producer: RingProducer, length: number, word: number): number {
  while (publish(producer, length, word)) word++;
  return word;
}

afterEach(() => {
  vi.restoreAllMocks();
});

describe('fan-out ring between two steps', () => {
  it('attach() is safe from a producer that publishes between any two steps of it', () => {
    let cases = 0;
    for (let step = 0; step < 20; step++) {
      // From nothing to several laps, within which the cached limit of the producer is older and newer in turn.
      for (let before = 0; before < 12; before++) {
        for (let between = 0; between < 40; between++) {
          const ring = createRing(256, 2, before);
          const predecessor = new RingConsumer(ring, 0);
          predecessor.attach();
          RingConsumer.detach(ring, 0);
          const producer = new RingProducer(ring);
          let word = 0;
          for (; word < before; word++) publish(producer, 8, word);
          const consumer = new RingConsumer(ring, 0);
          let told = false;
          let refused = 0;
          const reached = interleave(
            step,
            () => {
              told = consumer.attach();
            },
            () => {
              for (let count = 0; count < between; count++) {
                if (publish(producer, 8, word)) word++;
                else refused++;
              }
              if (refused > 0 && !producer.requestSpace()) refused = -1;
            },
          );
          if (!reached) break;
          // A producer that was refused and went to sleep is told, since nobody else will do it.
          if (refused === -1 && producer.position() === consumer.position()) expect(told).toBe(true);
          // Half a lap fits whatever the moment.
          if (between <= 4) expect(refused).toBe(0);
          const end = fill(producer, 8, word);
          const words: number[] = [];
          while (consumer.next()) words.push(consumer.word);
          // What comes is without a gap up to the last one, and what the producer published afterwards is all there.
          expect(words).toEqual(Array.from({ length: words.length }, (_, index) => end - words.length + index));
          expect(words.length).toBeGreaterThanOrEqual(end - word);
          consumer.release();
          expect(publish(producer, 64, 0)).toBe(true);
          cases++;
        }
      }
    }
    expect(cases).toBeGreaterThan(1000);
  });

  it('requestSpace() or release() notices the other between any two steps of either', () => {
    let cases = 0;
    for (const outer of ['requestSpace', 'release'] as const) {
      for (let step = 0; step < 20; step++) {
        for (let unit = 0; unit < 32; unit++) {
          for (let length = 0; length <= 64; length += 16) {
            const ring = createRing(256, 3, unit);
            const producer = new RingProducer(ring);
            const consumer = new RingConsumer(ring, 1);
            consumer.attach();
            fill(producer, 8, 0);
            if (producer.claim(length) >= 0) continue;
            let free = false;
            let told = false;
            const ask = (): void => {
              free = producer.requestSpace();
            };
            const release = (): void => {
              while (consumer.next());
              told = consumer.release();
            };
            if (!interleave(step, outer === 'release' ? release : ask, outer === 'release' ? ask : release)) continue;
            // Else both would sleep: the consumer has nothing left to read, and the producer waits for it.
            expect(free || told).toBe(true);
            cases++;
          }
        }
      }
    }
    expect(cases).toBeGreaterThan(1000);
  });

  it('interleave() runs the other side at every step, and tells when there is none left', () => {
    const words = new Int32Array(new SharedArrayBuffer(8));
    const seen: number[] = [];
    const call = (): void => {
      Atomics.store(words, 0, 1);
      Atomics.store(words, 0, 2);
    };
    let reached = true;
    for (let step = 0; reached; step++) {
      words[0] = 0;
      reached = interleave(step, call, () => seen.push(words[0]));
    }
    expect(seen).toEqual([0, 1]);
  });
});
