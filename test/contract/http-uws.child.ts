/**
 * Child process of `http-uws.test.ts`: runs the HTTP contract over uWebSockets.js and prints one JSON line per check.
 * Its arguments are the command that started it, so that checks can start more of its kind.
 */
import { httpContract } from './http.contract.ts';
import type { ContractContext } from './http-fixture.ts';

export interface CheckResult {
  readonly name: string;
  /** Undefined when the check passed. */
  readonly error?: string;
}

const context: ContractContext = { adapter: 'uws', nodeCommand: process.argv.slice(2) };
/** The slow checks wait for fixed time limits of the library, so many run at a time. */
const concurrency = 8;

const waiting = [...httpContract];

async function runWaiting(): Promise<void> {
  for (let check = waiting.shift(); check !== undefined; check = waiting.shift()) {
    const { name } = check;
    const result: CheckResult = await check.run(context).then(
      () => ({ name }),
      (error: unknown) => ({ name, error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
    );
    process.stdout.write(`${JSON.stringify(result)}\n`);
  }
}

await Promise.all(Array.from({ length: concurrency }, runWaiting));
