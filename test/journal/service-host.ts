/**
 * Everything that the rounds load, over one store: plain partitions, transactions with cursors, delayed messages, queues, half messages.
 * Does what it is called for and says what happens. Time, chance and turns come from outside. Thread of its owner: the process that is
 * killed, or the test with simulated disks.
 */
import { BatchBuilder } from '../../src/core/batch/batch-builder.ts';
import { DelayedMessages } from '../../src/core/delayed/delayed-messages.ts';
import type { StreamPartition, StreamSettings, StreamStore } from '../../src/core/ports/stream-store.ts';
import type { QueueConsumer } from '../../src/core/queues/queue-consumer.ts';
import type { QueueContext } from '../../src/core/queues/queue-context.ts';
import { QueueService } from '../../src/core/queues/queue-service.ts';
import { Pauses } from '../../src/core/transactions/backoff.ts';
import { HalfMessages } from '../../src/core/transactions/half-messages.ts';
import { type ProducerIdentity, ProducerRegistry } from '../../src/core/transactions/producer-registry.ts';
import { TransactionCoordinator } from '../../src/core/transactions/transaction-coordinator.ts';
import { TimingWheel } from '../../src/std/timing-wheel.ts';
import { type Plant, PlantedStore } from './planted-store.ts';
import {
  type Call,
  type CallFailure,
  type CallName,
  type Calls,
  delayedTargets,
  deliveriesMax,
  halfChecksMax,
  halfDeadLetters,
  halfTargets,
  type Push,
  partitionNames,
  type QueueName,
  queueDeadLetters,
  queueNames,
  transactionInput,
  transactionOutputs,
  visibilityMs,
} from './store-lines.ts';

export interface ServiceHostOptions {
  readonly store: StreamStore;
  /** Milliseconds since 1970. */
  now(): number;
  /** In [0, 1). */
  random(): number;
  /** Nothing is deferred any more when the host is dead. */
  defer(task: () => void): void;
  say(push: Push): void;
  readonly plant: Plant | null;
}

export type HostTell = (failure: CallFailure | null, answer: unknown) => void;

/** Small segments, so that a crash meets the change from one to the next. */
const settings: StreamSettings = { segmentBytes: 256 * 1024 };
/** Minutes of a second, so that a short run has all levels. */
const levels = [
  { widthMs: 1000, leadMs: 100 },
  { widthMs: 3000, leadMs: 400 },
  { widthMs: 60_000, leadMs: 1000 },
];
const wheelTickMs = 10;
const readBytesMax = 512 * 1024;

interface Services {
  readonly queues: QueueService;
  readonly coordinator: TransactionCoordinator;
  readonly delayed: DelayedMessages;
  readonly halves: HalfMessages;
}

export class ServiceHost {
  readonly #options: ServiceHostOptions;
  readonly #store: StreamStore;
  readonly #planted: PlantedStore | null;
  readonly #pauses: Pauses;
  readonly #wheel = new TimingWheel(wheelTickMs);
  readonly #beganMs: number;
  readonly #partitions = new Map<string, StreamPartition>();
  readonly #consumers = new Map<string, QueueConsumer>();
  #services: Services | null = null;

  constructor(options: ServiceHostOptions) {
    this.#options = options;
    const { plant } = options;
    const now = (): number => options.now();
    const defer = (task: () => void): void => options.defer(task);
    this.#planted = plant === null ? null : new PlantedStore(options.store, { plant, now, defer });
    this.#store = this.#planted ?? options.store;
    this.#pauses = new Pauses(options.now());
    this.#beganMs = options.now();
  }

