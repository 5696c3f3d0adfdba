/** QoS 2 identifiers of one client that were received and not yet released. Pure; on the session's worker. */

export class PacketIdSet {
  size = 0;
  private bits: Uint32Array | null = null;

  has(id: number): boolean {
    return this.bits !== null && (this.bits[id >>> 5] & (1 << (id & 31))) !== 0;
  }

  add(id: number): void {
    if (this.has(id)) return;
    // 8 KiB, made at the first QoS 2 message of the session.
    this.bits ??= new Uint32Array(2048);
    this.bits[id >>> 5] |= 1 << (id & 31);
    this.size++;
  }

  /** True when the identifier was there. */
  delete(id: number): boolean {
    if (this.bits === null || !this.has(id)) return false;
    this.bits[id >>> 5] &= ~(1 << (id & 31));
    this.size--;
    return true;
  }

  clear(): void {
    this.bits = null;
    this.size = 0;
  }

  values(): number[] {
    const found: number[] = [];
    for (let id = 1; id <= 65_535 && found.length < this.size; id++) if (this.has(id)) found.push(id);
    return found;
  }
}
