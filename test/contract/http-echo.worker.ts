/** A worker of the HTTP contract: serves WebSockets with the adapter that it is told to use. */
import { type MessagePort, parentPort, threadId, workerData } from 'node:worker_threads';
import { loadHttpAdapter } from '../../src/net/http/choose.ts';
import type {
  HttpAdapterName,
  WebSocketConnection,
  WebSocketHandler,
  WebSocketTransport,
} from '../../src/net/http/port.ts';

export interface EchoWorkerData {
  readonly adapter: HttpAdapterName;
  readonly transport: WebSocketTransport;
  readonly connectionsMax: number;
  readonly handshakeTimeoutMs: number;
  readonly idleTimeoutMs: number;
  readonly messageBytesMax: number;
}

export type EchoWorkerMessage =
  | { readonly event: 'serving' }
  | { readonly event: 'stopped' }
  | { readonly event: 'closed'; readonly path: string; readonly code: number }
  | { readonly event: 'buffered'; readonly bytes: number; readonly messageCount: number };

const FLOOD_UNTIL_BYTES = 4 * 1024 * 1024;
const FLOOD_MESSAGE_BYTES = 64 * 1024;

const data = workerData as EchoWorkerData;
const main = parentPort as MessagePort;

function report(message: EchoWorkerMessage): void {
  main.postMessage(message);
}

/** Answers each message in kind; some texts are orders. */
function echo(connection: WebSocketConnection): WebSocketHandler {
  return {
    onMessage: (message, isBinary) => {
      const text = isBinary ? '' : message.toString('utf8');
      if (text === 'who') connection.send(String(threadId));
      else if (text === 'address') connection.send(`${connection.remoteAddress}:${connection.remotePort}`);
      else if (text === 'close') connection.close(4001, 'as told');
      else if (text === 'destroy') connection.destroy();
      else if (text === 'throw') throw new Error('as told');
      else if (text === 'flood') flood(connection);
      else connection.send(isBinary ? message : text);
    },
    onDrain: () => connection.send('drained'),
    onClose: (code) => report({ event: 'closed', path: connection.path, code }),
  };
}

function flood(connection: WebSocketConnection): void {
  const message = Buffer.alloc(FLOOD_MESSAGE_BYTES);
  let messageCount = 0;
  while (connection.bufferedAmount < FLOOD_UNTIL_BYTES) {
    message.writeUInt32BE(messageCount++);
    connection.send(message);
  }
  report({ event: 'buffered', bytes: connection.bufferedAmount, messageCount });
}

const adapter = await loadHttpAdapter(data.adapter);
const worker = await adapter.serveWebSockets(data.transport, {
  endpoints: [
    { path: '/echo', protocols: [], accept: echo },
    { path: '/agreed', protocols: ['beta', 'alpha'], accept: echo },
  ],
  originAllowed: (origin) => origin === 'https://console.example',
  routes: [{ method: 'GET', path: '/hello', handler: () => ({ status: 200, body: 'hello' }) }],
  onHandlerError: () => undefined,
  connectionsMax: data.connectionsMax,
  handshakeTimeoutMs: data.handshakeTimeoutMs,
  messageBytesMax: data.messageBytesMax,
  idleTimeoutMs: data.idleTimeoutMs,
});

main.on('message', async (order: 'stop') => {
  if (order !== 'stop') return;
  await worker.stop(1001, 2_000);
  report({ event: 'stopped' });
  main.close();
});
report({ event: 'serving' });
