/** Something that is opened when it is used for the first time. Thread: the journal worker; used by the hosted services. */

export class Lazy<T> {
  readonly #open: () => Promise<T>;
  #opening: Promise<T> | null = null;
  #value: T | null = null;

  constructor(open: () => Promise<T>) {
    this.#open = open;
  }

  /** Null while it is not open. */
  get value(): T | null {
    return this.#value;
  }

  /** Opens it, unless it is open. Rejects with what opening rejects with; the next call tries again. */
  get(): Promise<T> {
    this.#opening ??= this.#run();
    return this.#opening;
  }

  /** It serves no more: the next call opens another one. */
  forget(value: T): void {
    if (this.#value !== value) return;
    this.#value = null;
    this.#opening = null;
  }

  /** When nothing is being opened any more. */
  async settled(): Promise<T | null> {
    await this.#opening?.catch(() => undefined);
    return this.#value;
  }

  async #run(): Promise<T> {
    try {
      this.#value = await this.#open();
      return this.#value;
    } catch (error) {
      this.#opening = null;
      throw error;
    }
  }
}
