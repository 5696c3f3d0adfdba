/**
 * One MQTT connection of the load harness: transport, CONNECT, frame reassembly and its end. What the frames mean is the
 * business of its role. Thread of the harness, where all connections share one read buffer: a chunk is consumed whole
 * before the next read.
 */
import type { BenchPlan } from './options.ts';
import { count, nowMs, recordMs, type Statistics } from './statistics.ts';
import { openTransport, readBuffer, type Transport } from './transport.ts';
import {
  bodyStart,
  CONNACK,
  type ConnackLimits,
  DISCONNECT,
  disconnectRequest,
  encodeConnect,
  frameLength,
  pingRequest,
  readConnackLimits,
  reasonText,
} from './wire.ts';

const readView = viewOf(readBuffer);

/** What a connection does with its frames after CONNACK. */
export interface Role {
  /** The broker said yes. */
  onConnected(connection: BenchConnection, limits: ConnackLimits): void;
  /**
   * Takes the complete frames of `[start, end)` and returns the offset behind the last of them.
   * `view` covers the same bytes as `buffer`; neither may be kept.
   */
  consume(buffer: Buffer, view: DataView, start: number, end: number): number;
  /** A chunk was consumed: the place to write what it asked for. */
  onChunkEnd?(): void;
  /** A write that had to wait was finished. */
  onWritable?(): void;
  onClosed?(): void;
}

/** Neither publishes nor subscribes. */
export class IdleRole implements Role {
  private connection: BenchConnection | null = null;

  onConnected(connection: BenchConnection): void {
    this.connection = connection;
  }

  consume(buffer: Buffer, _view: DataView, start: number, end: number): number {
    let at = start;
    for (let length = frameLength(buffer, at, end); length > 0 && at + length <= end; ) {
      if (this.connection !== null)
        noteDisconnect(this.connection, buffer, buffer[at], bodyStart(buffer, at), at + length);
      at += length;
      length = frameLength(buffer, at, end);
    }
    return at;
  }
}

type State = 'new' | 'connecting' | 'connected' | 'ending' | 'closed';

export class BenchConnection {
  readonly clientId: string;
  private readonly keepsSession: boolean;
  private readonly plan: BenchPlan;
  private readonly statistics: Statistics;
  private readonly role: Role;
  private transport: Transport | null = null;
  private state: State = 'new';
  private startedMs = 0;
  private timer: NodeJS.Timeout | undefined;
  private settle: { resolve: (reason: string | null) => void } | null = null;
  private closeReason = '';
  private carry: Buffer = Buffer.alloc(0);
  private carryLength = 0;
  /** Bound once: passing a fresh closure with every write would be the only allocation of a small one. */
  private readonly onWritten = (): void => {
    if (this.state === 'connected') this.role.onWritable?.();
  };

  /** `keepsSession`: the broker is to keep its session when the connection ends. */
  constructor(plan: BenchPlan, statistics: Statistics, clientId: string, role: Role, keepsSession = false) {
    this.keepsSession = keepsSession;
    this.plan = plan;
    this.statistics = statistics;
    this.clientId = clientId;
    this.role = role;
  }

  get isConnected(): boolean {
    return this.state === 'connected';
  }

  /** Bytes that the kernel did not take yet. While there are any, written buffers must not be touched. */
  get pendingBytes(): number {
    return this.transport?.pendingBytes ?? 0;
  }

  /** Connects from `localAddress`, if any; resolves with null, or with the reason why not. Never rejects. */
  connect(localAddress: string | undefined): Promise<string | null> {
    const settled = Promise.withResolvers<string | null>();
    this.settle = settled;
    this.state = 'connecting';
    this.startedMs = nowMs();
    const { version, username, password, keepAliveS } = this.plan;
    this.transport = openTransport(this.plan, localAddress, {
      onOpen: () => {
        const { clientId, keepsSession } = this;
        this.transport?.write(encodeConnect({ version, clientId, username, password, keepAliveS, keepsSession }));
      },
      onRead: (byteCount) => this.onRead(byteCount),
      onError: (reason) => {
        this.closeReason ||= reason;
      },
      onClose: () => this.onClose(),
    });
    this.timer = setTimeout(() => this.abort('no answer in time'), this.plan.connectTimeoutMs);
    return settled.promise;
  }

  /** Writes `bytes`, which must stay as they are until `pendingBytes` is 0 again. */
  write(bytes: Uint8Array): void {
    this.transport?.write(bytes, this.onWritten);
  }

  ping(): void {
    if (this.state === 'connected') this.transport?.write(pingRequest);
  }

