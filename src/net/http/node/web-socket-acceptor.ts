/**
 * Accepts connections for WebSockets on the main thread and hands each untouched socket to a worker in turn. A socket
 * can be transferred until its first byte is read, hence `pauseOnConnect`; the upgrade is read by the worker.
 */
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { MessageChannel, type MessagePort, type Transferable } from 'node:worker_threads';
import { acknowledgeLeave } from '../leave.ts';
import { listenFailed } from '../listen-failed.ts';
import type { ListenAddress, WebSocketAcceptor, WebSocketTransport } from '../port.ts';

/** Main to worker. The socket itself is in the transfer list. */
export interface SocketMessage {
  readonly socket: Socket;
}

/** Worker to main: takes connections from now on, or takes none any more. */
type WorkerMessage = 'join' | 'leave';

export async function acceptWebSockets(options: ListenAddress): Promise<WebSocketAcceptor> {
  const workers: MessagePort[] = [];
  const channels = new Set<MessagePort>();
  let next = 0;
  const server = createServer({ pauseOnConnect: true, noDelay: true }, (socket) => {
    if (workers.length === 0) {
      socket.destroy();
      return;
    }
    next = (next + 1) % workers.length;
    hand(socket, workers[next]);
  });
  await bind(server, options.host, options.port);

  function leave(port: MessagePort): void {
    const position = workers.indexOf(port);
    if (position >= 0) workers.splice(position, 1);
  }

  return {
    host: options.host,
    port: (server.address() as AddressInfo).port,
    get workerCount() {
      return workers.length;
    },
    addWorker: (): WebSocketTransport => {
      const { port1, port2 } = new MessageChannel();
      const left = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT);
      channels.add(port1);
      port1.on('message', (message: WorkerMessage) => {
        if (message === 'join') workers.push(port1);
        else {
          leave(port1);
          acknowledgeLeave(left);
        }
      });
      port1.on('close', () => {
        leave(port1);
        channels.delete(port1);
      });
      // The listening socket is what keeps the main thread alive, not its workers' channels.
      port1.unref();
      return { port: port2, left };
    },
    stop: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
      }),
  };
}

function hand(socket: Socket, worker: MessagePort): void {
  // A peer that resets before the transfer is nobody's loss; without a listener it would be an uncaught exception.
  socket.on('error', () => socket.destroy());
  try {
    const message: SocketMessage = { socket };
    worker.postMessage(message, [socket as unknown as Transferable]);
  } catch {
    // The socket died while it was accepted and cannot be transferred any more.
    socket.destroy();
  }
}

async function bind(server: Server, host: string, port: number): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(listenFailed(host, port, error)));
    server.listen(port, host, resolve);
  });
  server.removeAllListeners('error');
  // Errors of accept, such as a full table of descriptors, concern one connection; the next one is tried again.
  server.on('error', () => undefined);
}
