/** Clients of the HTTP contract that say exactly the bytes they are told to. */
import { connect, type Socket } from 'node:net';

export interface RawResponse {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
}

/** Nothing in the contract waits longer for bytes than this; the fixed time limits of uWebSockets.js are the longest. */
const WAIT_MS_MAX = 25_000;

/** One TCP connection with a buffer of what arrived. */
export class RawClient {
  readonly #socket: Socket;
  #received: Buffer = Buffer.alloc(0);
  #ended = false;
  #wake: () => void = () => undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.#received = Buffer.concat([this.#received, chunk]);
      this.#wake();
    });
    // A reset is one of the ends that the contract allows.
    socket.on('error', () => socket.destroy());
    const ended = (): void => {
      this.#ended = true;
      this.#wake();
    };
    socket.on('end', ended);
    socket.on('close', ended);
  }

  static async open(port: number): Promise<RawClient> {
    const socket = connect(port, '127.0.0.1');
    const client = new RawClient(socket);
    await new Promise<void>((resolve) => {
      socket.once('connect', resolve);
      socket.once('close', () => resolve());
    });
    return client;
  }

  get localPort(): number {
    return this.#socket.localPort ?? 0;
  }

  send(data: string | Uint8Array): void {
    if (!this.#socket.destroyed) this.#socket.write(typeof data === 'string' ? Buffer.from(data, 'latin1') : data);
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  close(): void {
    this.#socket.destroy();
  }

  /** Resolves when the peer has closed; what it sent before is returned. */
  async untilClosed(): Promise<string> {
    while (!this.#ended) await this.#more();
    return this.#received.toString('latin1');
  }

  /** The next response; `bodyExpected` is false for answers to HEAD. */
  async response(bodyExpected = true): Promise<RawResponse> {
    const head = (await this.takeThrough('\r\n\r\n')).toString('latin1');
    const [statusLine, ...lines] = head.trimEnd().split('\r\n');
    const headers = new Map<string, string>();
    for (const line of lines) {
      const colon = line.indexOf(':');
      headers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
    }
    const length = bodyExpected ? Number(headers.get('content-length') ?? 0) : 0;
    const body = (await this.take(length)).toString('utf8');
    return { status: Number(statusLine.split(' ')[1]), headers, body };
  }

  /** Exactly `length` bytes. */
  async take(length: number): Promise<Buffer> {
    while (this.#received.length < length) await this.#moreOrFail();
    return this.#cut(length);
  }

  async takeThrough(mark: string): Promise<Buffer> {
    for (;;) {
      const position = this.#received.indexOf(mark);
      if (position >= 0) return this.#cut(position + mark.length);
      await this.#moreOrFail();
    }
  }

  #cut(length: number): Buffer {
    const cut = this.#received.subarray(0, length);
    this.#received = this.#received.subarray(length);
    return cut;
  }

  async #moreOrFail(): Promise<void> {
    if (this.#ended) throw new Error(`Cannot read on: the peer closed after "${this.#received.toString('latin1')}"`);
    await this.#more();
  }

  async #more(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`Cannot read on: nothing came for ${WAIT_MS_MAX} ms`)),
        WAIT_MS_MAX,
      );
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

export interface Frame {
  readonly fin: boolean;
  readonly opcode: number;
  readonly payload: Buffer;
}

export const opcodes = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

/** An upgrade request; `extra` are further header lines. */
export function upgradeRequest(path: string, extra: readonly string[] = []): string {
  return [
    `GET ${path} HTTP/1.1`,
    'Host: localhost',
    'Upgrade: websocket',
    'Connection: Upgrade',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    ...(extra.some((line) => line.startsWith('Sec-WebSocket-Version')) ? [] : ['Sec-WebSocket-Version: 13']),
    ...extra,
    '',
    '',
  ].join('\r\n');
}

/** RFC 6455, section 5.2: a masked frame, as clients send it. `declaredLength` lies about the length on purpose. */
export function frame(opcode: number, payload: Uint8Array, fin = true, declaredLength = payload.length): Buffer {
  const head = [(fin ? 0x80 : 0) | opcode];
  if (declaredLength < 126) head.push(0x80 | declaredLength);
  else if (declaredLength < 65_536) head.push(0x80 | 126, declaredLength >> 8, declaredLength & 0xff);
  else {
    const length = Buffer.alloc(8);
    length.writeBigUInt64BE(BigInt(declaredLength));
    head.push(0x80 | 127, ...length);
  }
  const mask = Buffer.from([1, 2, 3, 4]);
  const masked = Buffer.from(payload);
  for (let i = 0; i < masked.length; i++) masked[i] ^= mask[i & 3];
  return Buffer.concat([Buffer.from(head), mask, masked]);
}

/** The next frame of the server. */
export async function readFrame(client: RawClient): Promise<Frame> {
  const [first, second] = await client.take(2);
  let length = second & 0x7f;
  if (length === 126) length = (await client.take(2)).readUInt16BE(0);
  else if (length === 127) length = Number((await client.take(8)).readBigUInt64BE(0));
  return { fin: (first & 0x80) !== 0, opcode: first & 0x0f, payload: await client.take(length) };
}

/** A client whose upgrade was answered with 101. */
export async function openWebSocket(
  port: number,
  path: string,
  extra: readonly string[] = [],
): Promise<{ client: RawClient; headers: ReadonlyMap<string, string> }> {
  const client = await RawClient.open(port);
  client.send(upgradeRequest(path, extra));
  const { status, headers } = await client.response(false);
  if (status !== 101) throw new Error(`Cannot upgrade "${path}": status ${status}`);
  return { client, headers };
}