  /** Ends in order; what happens afterwards is no disconnection to be counted. */
  end(): void {
    if (this.state === 'closed' || this.transport === null) return;
    const wasConnected = this.state === 'connected';
    this.state = 'ending';
    this.transport.end(wasConnected ? disconnectRequest : null);
  }

  /** Breaks off for a reason of ours. */
  abort(reason: string): void {
    this.closeReason ||= reason;
    this.transport?.destroy();
  }

  private onRead(byteCount: number): void {
    if (this.state === 'ending' || this.state === 'closed') return;
    try {
      const start = this.carryLength > 0 ? this.completeCarry(byteCount) : 0;
      const consumed = start < byteCount ? this.consume(readBuffer, readView, start, byteCount) : byteCount;
      if (consumed < byteCount) this.keep(consumed, byteCount);
      this.role.onChunkEnd?.();
    } catch (error) {
      this.abort((error as Error).message);
    }
  }

  private consume(buffer: Buffer, view: DataView, start: number, end: number): number {
    if (this.state === 'connected') return this.role.consume(buffer, view, start, end);
    const length = frameLength(buffer, start, end);
    if (length === 0 || start + length > end) return start;
    this.onConnack(buffer, start, start + length);
    // `onConnack` moves the state on, or aborts.
    return (this.state as State) === 'connected' ? this.role.consume(buffer, view, start + length, end) : end;
  }

  private onConnack(buffer: Buffer, start: number, end: number): void {
    const body = bodyStart(buffer, start);
    const code = buffer[body + 1];
    if (buffer[start] >> 4 !== CONNACK || code !== 0) {
      this.abort(buffer[start] >> 4 === CONNACK ? `refused: ${reasonText(code)}` : 'something other than CONNACK came');
      return;
    }
    clearTimeout(this.timer);
    this.state = 'connected';
    this.statistics.connected++;
    recordMs(this.statistics.connectLatency, nowMs() - this.startedMs);
    const noLimits = { receiveMaximum: 65535, maximumQos: 2, maximumPacketSize: Number.MAX_SAFE_INTEGER };
    this.role.onConnected(this, this.plan.version === 5 ? readConnackLimits(buffer, body, end) : noLimits);
    this.settle?.resolve(null);
  }

  /** Notes why the broker is about to close (MQTT 5, 3.14). Called by roles. */
  onDisconnectPacket(buffer: Buffer, body: number, end: number): void {
    this.closeReason ||= `DISCONNECT: ${end > body ? reasonText(buffer[body]) : 'no reason'}`;
  }

  private onClose(): void {
    clearTimeout(this.timer);
    const previous = this.state;
    this.state = 'closed';
    const reason = this.closeReason || 'closed by the broker';
    if (previous === 'connected') count(this.statistics.disconnects, reason);
    this.role.onClosed?.();
    this.settle?.resolve(previous === 'connecting' ? reason : null);
  }

  /** Puts the unfinished frame of `[start, end)` aside. */
  private keep(start: number, end: number): void {
    this.reserve(end - start);
    readBuffer.copy(this.carry, 0, start, end);
    this.carryLength = end - start;
  }

  /** Finishes the frame put aside with the first bytes of this chunk; returns where the next frame begins. */
  private completeCarry(byteCount: number): number {
    let at = 0;
    let length = frameLength(this.carry, 0, this.carryLength);
    while (length === 0 && at < byteCount) {
      this.reserve(this.carryLength + 1);
      this.carry[this.carryLength++] = readBuffer[at++];
      length = frameLength(this.carry, 0, this.carryLength);
    }
    if (length === 0) return at;
    this.reserve(length);
    const taken = Math.min(length - this.carryLength, byteCount - at);
    readBuffer.copy(this.carry, this.carryLength, at, at + taken);
    this.carryLength += taken;
    if (this.carryLength < length) return byteCount;
    this.carryLength = 0;
    this.consume(this.carry, viewOf(this.carry), 0, length);
    return at + taken;
  }

  private reserve(byteCount: number): void {
    if (this.carry.length >= byteCount) return;
    const grown = Buffer.allocUnsafe(Math.max(byteCount, this.carry.length * 2, 256));
    this.carry.copy(grown, 0, 0, this.carryLength);
    this.carry = grown;
  }
}

/** True when the frame is a DISCONNECT, which has then been noted. */
export function noteDisconnect(
  connection: BenchConnection,
  buffer: Buffer,
  first: number,
  body: number,
  end: number,
): boolean {
  if (first >> 4 !== DISCONNECT) return false;
  connection.onDisconnectPacket(buffer, body, end);
  return true;
}

function viewOf(buffer: Buffer): DataView {
  return new DataView(buffer.buffer, buffer.byteOffset, buffer.length);
}
