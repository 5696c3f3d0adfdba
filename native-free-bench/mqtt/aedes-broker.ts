/** Aedes as a process of its own, for `brokers.ts`: listens on a free port of 127.0.0.1 and prints it. */
import { type AddressInfo, createServer } from 'node:net';
import { Aedes } from 'aedes';

const aedes = await Aedes.createBroker();
const server = createServer({ noDelay: true }, aedes.handle);
server.listen(0, '127.0.0.1', 1024, () => {
  process.stdout.write(`aedes ready port=${(server.address() as AddressInfo).port}\n`);
});
