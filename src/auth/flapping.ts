/**
 * Finds clients that connect again and again: counts connections by client id in windows of time. Pure, time is an
 * argument; main thread. Memory: a bounded number of windows, the oldest make room.
 */

export interface FlappingSettings {
  /** 0: nobody flaps. */
  readonly connectsMax: number;
  readonly windowS: number;
  readonly blockS: number;
}

const windowsMax = 100_000;

export class FlappingDetector {
  readonly #settings: FlappingSettings;
  readonly #windows = new Map<string, { count: number; readonly endsMs: number }>();

  constructor(settings: FlappingSettings) {
    this.#settings = settings;
  }

  /** A client connected. True exactly once in a window: it is to be blocked now. */
  connected(tenant: string, clientId: string, nowMs: number): boolean {
    const { connectsMax, windowS } = this.#settings;
    if (connectsMax === 0) return false;
    const key = JSON.stringify([tenant, clientId]);
    const known = this.#windows.get(key);
    if (known !== undefined && known.endsMs > nowMs) {
      known.count++;
      return known.count === connectsMax + 1;
    }
    this.#windows.delete(key);
    if (this.#windows.size >= windowsMax) {
      const [oldest] = this.#windows.keys();
      this.#windows.delete(oldest);
    }
    this.#windows.set(key, { count: 1, endsMs: nowMs + windowS * 1_000 });
    return false;
  }
}
