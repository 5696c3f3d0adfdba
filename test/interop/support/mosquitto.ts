/** `mosquitto_pub` and `mosquitto_sub` as processes. Thread of the test. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

export const mosquittoVersions = ['mqttv31', 'mqttv311', 'mqttv5'] as const;
export type MosquittoVersion = (typeof mosquittoVersions)[number];

/** What `mosquitto_sub -F %j` prints of a message. */
export interface MosquittoMessage {
  readonly topic: string;
  readonly qos: number;
  readonly retain: number;
  readonly payload: string;
  readonly properties?: Readonly<Record<string, unknown>>;
}

export interface Ended {
  readonly code: number | null;
  readonly output: string;
}

/** Longest wait for what must come. */
const waitLimitMs = 15_000;

export class MosquittoSub {
  readonly messages: MosquittoMessage[] = [];
  readonly ended: Promise<Ended>;
  private readonly child: ChildProcess;
  private output = '';
  private isSubscribed = false;
  private hasEnded = false;
  private wake: (() => void) | null = null;

  constructor(port: number, version: MosquittoVersion, args: readonly string[]) {
    // Line buffers, or nothing is seen before the process ends; -d tells when the subscription stands.
    const command = ['-oL', 'mosquitto_sub', '-d', '-p', `${port}`, '-V', version, '-F', '%j', ...args];
    this.child = spawn('stdbuf', command, { stdio: ['ignore', 'pipe', 'pipe'] });
    const lines = createInterface({ input: this.child.stdout as NodeJS.ReadableStream });
    lines.on('line', (line) => this.onLine(line));
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.output += text;
    });
    this.ended = once(this.child, 'close').then(([code]) => {
      this.hasEnded = true;
      this.wake?.();
      return { code, output: this.output };
    });
  }

  private onLine(line: string): void {
    if (line.startsWith('{')) this.messages.push(JSON.parse(line));
    else {
      this.output += `${line}\n`;
      if (line.startsWith('Subscribed')) this.isSubscribed = true;
    }
    this.wake?.();
  }

  /** Resolves after SUBACK. */
  async subscribed(): Promise<this> {
    await this.until(() => this.isSubscribed, 'a subscription');
    return this;
  }

  async received(count: number): Promise<MosquittoMessage[]> {
    await this.until(() => this.messages.length >= count, `${count} messages`);
    return this.messages;
  }

  private async until(condition: () => boolean, what: string): Promise<void> {
    const limit = performance.now() + waitLimitMs;
    while (!condition()) {
      const leftMs = limit - performance.now();
      if (this.hasEnded || leftMs <= 0) {
        throw new Error(`mosquitto_sub has not got ${what}; it has ${this.messages.length} messages\n${this.output}`);
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        this.wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  /** SIGTERM makes it say DISCONNECT, SIGKILL does not. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<Ended> {
    if (!this.hasEnded) this.child.kill(signal);
    return this.ended;
  }
}

/** Runs `mosquitto_pub` to its end. `input` is written to its standard input. */
export async function mosquittoPub(
  port: number,
  version: MosquittoVersion,
  args: readonly string[],
  input = '',
): Promise<Ended> {
  const child = spawn('mosquitto_pub', ['-p', `${port}`, '-V', version, ...args], { stdio: ['pipe', 'pipe', 'pipe'] });
  let output = '';
  const collect = (text: string): void => {
    output += text;
  };
  child.stdout.setEncoding('utf8').on('data', collect);
  child.stderr.setEncoding('utf8').on('data', collect);
  child.stdin.on('error', () => undefined); // It ended before it read everything, which its status tells.
  child.stdin.end(input);
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, output };
}
