import { expect, it } from 'vitest';
import type { CloseReason, ConnectionHandler, ListenerInfo } from '../../../../src/core/ports/connection.ts';
import type { WebSocketConnection } from '../../../../src/net/http/port.ts';
import type { ConnectionHost } from '../../../../src/net/tcp/buffered-connection.ts';
import { OutputMemory } from '../../../../src/net/tcp/output-memory.ts';
import { ReadArea } from '../../../../src/net/tcp/read-area.ts';
import { Turn } from '../../../../src/net/tcp/turn.ts';
import { WebSocketStreamConnection } from '../../../../src/net/web-socket/web-socket-stream.ts';

const listener = { index: 0, name: 'ws', protocol: 'any' } as ListenerInfo;

/** A connection over a library that reports the end within the call that brings it about, as uWebSockets.js does. */
function connected() {
  const ends: CloseReason[] = [];
  const told: CloseReason[] = [];
  const host: ConnectionHost = {
    turn: new Turn(new OutputMemory()),
    readArea: new ReadArea(1_024, 65_536),
    outputBytesMax: 65_536,
    outputLowWaterBytes: 32_768,
    countReceived: () => undefined,
    countSent: () => undefined,
    ended: (_, reason) => ends.push(reason),
  };
  const end = (code: number): void => {
    if (webSocket.closed) return;
    webSocket.closed = true;
    connection.onClose(code);
  };
  const webSocket = {
    ...{ path: '/', protocol: '', remoteAddress: '127.0.0.1', remotePort: 1, facts: undefined },
    ...{ bufferedAmount: 0, closed: false as boolean },
    send: () => undefined,
    pause: () => undefined,
    resume: () => undefined,
    close: (code: number) => end(code),
    destroy: () => end(1006),
  } satisfies WebSocketConnection;
  const options = { id: 1, listener, host, refused: () => undefined };
  const connection = new WebSocketStreamConnection(options, webSocket);
  const handler: ConnectionHandler = {
    onData: (_bytes, _start, end) => end,
    onDrain: () => undefined,
    onClose: (reason) => told.push(reason),
  };
  connection.start(handler);
  return { connection, ends, told };
}

it('destroy() ends a connection once when the library reports the end within it', () => {
  const { connection, ends, told } = connected();
  connection.destroy('limit');
  connection.destroy('client');
  expect(ends).toEqual(['limit']);
  expect(told).toEqual(['limit']);
});

it('onMessage() ends a connection once that sends text', () => {
  const { connection, ends, told } = connected();
  connection.onMessage(Buffer.from('text'), false);
  expect(ends).toEqual(['protocol-error']);
  expect(told).toEqual(['protocol-error']);
});

it('onClose() says once that the client has left', () => {
  const { connection, ends } = connected();
  connection.onClose(1000);
  connection.destroy('limit');
  expect(ends).toEqual(['client']);
});
