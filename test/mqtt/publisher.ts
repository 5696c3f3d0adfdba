/** A publisher of numbered messages that sends again, in order, what was not answered, when its session goes on. Thread of the test. */
import type { AnyPacket } from '../support/mqtt/mqtt-host.ts';
import type { Line } from './ledger.ts';
import { SessionClient, type SessionClientOptions } from './session-client.ts';

interface Flight {
  readonly line: Line;
  readonly number: number;
  isReceived: boolean;
}

const windowMax = 48;
const packetIdNotFound = 0x92;

export class Publisher extends SessionClient {
  readonly lines: readonly Line[];
  acknowledged = 0;
  /** With their packet identifiers, in the order of sending. */
  readonly #flights = new Map<number, Flight>();
  #lastId = 0;
  #isRunning = false;
  #turn = 0;

  readonly #messagesMax: number;

  constructor(options: SessionClientOptions, lines: readonly Line[], messagesMax = Number.POSITIVE_INFINITY) {
    super(options);
    this.lines = lines;
    this.#messagesMax = messagesMax;
  }

  /** All that it may send was sent and answered. */
  get isDone(): boolean {
    return this.#turn === this.#messagesMax && this.#flights.size === 0;
  }

  get inFlight(): number {
    return this.#flights.size;
  }

  /** What was sent and not acknowledged may be taken twice by whoever dies now. */
  forgiveUnanswered(): void {
    for (const { line, number } of this.#flights.values())
      if (!line.acknowledged.has(number)) line.repeatable.add(number);
  }

  /** Sends new messages while it is connected, until `pause`. */
  run(): void {
    this.#isRunning = true;
    this.#fill();
  }

  pause(): void {
    this.#isRunning = false;
  }

  protected onConnected(isPresent: boolean): void {
    this.sessionIsKept();
    if (!this.options.isDurable || !isPresent) {
      // Nobody knows what became of those without an answer.
      this.#flights.clear();
    }
    for (const [messageId, flight] of this.#flights) {
      if (flight.isReceived) this.send({ cmd: 'pubrel', messageId });
      else this.#publish(messageId, flight, true);
    }
    this.#fill();
  }

  protected onPacket({ cmd, messageId, reasonCode = 0 }: AnyPacket): void {
    const id = messageId as number;
    const flight = this.#flights.get(id);
    // A PUBREL that is sent again may be about what is done already.
    const isDone = cmd === 'pubcomp' && reasonCode === packetIdNotFound;
    if ((reasonCode as number) >= 0x80 && !isDone) this.report(`${String(cmd)} says ${String(reasonCode)}`);
    if (flight === undefined) {
      // A PUBCOMP can come for each PUBREL that was sent again.
      if (cmd !== 'pubcomp') this.report(`${String(cmd)} for ${id}, which is not under way`);
      return;
    }
    const { line, number } = flight;
    if (cmd === 'puback' || cmd === 'pubrec') {
      if ((cmd === 'puback') !== (line.qos === 1)) this.report(`${cmd} for QoS ${line.qos}`);
      if (!line.acknowledged.has(number)) this.acknowledged += 1;
      line.acknowledged.add(number);
    }
    if (cmd === 'pubrec') {
      flight.isReceived = true;
      this.send({ cmd: 'pubrel', messageId: id });
    } else {
      this.#flights.delete(id);
      this.#fill();
    }
  }

  #fill(): void {
    while (this.#isRunning && this.isConnected && this.#flights.size < windowMax && this.#turn < this.#messagesMax) {
      const line = this.lines[this.#turn++ % this.lines.length] as Line;
      const flight = { line, number: line.next++, isReceived: false };
      const id = this.#nextId();
      this.#flights.set(id, flight);
      this.#publish(id, flight, false);
    }
  }

  #nextId(): number {
    do this.#lastId = (this.#lastId % 65_535) + 1;
    while (this.#flights.has(this.#lastId));
    return this.#lastId;
  }

  #publish(messageId: number, { line, number }: Flight, dup: boolean): void {
    this.send({
      cmd: 'publish',
      topic: line.topic,
      payload: `${number}`,
      qos: line.qos,
      retain: false,
      dup,
      messageId,
    });
  }
}
