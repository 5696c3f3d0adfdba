/** Half messages as a thread uses them that does not have them. Owned by the services client of a thread. */
import type { NewRecord } from '../../../core/batch/batch-builder.ts';
import { recordOf, targetOf } from '../../../core/delayed/stored-message.ts';
import type { HalfCheck, HalfMessages } from '../../../core/ports/transactions.ts';
import { StorageError } from '../../../core/streams/storage-error.ts';
import type { ServicesToClient } from '../messages.ts';
import { packMessage } from './client-delayed.ts';
import type { ServiceCalls } from './service-calls.ts';

export class ClientHalves implements HalfMessages {
  readonly #calls: ServiceCalls;
  /** Of each group the members on this thread, who are asked in turn. */
  readonly #handlers = new Map<string, ((check: HalfCheck) => void)[]>();
  #turn = 0;

  constructor(calls: ServiceCalls) {
    this.#calls = calls;
  }

  async prepare(group: string, target: string, record: NewRecord): Promise<number> {
    const message = packMessage(target, record);
    return (await this.#calls.run(
      { call: 'half-prepare', group: String(group), message },
      { moved: message },
    )) as number;
  }

  // A decision that is made twice is the same one, until it was forgotten: then it is answered TRANSACTION_UNKNOWN.
  async commit(number: number): Promise<void> {
    await this.#calls.run({ call: 'half-commit', number: Number(number) });
  }

  async rollback(number: number): Promise<void> {
    await this.#calls.run({ call: 'half-rollback', number: Number(number) });
  }

  onCheck(group: string, handler: (check: HalfCheck) => void): () => void {
    const known = this.#handlers.get(group);
    if (known === undefined) {
      this.#handlers.set(group, [handler]);
      void this.#tell('half-listen', group);
    } else known.push(handler);
    return () => this.#remove(group, handler);
  }

  /** A new host knows of nobody. */
  joined(): void {
    for (const group of this.#handlers.keys()) void this.#tell('half-listen', group);
  }

  check({ number, group, count, message }: Extract<ServicesToClient, { type: 'check' }>): void {
    const handlers = this.#handlers.get(group);
    if (handlers === undefined) return;
    this.#turn = (this.#turn + 1) % 0x4000_0000;
    const bytes = Buffer.from(message);
    handlers[this.#turn % handlers.length]({ number, group, count, target: targetOf(bytes), record: recordOf(bytes) });
  }

  #remove(group: string, handler: (check: HalfCheck) => void): void {
    const handlers = this.#handlers.get(group);
    const at = handlers?.indexOf(handler) ?? -1;
    if (handlers === undefined || at < 0) return;
    handlers.splice(at, 1);
    if (handlers.length > 0) return;
    this.#handlers.delete(group);
    void this.#tell('half-ignore', group);
  }

  async #tell(call: 'half-listen' | 'half-ignore', group: string): Promise<void> {
    try {
      await this.#calls.run({ call, group: String(group) }, { canRepeat: true });
    } catch (error) {
      // The next host is told when there is one.
      if (!(error instanceof StorageError)) throw error;
    }
  }
}
