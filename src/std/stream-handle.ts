/**
 * The part of Node's TCP handle that this broker reads and writes with directly, without the streams machinery.
 *
 * `net.Socket` costs about 3 KiB and some 0.6 us per read and write more than its handle (docs/adr/0003). The handle's
 * methods are not documented by Node, so everything that relies on them is in this file, is looked up once and answers
 * null where anything is missing; `StreamConnection` and `FrameSocket` then do the same work over the public interface.
 * Thread: any.
 */
import type { Socket } from 'node:net';

/** What `readBytesOrError` says when the peer has ended its side: UV_EOF. */
export const endOfFile = -4095;

/** A request that the kernel did not take at once; `oncomplete` runs when it has, with a negative status on failure. */
export interface WriteRequest {
  oncomplete: (status: number) => void;
  handle: TcpHandle;
  /** Keeps the memory alive that libuv writes from. */
  buffer: Uint8Array;
}

export interface TcpHandle {
  /** Whether it reads; kept by `net.Socket`, which starts it otherwise. */
  reading?: boolean;
  onread: (this: TcpHandle) => void;
  useUserBuffer(buffer: Uint8Array): void;
  readStart(): number;
  readStop(): number;
  writeBuffer(request: WriteRequest, buffer: Uint8Array): number;
  shutdown(request: { oncomplete: (status: number) => void }): number;
  close(callback?: () => void): void;
  /** Absent on a Unix socket. */
  getpeername?(into: { address?: string; port?: number }): number;
}

export interface StreamInternals {
  createWriteRequest(): WriteRequest;
  createShutdownRequest(): { oncomplete: (status: number) => void };
  /** Result words of the last call into a handle; the indexes below say what is where. */
  readonly state: Int32Array;
  readonly readBytesOrError: number;
  readonly lastWriteWasAsync: number;
}

interface StreamWrapBinding {
  readonly WriteWrap: new () => WriteRequest;
  readonly ShutdownWrap: new () => { oncomplete: (status: number) => void };
  readonly streamBaseState: Int32Array;
  readonly kReadBytesOrError: number;
  readonly kLastWriteWasAsync: number;
}

/** Looks the internals up, or answers null when this Node has none that look right. */
export function findStreamInternals(): StreamInternals | null {
  const binding = streamWrapBinding();
  if (binding === null) return null;
  const { WriteWrap, ShutdownWrap, streamBaseState: state, kReadBytesOrError, kLastWriteWasAsync } = binding;
  if (typeof WriteWrap !== 'function' || typeof ShutdownWrap !== 'function') return null;
  if (!ArrayBuffer.isView(state) || !Number.isInteger(kReadBytesOrError + kLastWriteWasAsync)) return null;
  return {
    createWriteRequest: () => new WriteWrap(),
    createShutdownRequest: () => new ShutdownWrap(),
    state,
    readBytesOrError: kReadBytesOrError,
    lastWriteWasAsync: kLastWriteWasAsync,
  };
}

function streamWrapBinding(): StreamWrapBinding | null {
  const { binding } = process as unknown as { binding?: (name: string) => StreamWrapBinding };
  if (typeof binding !== 'function') return null;
  try {
    return binding('stream_wrap');
  } catch {
    return null; // Refused under Node's permission model: the public interface is used instead.
  }
}

/** The handle of `socket` when it has what is needed; it stays the socket's, which closes it. */
export function borrowHandle(socket: Socket): TcpHandle | null {
  const { _handle: handle } = socket as unknown as { _handle: TcpHandle | null };
  if (handle === null || handle === undefined) return null;
  for (const method of ['useUserBuffer', 'readStart', 'readStop', 'writeBuffer', 'shutdown', 'close']) {
    if (typeof (handle as unknown as Record<string, unknown>)[method] !== 'function') return null;
  }
  return handle;
}

/**
 * Takes the handle out of `socket`, so that the socket object and its stream buffers can be collected. Answers null when
 * the handle lacks a method that is needed, in which case the socket is untouched.
 */
export function takeHandle(socket: Socket): TcpHandle | null {
  const handle = borrowHandle(socket) as (TcpHandle & Record<symbol, unknown>) | null;
  if (handle === null) return null;
  (socket as unknown as { _handle: TcpHandle | null })._handle = null;
  const owner = Object.getOwnPropertySymbols(handle).find((symbol) => symbol.description === 'owner_symbol');
  if (owner !== undefined) handle[owner] = null;
  return handle;
}