  /** Opens what is there, and makes what is missing. `tick` is to be called meanwhile. */
  async open(): Promise<void> {
    const { say, random, defer } = this.#options;
    const store = this.#store;
    const now = (): number => this.#options.now();
    const pauses = this.#pauses;
    const names = new Set(await store.names());
    const own = [...partitionNames, transactionInput, ...transactionOutputs, ...delayedTargets, ...halfTargets];
    for (const name of [...own, halfDeadLetters, queueDeadLetters]) {
      this.#partitions.set(name, await (names.has(name) ? store.open(name) : store.create(name, settings)));
    }
    const clock = { now, monotonic: () => Math.max(0, now() - this.#beganMs) };
    const context: QueueContext = { clock, timers: this.#wheel, random, defer };
    const onStopped = (error: Error): void => say({ type: 'stopped', reason: String(error) });
    const producers = await ProducerRegistry.open({ store, now, pauses });
    const queues = await QueueService.open({ store, context });
    for (const name of queueNames) if (!queues.queues().includes(name)) await createQueue(queues, name);
    const coordinator = await TransactionCoordinator.open({ store, producers, now, pauses, cursors: queues.offsets });
    const delayed = await DelayedMessages.open({ store, producers, now, pauses, levels, onStopped });
    const halves = await HalfMessages.open({
      store,
      producers,
      pauses,
      now,
      onStopped,
      firstCheckMs: 300,
      checkMs: 300,
      checksMax: halfChecksMax,
      deadLetterTarget: halfDeadLetters,
      onCheck: ({ number, target, record, count }) => {
        say({ type: 'check', half: number, target, value: record.value?.toString() ?? '', count });
      },
    });
    this.#services = { queues, coordinator, delayed, halves };
  }

  tick(): void {
    this.#planted?.tick();
    this.#pauses.tick(this.#options.now());
    this.#wheel.advance(Math.floor(Math.max(0, this.#options.now() - this.#beganMs) / wheelTickMs));
    if (this.#services === null) return;
    this.#services.coordinator.tick();
    this.#services.delayed.tick();
    this.#services.halves.tick();
  }

  /** What a crash leaves of it: nothing is begun any more. */
  abandon(): void {
    if (this.#services === null) return;
    const { coordinator, delayed, halves } = this.#services;
    coordinator.close();
    delayed.close();
    halves.close();
  }

  async close(): Promise<void> {
    this.abandon();
    await this.#services?.queues.close();
  }

  /** `tell` is called once, perhaps inside of the call. */
  handle(call: Call, tell: HostTell): void {
    try {
      const answer = this.#call(call, tell);
      if (answer instanceof Promise)
        answer.then((value) => tell(null, value)).catch((error) => tell(failureOf(error), null));
      else if (answer !== undefined) tell(null, answer);
    } catch (error) {
      tell(failureOf(error), null);
    }
  }

  /** Undefined: `tell` is called later. */
  #call(call: Call, tell: HostTell): Promise<Calls[CallName]['answer']> | Calls[CallName]['answer'] | undefined {
    switch (call.type) {
      case 'append':
        return this.#append(call.partition, Buffer.from(call.bytes, 'base64'), tell);
      case 'read':
        return this.#read(call);
      case 'places':
        return this.#partition(call.partition).places();
      case 'deleteBefore':
        return this.#partition(call.partition)
          .deleteBefore(call.offset)
          .then((logStartOffset) => ({ logStartOffset }));
      case 'begin':
      case 'addPartitions':
      case 'appendIn':
      case 'addOffsets':
      case 'end':
      case 'cursor':
        return this.#transact(call, tell);
      case 'delay':
      case 'cancel':
        return this.#delay(call, tell);
      case 'publish':
      case 'consume':
      case 'credit':
      case 'leave':
      case 'settle':
      case 'confirm':
      case 'lag':
        return this.#queue(call, tell);
      case 'prepare':
      case 'decide':
        return this.#half(call, tell);
      case 'pending': {
        const { delayed, halves, coordinator } = this.#open();
        const isIdle = delayed.isIdle && halves.isIdle && coordinator.isIdle;
        return { delayed: delayed.pending, half: halves.pending, isIdle };
      }
    }
  }

  #append(name: string, bytes: Buffer, tell: HostTell): undefined {
    this.#partition(name).append(bytes, ({ error, baseOffset, lastOffset, isDuplicate }) => {
      if (error === null) tell(null, { baseOffset, lastOffset, isDuplicate });
      else tell(failureOf(error), null);
    });
  }

  async #read({ partition, offset, isolation }: Calls['read']['given']): Promise<Calls['read']['answer']> {
    const read = await this.#partition(partition).read({ offset, bytesMax: readBytesMax, isolation });
    const slices = read.slices.map((slice) => slice.toString('base64'));
    return { slices, nextOffset: read.nextOffset, aborted: read.aborted };
  }

