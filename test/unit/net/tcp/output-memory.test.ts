/** Memory for output: the arrays under which the kernel is given parts of it. */
import { describe, expect, it } from 'vitest';
import { OutputMemory } from '../../../../src/net/tcp/output-memory.ts';

/** Whether `view` shows exactly the bytes of `buffer` from `start` to `end`. */
function shows(view: Uint8Array, buffer: Buffer, start: number, end: number): boolean {
  return (
    view.buffer === buffer.buffer && view.byteOffset === buffer.byteOffset + start && view.byteLength === end - start
  );
}

describe('OutputMemory', () => {
  it('view() shows the part that was asked for, wherever it lies', () => {
    const memory = new OutputMemory();
    const other = Buffer.alloc(10_000).subarray(100);
    for (const length of [1, 74, 74, 255, 256, 330, 74, 330, 4_096, 65_536]) {
      expect(shows(memory.view(memory.slab, 0, length), memory.slab, 0, length)).toBe(true);
      expect(shows(memory.view(memory.slab, 7, 7 + length), memory.slab, 7, 7 + length)).toBe(true);
    }
    for (const length of [1, 74, 9_000]) expect(shows(memory.view(other, 0, length), other, 0, length)).toBe(true);
  });

  it('view() makes one array for lone messages of the same length', () => {
    const memory = new OutputMemory();
    const first = memory.view(memory.slab, 0, 74);
    memory.view(memory.slab, 0, 75);
    expect(memory.view(memory.slab, 0, 74)).toBe(first);
  });

  it('view() shows the new slab when the former one was lent', () => {
    const memory = new OutputMemory();
    const former = memory.slab;
    memory.view(former, 0, 74);
    memory.lendSlab(former);
    memory.endTurn();
    expect(memory.slab).not.toBe(former);
    expect(shows(memory.view(memory.slab, 0, 74), memory.slab, 0, 74)).toBe(true);
    expect(shows(memory.view(former, 0, 74), former, 0, 74)).toBe(true);
  });

  it('view() shows the new slab when the former one is full', () => {
    const memory = new OutputMemory();
    memory.view(memory.slab, 0, 74);
    memory.slabCursor = memory.slab.length;
    memory.makeSlabRoom(74);
    expect(shows(memory.view(memory.slab, 0, 74), memory.slab, 0, 74)).toBe(true);
  });
});
