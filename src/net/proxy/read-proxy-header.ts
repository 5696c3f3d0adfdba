/**
 * Reads the PROXY header off a socket and leaves everything behind it unread. Lives on the worker that owns the
 * connection, called for listeners that sit behind a proxy.
 */
import type { Socket } from 'node:net';
import { type ProxyHeader, parseProxyHeader, proxyHeaderBytesMax } from './proxy-header.ts';

export type ProxyOutcome =
  | { readonly kind: 'header'; readonly header: ProxyHeader }
  | { readonly kind: 'malformed'; readonly reason: string }
  | { readonly kind: 'timeout' }
  /** The peer went away. */
  | { readonly kind: 'gone' };

/**
 * Calls `done` once, with the header or with why there is none; the socket is then paused, has none of the listeners of
 * this function, and what was read behind the header is in its buffer. It is not closed here.
 */
export function readProxyHeader(socket: Socket, timeoutMs: number, done: (outcome: ProxyOutcome) => void): void {
  let collected: Buffer | null = null;
  const timer = setTimeout(() => finish({ kind: 'timeout' }), timeoutMs);
  timer.unref();

  function finish(outcome: ProxyOutcome): void {
    clearTimeout(timer);
    socket.off('readable', onReadable);
    socket.off('error', onGone);
    socket.off('end', onGone);
    socket.off('close', onGone);
    socket.pause();
    // Whoever goes on with the socket listens for errors at once; a closing one may still report some.
    if (outcome.kind !== 'header') socket.on('error', () => undefined);
    done(outcome);
  }

  function onReadable(): void {
    const chunk: Buffer | null = socket.read();
    if (chunk === null) return;
    collected = collected === null ? chunk : Buffer.concat([collected, chunk]);
    const result = parseProxyHeader(collected);
    if (result.kind === 'incomplete') {
      // The parser asks for no more than this; the bound is here so that it need not be believed.
      if (collected.length > proxyHeaderBytesMax) finish({ kind: 'malformed', reason: 'it is too long' });
      return;
    }
    if (result.kind === 'header' && collected.length > result.header.length) {
      socket.unshift(collected.subarray(result.header.length));
    }
    finish(result);
  }

  function onGone(): void {
    finish({ kind: 'gone' });
  }

  socket.on('readable', onReadable);
  socket.on('error', onGone);
  socket.on('end', onGone);
  socket.on('close', onGone);
  if (socket.destroyed) process.nextTick(() => finish({ kind: 'gone' }));
}
