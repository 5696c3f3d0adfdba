/**
 * Bodies of messages that are due soon, copied one behind the other into slabs that live as long as their bucket. A budget that all
 * buckets share bounds them; what does not fit is read again when it is due. Thread: the owner of the delayed messages.
 */

import { noBody } from './due-entries.ts';

const slabBits = 20;
const slabBytes = 1 << slabBits;
/** An address has 32 bits, and the last one means that there is no body. */
const slabsMax = 2 ** (32 - slabBits) - 1;

/** Bytes that the slabs of all buckets may take. */
export class SlabBudget {
  readonly bytesMax: number;
  bytes = 0;

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }
}

export class BodySlabs {
  readonly #budget: SlabBudget;
  readonly #slabs: Buffer[] = [];
  #bytes = 0;
  #end = slabBytes;

  constructor(budget: SlabBudget) {
    this.#budget = budget;
  }

  /** Keeps a copy; answers its address, or `noBody` when there is no room. */
  keep(body: Buffer): number {
    if (body.length > slabBytes) return this.#keepAlone(body);
    if (this.#end + body.length > slabBytes) {
      if (!this.#mayAdd(slabBytes)) return noBody;
      this.#add(Buffer.allocUnsafeSlow(slabBytes));
      this.#end = 0;
    }
    const slab = this.#slabs.length - 1;
    const at = this.#end;
    body.copy(this.#slabs[slab], at);
    this.#end += body.length;
    return slab * slabBytes + at;
  }

  view(address: number, size: number): Buffer {
    const at = address & (slabBytes - 1);
    return this.#slabs[address >>> slabBits].subarray(at, at + size);
  }

  clear(): void {
    this.#budget.bytes -= this.#bytes;
    this.#bytes = 0;
    this.#slabs.length = 0;
    this.#end = slabBytes;
  }

  #keepAlone(body: Buffer): number {
    if (!this.#mayAdd(body.length)) return noBody;
    this.#add(Buffer.from(body));
    // Nothing follows it in its slab.
    this.#end = slabBytes;
    return (this.#slabs.length - 1) * slabBytes;
  }

  #mayAdd(bytes: number): boolean {
    return this.#slabs.length < slabsMax && this.#budget.bytes + bytes <= this.#budget.bytesMax;
  }

  #add(slab: Buffer): void {
    this.#slabs.push(slab);
    this.#bytes += slab.length;
    this.#budget.bytes += slab.length;
  }
}
