/**
 * A client that keeps its side of an MQTT session over any number of connections: what it sent and was not answered, what it got and has
 * not released. It answers by the protocol and nothing else. Thread of the test.
 */
import net, { type Socket } from 'node:net';
import { generate, type Packet, parser } from 'mqtt-packet';
import type { AnyPacket } from '../support/mqtt/mqtt-host.ts';

export interface SessionClientOptions {
  readonly clientId: string;
  readonly level: 4 | 5;
  /** The session goes on after a connection ended. */
  readonly isDurable: boolean;
  /** Receive Maximum of MQTT 5. */
  readonly receiveMaximum?: number;
}

const connectLimitMs = 10_000;
const sessionExpiryS = 86_400;

export abstract class SessionClient {
  readonly problems: string[] = [];
  readonly options: SessionClientOptions;
  isConnected = false;
  connects = 0;
  /** The broker has said that it keeps a session; it was asked to, whether it said so or not. */
  #hadSession = false;
  #hasAsked = false;
  #socket: Socket | null = null;

  constructor(options: SessionClientOptions) {
    this.options = options;
  }

  /** Resolves with whether the broker has let it in; a broker that dies meanwhile is no problem. */
  async connect(port: number): Promise<boolean> {
    this.cut();
    const { level } = this.options;
    const socket = net.connect({ port, host: '127.0.0.1', noDelay: true });
    this.#socket = socket;
    const reader = parser({ protocolVersion: level });
    return await new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => {
        this.report(`no CONNACK within ${connectLimitMs} ms`);
        socket.destroy();
      }, connectLimitMs);
      const settle = (isIn: boolean): void => {
        clearTimeout(timer);
        resolve(isIn);
      };
      socket.on('error', () => undefined); // A broker that was killed resets its connections.
      socket.on('close', () => {
        if (this.#socket === socket) this.#lost();
        // CONNECT may have been handled although nobody was told.
        this.#hasAsked ||= this.options.isDurable;
        settle(false);
      });
      socket.on('connect', () => this.send(this.#hello()));
      socket.on('data', (chunk: Buffer) => reader.parse(chunk));
      reader.on('error', (error) => this.report(`cannot read what came: ${error.message}`));
      reader.on('packet', (packet) => {
        if (this.#socket !== socket) return;
        const any = packet as unknown as AnyPacket;
        if (any.cmd !== 'connack') this.onPacket(any);
        else settle(this.#welcome(any));
      });
    });
  }

  #hello(): AnyPacket {
    const { clientId, level, isDurable, receiveMaximum } = this.options;
    const properties =
      level === 5 ? { sessionExpiryInterval: isDurable ? sessionExpiryS : 0, receiveMaximum } : undefined;
    const hello = {
      cmd: 'connect',
      protocolId: 'MQTT',
      protocolVersion: level,
      clientId,
      clean: !isDurable,
      keepalive: 60,
    };
    return { ...hello, ...(properties && { properties }) };
  }

  #welcome(connack: AnyPacket): boolean {
    const code = connack.returnCode ?? connack.reasonCode;
    if (code !== 0) {
      if (!this.isRefusable(code as number)) this.report(`was refused with ${String(code)}`);
      return false;
    }
    const isPresent = connack.sessionPresent === true;
    if (this.#hadSession && !isPresent) this.report('its session is gone');
    if (isPresent && !this.#hasAsked) this.report('there is a session that it never had');
    this.#hasAsked = this.options.isDurable;
    this.isConnected = true;
    this.connects += 1;
    this.onConnected(isPresent);
    return true;
  }

  #lost(): void {
    this.isConnected = false;
    this.#socket = null;
  }

  /** Ends the connection without a word. */
  cut(): void {
    const socket = this.#socket;
    this.#lost();
    socket?.destroy();
  }

  /** Called when the broker has said that it keeps the session. */
  protected sessionIsKept(): void {
    this.#hadSession = this.options.isDurable;
  }

  send(packet: AnyPacket): void {
    this.#socket?.write(generate(packet as unknown as Packet, { protocolVersion: this.options.level }));
  }

  report(problem: string): void {
    if (this.problems.length < 10) this.problems.push(`${this.options.clientId}: ${problem}`);
  }

  /** Whether a broker may refuse the client with this code at the moment. */
  protected isRefusable(_code: number): boolean {
    return false;
  }

  protected abstract onConnected(isPresent: boolean): void;
  protected abstract onPacket(packet: AnyPacket): void;
}
