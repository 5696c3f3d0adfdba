/**
 * A process of the endurance program that holds its share of the connections: they ping, are published to, and a part of them goes and
 * comes back each second. Led by `connections-run.ts` over IPC; reports once a second, and ends when it is told to or its parent is gone.
 */
import process from 'node:process';
import type { LoadMessage, LoadOptions, LoadReport } from './load-messages.ts';
import { disconnect, type Level, PacketType, pingreq, puback, publish } from './packets.ts';
import { type Leaving, packetIdAt, type WireHandler, WireSocket } from './wire-socket.ts';

const tickMs = 20;
const connectLimitMs = 15_000;
const deliveryLimitMs = 10_000;
/** A connection that was refused or lost is made again after this time. */
const againMs = 1_000;
/**
 * While so large a part of the connections is on its way, no further one goes: a broker that is slow for a moment is not met by a flood,
 * and descriptors have room. What is not made up for later counts as a load that did not keep up.
 */
const underWayShareMax = 0.03;
const underWayMin = 20;
/** Others repeat these. */
const problemsMax = 30;
const groups = 100;
const leavings: readonly Leaving[] = ['disconnect', 'end', 'reset'];

const figures = { connects: 0, reconnects: 0, published: 0, acknowledged: 0, delivered: 0, verified: 0, pings: 0 };
let slowestConnectMs = 0;
const problems: string[] = [];

function problem(what: string): void {
  if (problems.length < problemsMax) problems.push(what);
}

class Member implements WireHandler {
  readonly index: number;
  private readonly options: LoadOptions;
  private socket: WireSocket | null = null;
  private round = 0;
  private isPinging = false;
  /** Sent to it and not there yet; the time of the oldest. */
  private awaited = 0;
  private awaitedSinceMs = 0;
  private isOver = false;

  constructor(options: LoadOptions, index: number) {
    this.options = options;
    this.index = index;
  }

  get isReady(): boolean {
    return this.socket?.isReady ?? false;
  }

  get topic(): string {
    return `endurance/${this.index}/command`;
  }

  open(): void {
    const { port, addresses, keepAliveS } = this.options;
    const level: Level = this.index % 2 === 0 ? 4 : 5;
    const filters = [
      { topic: this.topic, qos: 1 },
      { topic: `endurance/group/${this.index % groups}`, qos: 0 },
    ];
    const identity = { level, clientId: `endurance-${this.index}`, keepAliveS, filters };
    const localAddress = addresses[(this.index + this.round) % addresses.length] ?? '127.0.0.1';
    this.isPinging = false;
    this.awaited = 0;
    this.socket = new WireSocket({ port, localAddress }, identity, this);
    figures.connects++;
  }

  /** Goes and comes back, in each of the ways in turn. False when it is not there to go. */
  renew(): boolean {
    if (!this.isReady) return false;
    this.check();
    const how = leavings[(this.index + this.round++) % leavings.length] ?? 'end';
    this.socket?.leave(how, how === 'disconnect' ? disconnect : null);
    this.open();
    figures.reconnects++;
    return true;
  }

  close(): void {
    this.isOver = true;
    this.socket?.leave('disconnect', disconnect);
  }

  ping(): void {
    if (!this.isReady) return;
    if (this.isPinging) problem('a PINGREQ was not answered before the next one');
    this.isPinging = true;
    this.socket?.write(pingreq);
  }

  expect(): void {
    if (this.awaited++ === 0) this.awaitedSinceMs = performance.now();
  }

  /** Says what should have been there by now. */
  check(): void {
    const nowMs = performance.now();
    if (this.awaited > 0 && nowMs - this.awaitedSinceMs > deliveryLimitMs) {
      problem(`${this.awaited} messages did not arrive within ${deliveryLimitMs} ms`);
      this.awaited = 0;
    }
    if (!this.isReady && this.socket !== null && nowMs - this.socket.openedMs > connectLimitMs) {
      problem(`a connection was not served within ${connectLimitMs} ms`);
      this.socket.leave('reset');
      this.open();
    }
  }

  onReady(): void {
    slowestConnectMs = Math.max(slowestConnectMs, performance.now() - (this.socket?.openedMs ?? 0));
  }

  onPacket(type: number, bytes: Buffer, start: number): void {
    if (type === PacketType.pingresp) {
      if (!this.isPinging) problem('a PINGRESP came that nobody asked for');
      this.isPinging = false;
      figures.pings++;
    } else if (type === PacketType.publish) {
      figures.delivered++;
      if (((bytes[start] ?? 0) & 0x06) === 0) return;
      this.socket?.write(puback(bytes.readUInt16BE(packetIdAt(bytes, start))));
      if (this.awaited > 0) {
        this.awaited--;
        // The next one was sent later, when exactly is not kept.
        this.awaitedSinceMs = performance.now();
        figures.verified++;
      }
    } else problem(`a packet of type ${type} came`);
  }

  onProblem(what: string): void {
    problem(what);
    this.socket = null;
    setTimeout(() => (this.isOver ? undefined : this.open()), againMs);
  }
}

/** Publishes to members that will not go soon, and waits for each PUBACK. */
class Publisher implements WireHandler {
  private readonly socket: WireSocket;
  private nextId = 1;
  private readonly unacknowledged = new Map<number, number>();

  constructor(options: LoadOptions) {
    const identity = {
      level: 4,
      clientId: `endurance-publisher-${options.first}`,
      keepAliveS: 0,
      filters: [],
    } as const;
    const filters = [{ topic: `endurance/publisher/${options.first}`, qos: 0 }];
    const localAddress = options.addresses[0] ?? '127.0.0.1';
    this.socket = new WireSocket({ port: options.port, localAddress }, { ...identity, filters }, this);
  }

