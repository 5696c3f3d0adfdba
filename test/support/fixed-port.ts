/** Ports for servers that are told where to listen before they start. Thread of the test. */
import { once } from 'node:events';
import { createServer } from 'node:net';

/** Below those that Linux and macOS give to sockets without a port of their own. */
const firstPort = 20_000;

/** A free port that the system gives nobody who asks for any, so that nobody gets it in between. */
export async function findFixedPort(): Promise<number> {
  for (let port = firstPort + Math.floor(Math.random() * 10_000); ; port += 1) {
    const server = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false));
      server.listen(port, '127.0.0.1', () => resolve(true));
    });
    if (!isFree) continue;
    server.close();
    await once(server, 'close');
    return port;
  }
}
