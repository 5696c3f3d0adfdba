import { describe, expect, it } from 'vitest';
import { MemoryPressure } from '../../../../src/main/limits/memory-pressure.ts';

describe('MemoryPressure', () => {
  it('isTooHigh is about the memory of a moment ago, so that a storm does not ask for each connection', () => {
    let nowMs = 0;
    let asked = 0;
    let bytes = 500;
    const memory = new MemoryPressure(
      1_000,
      () => {
        asked++;
        return bytes;
      },
      () => nowMs,
    );
    expect(memory.isTooHigh).toBe(false);
    bytes = 2_000;
    for (let each = 0; each < 100; each++) expect(memory.isTooHigh).toBe(false);
    expect(asked).toBe(1);
    nowMs = 300;
    expect(memory.isTooHigh).toBe(true);
    bytes = 900;
    nowMs = 600;
    expect(memory.isTooHigh).toBe(false);
  });

  it('isTooHigh is false for this process with the bound of the machine', () => {
    expect(new MemoryPressure(0).isTooHigh).toBe(false);
    expect(new MemoryPressure(0, () => Number.MAX_SAFE_INTEGER).isTooHigh).toBe(true);
  });
});