  publishTo(member: Member): void {
    if (!this.socket.isReady || this.unacknowledged.size > 10_000) return;
    member.expect();
    const id = this.nextId;
    this.nextId = id === 65_535 ? 1 : id + 1;
    this.unacknowledged.set(id, performance.now());
    this.socket.write(publish(member.topic, Buffer.alloc(64, 'x'), id));
    figures.published++;
  }

  publishToGroup(group: number): void {
    if (this.socket.isReady) this.socket.write(publish(`endurance/group/${group}`, Buffer.alloc(64, 'y')));
  }

  check(): void {
    const [oldest] = this.unacknowledged.values();
    if (oldest !== undefined && performance.now() - oldest > deliveryLimitMs) {
      problem(`a PUBACK did not come within ${deliveryLimitMs} ms`);
      this.unacknowledged.clear();
    }
  }

  close(): void {
    this.socket.leave('disconnect', disconnect);
  }

  onReady(): void {}

  onPacket(type: number, bytes: Buffer, start: number): void {
    if (type !== PacketType.puback) return;
    if (this.unacknowledged.delete(bytes.readUInt16BE(start + 2))) figures.acknowledged++;
    else problem('a PUBACK came that nobody waits for');
  }

  onProblem(what: string): void {
    problem(`publisher: ${what}`);
  }
}

/** Calls `act` so often a second, evenly. */
class Pace {
  private due = 0;
  private readonly perS: number;

  constructor(perS: number) {
    this.perS = perS;
  }

  /** To be called once in each tick, before `isDue`. */
  tick(): void {
    this.due = Math.min(this.due + (this.perS * tickMs) / 1_000, Math.max(1, this.perS));
  }

  /** True as often as is due, and counts. */
  isDue(): boolean {
    if (this.due < 1) return false;
    this.due--;
    return true;
  }

  run(act: () => void): void {
    this.tick();
    while (this.isDue()) act();
  }
}

class Load {
  private readonly members: Member[];
  private readonly publisher: Publisher;
  private readonly ramp: Pace;
  private readonly churn: Pace;
  private readonly pings: Pace;
  private readonly publishes: Pace;
  private readonly groupPublishes = new Pace(2);
  private opened = 0;
  private cursor = 0;
  private pinged = 0;
  private spread = 0;
  private checked = 0;
  isChurning = false;
  private lastTickMs = performance.now();

  constructor(options: LoadOptions) {
    this.members = Array.from({ length: options.connections }, (_, at) => new Member(options, options.first + at));
    this.publisher = new Publisher(options);
    this.ramp = new Pace(options.rampPerS);
    this.churn = new Pace(options.churnPerS);
    // Each twice in the time after which the broker may give up on it.
    this.pings = new Pace((options.connections * 2) / options.keepAliveS);
    this.publishes = new Pace(options.publishesPerS);
  }

  get open(): number {
    return this.members.reduce((sum, { isReady }) => sum + (isReady ? 1 : 0), 0);
  }

  /** As many ticks as are due, a few at most, so that a process that was late catches up and none that hung bursts. */
  run(): void {
    const nowMs = performance.now();
    let ticks = Math.min(10, Math.floor((nowMs - this.lastTickMs) / tickMs));
    this.lastTickMs += ticks * tickMs;
    if (nowMs - this.lastTickMs > 500) this.lastTickMs = nowMs;
    for (; ticks > 0; ticks--) this.tick();
  }

  private tick(): void {
    const { members } = this;
    if (this.opened < members.length) this.ramp.run(() => members[this.opened++]?.open());
    const next = (at: number): Member => members[at % members.length] as Member;
    for (let count = Math.ceil(members.length / 250); count > 0; count--) next(this.checked++).check();
    this.publisher.check();
    if (!this.isChurning) return;
    const underWayMax = Math.max(underWayMin, members.length * underWayShareMax);
    let underWay = members.length - this.open;
    // Those that are due and cannot go yet go later, up to a second's worth.
    this.churn.tick();
    while (underWay < underWayMax && this.churn.isDue()) {
      if (next(this.cursor++).renew()) underWay++;
    }
    this.pings.run(() => next(this.pinged++).ping());
    this.publishes.run(() => {
      // Anywhere in the quarter that is farthest from going: a large step spreads them.
      const quarter = Math.max(1, members.length >>> 2);
      this.spread = (this.spread + 7_919) % quarter;
      const member = next(this.cursor + (members.length >>> 1) + this.spread);
      if (member.isReady) this.publisher.publishTo(member);
    });
    this.groupPublishes.run(() => this.publisher.publishToGroup(this.pinged % groups));
  }

  close(): void {
    for (const member of this.members) member.close();
    this.publisher.close();
  }

  report(): LoadReport {
    const report = {
      open: this.open,
      ...figures,
      slowestConnectMs: Math.round(slowestConnectMs),
      problems: [...problems],
    };
    slowestConnectMs = 0;
    return report;
  }
}

let load: Load | null = null;
process.on('message', (message: LoadMessage) => {
  if ('start' in message) {
    const started = new Load(message.start);
    load = started;
    setInterval(() => started.run(), tickMs);
    setInterval(() => process.send?.(started.report()), 1_000);
  } else if ('churn' in message) {
    if (load !== null) load.isChurning = message.churn;
  } else {
    load?.close();
    setTimeout(() => process.exit(0), 500);
  }
});
process.on('disconnect', () => process.exit(1));