  #transact(
    call: Extract<Call, { type: 'begin' | 'addPartitions' | 'appendIn' | 'addOffsets' | 'end' | 'cursor' }>,
    tell: HostTell,
  ): Promise<Calls[CallName]['answer']> | Calls[CallName]['answer'] | undefined {
    const { coordinator, queues } = this.#open();
    switch (call.type) {
      case 'begin':
        return this.#begin(call);
      case 'addPartitions':
        return coordinator.addPartitions(call.name, identityOf(call), call.partitions).then(() => ({}));
      case 'appendIn':
        coordinator.verify(call.name, identityOf(call), call.partition);
        return this.#append(call.partition, Buffer.from(call.bytes, 'base64'), tell);
      case 'addOffsets': {
        const { name, group, stream, offset, producerId } = call;
        const commits = [{ stream, offset }];
        const isPlanted = this.#options.plant === 'cursors set before the transaction ends';
        const stage = (): Promise<void> =>
          isPlanted
            ? queues.offsets.commit(group, null, commits)
            : queues.offsets.stage(producerId, group, null, commits);
        return coordinator.addOffsets(name, identityOf(call), group, stage).then(() => ({}));
      }
      case 'end':
        return coordinator.end(call.name, identityOf(call), call.outcome);
      case 'cursor': {
        const { group, stream } = call;
        const offset = queues.offsets.fetch(group, stream)?.offset ?? -1;
        return { offset, isStaged: queues.offsets.isStaged(group, stream) };
      }
    }
  }

  #begin(call: Calls['begin']['given']): Promise<ProducerIdentity> | ProducerIdentity {
    const { coordinator } = this.#open();
    const isKnown = [...coordinator.names()].includes(call.name);
    if (this.#options.plant === 'epoch not raised when a producer begins' && isKnown) {
      return coordinator.describe(call.name).producer;
    }
    return coordinator.initialize(call.name, call.timeoutMs, call.producerId < 0 ? null : identityOf(call));
  }

  #delay(call: Extract<Call, { type: 'delay' | 'cancel' }>, tell: HostTell): undefined {
    const { delayed } = this.#open();
    if (call.type === 'cancel') {
      delayed.cancel({ number: call.message, dueMs: call.dueMs }, (error, outcome) => {
        if (error === null) tell(null, { outcome });
        else tell(failureOf(error), null);
      });
      return;
    }
    const record = { timestampMs: call.dueMs, value: Buffer.from(call.value) };
    const early = this.#options.plant === 'delayed messages written early' ? 150 : 0;
    delayed.acceptAt(call.dueMs - early, { target: call.target, record }, (error, handle) => {
      if (handle === null) tell(failureOf(error), null);
      else tell(null, { message: handle.number, dueMs: handle.dueMs + early });
    });
  }

  #queue(
    call: Extract<Call, { type: 'publish' | 'consume' | 'credit' | 'leave' | 'settle' | 'confirm' | 'lag' }>,
    tell: HostTell,
  ): Promise<Calls[CallName]['answer']> | Calls[CallName]['answer'] | undefined {
    const { queues } = this.#open();
    const set = queues.group(call.queue);
    switch (call.type) {
      case 'publish':
        return this.#publish(call, queues, tell);
      case 'consume':
        return this.#consume(call, queues);
      case 'credit': {
        const consumer = this.#consumers.get(`${call.queue}/${call.consumer}`);
        if (consumer !== undefined) set.addCredit(consumer, call.count);
        return {};
      }
      case 'leave': {
        const consumer = this.#consumers.get(`${call.queue}/${call.consumer}`);
        if (consumer !== undefined) set.removeConsumer(consumer);
        return {};
      }
      case 'settle': {
        const { kind, delayMs } = call;
        const atMs = this.#options.now();
        if (kind === 'fail') return { isTaken: set.fail(call, delayMs), atMs };
        if (kind === 'extend') return { isTaken: set.extend(call, visibilityMs), atMs };
        return { isTaken: set[kind](call), atMs };
      }
      case 'confirm':
        return set.whenStored().then(() => ({}));
      case 'lag':
        return set.describe().then(({ lag, problems }) => ({ lag, problems }));
    }
  }

  #publish(call: Calls['publish']['given'], queues: QueueService, tell: HostTell): undefined {
    const key = call.key === null ? null : Buffer.from(call.key);
    const partition = queues.route(call.queue, key, call.priority);
    partition.append(batchOf(this.#options.now(), key, call.value), ({ error, baseOffset }) => {
      if (error === null) tell(null, { offset: baseOffset });
      else tell(failureOf(error), null);
    });
  }

  #consume(
    { queue, consumer: name, credit }: Calls['consume']['given'],
    queues: QueueService,
  ): Calls['consume']['answer'] {
    const consumer = queues.group(queue).addConsumer({
      name,
      credit,
      inFlightMax: 20,
      onEnd: (error) => this.#options.say({ type: 'stopped', reason: String(error) }),
      onMessages: (messages) => {
        const atMs = this.#options.now();
        for (const { partition, offset, tag, deliveryCount: count, message } of messages) {
          const value = message.value?.toString() ?? '';
          const key = message.key?.toString() ?? null;
          const place = { partition, offset, tag, count, key, value, atMs };
          this.#options.say({ type: 'delivery', queue, consumer: name, ...place });
        }
      },
    });
    this.#consumers.set(`${queue}/${name}`, consumer);
    return {};
  }

  #half(
    call: Extract<Call, { type: 'prepare' | 'decide' }>,
    tell: HostTell,
  ): Promise<Calls['decide']['answer']> | undefined {
    const { halves } = this.#open();
    if (call.type === 'decide') return halves[call.outcome](call.half).then(() => ({}));
    const record = { timestampMs: this.#options.now(), value: Buffer.from(call.value) };
    halves.prepare('group', call.target, record, (error, half) => {
      if (error === null) tell(null, { half });
      else tell(failureOf(error), null);
    });
    return;
  }

  #open(): Services {
    if (this.#services === null) throw new Error('the services are not open yet');
    return this.#services;
  }

  #partition(name: string): StreamPartition {
    const partition = this.#partitions.get(name);
    if (partition === undefined) throw new Error(`there is no partition "${name}"`);
    return partition;
  }
}

async function createQueue(queues: QueueService, name: QueueName): Promise<void> {
  const redelivery = { baseMs: 20, factor: 2, maxMs: 100, jitter: 0.5 };
  const common = { visibilityMs, deliveriesMax, redelivery, deadLetterStream: queueDeadLetters };
  if (name === 'keyed') await queues.createQueue(name, { settings: { ...common, order: 'key' } });
  else await queues.createQueue(name, { levels: 2, settings: common });
}

function batchOf(timestampMs: number, key: Buffer | null, value: string): Buffer {
  const builder = new BatchBuilder();
  builder.add({ timestampMs, key, value: Buffer.from(value) });
  return builder.build();
}

function identityOf({ producerId, producerEpoch }: ProducerIdentity): ProducerIdentity {
  return { producerId, producerEpoch };
}

function failureOf(error: unknown): CallFailure {
  const { code = 'DEFECT' } = error as { readonly code?: string };
  return { code, message: error instanceof Error ? error.message : String(error) };
}
