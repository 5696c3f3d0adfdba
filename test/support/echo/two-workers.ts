/** A broker with two workers and the toy protocol that kills them on command, for a whole test file. Thread of the test. */
import { afterAll, beforeAll } from 'vitest';
import { type Checkout, checkoutWithEcho } from './checkout.ts';
import { Program } from './program.ts';

/** Started before the tests of the file and ended behind them. Connections go to the workers in turn, so that a test knows who is where. */
export function twoWorkers(): () => Program {
  let checkout: Checkout;
  let program: Program;
  beforeAll(async () => {
    checkout = checkoutWithEcho();
    const flags = ['--workers', '2', '--set', 'sharding=round-robin', '--mqtt', '127.0.0.1:0'];
    program = await Program.start(checkout.path, { flags });
  });
  afterAll(async () => {
    await program.kill();
    checkout.remove();
  });
  return () => program;
}
