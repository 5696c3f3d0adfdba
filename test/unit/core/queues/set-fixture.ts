/** Opens acknowledgement sets in a world, and consumers that remember what they got. */
import { AcknowledgementSet } from '../../../../src/core/queues/acknowledgement-set.ts';
import type { ConsumerOptions, QueueConsumer } from '../../../../src/core/queues/queue-consumer.ts';
import { type QueueSettings, queueSettings } from '../../../../src/core/queues/queue-settings.ts';
import { serviceProducerBase } from '../../../../src/core/queues/state-log.ts';
import type { Delivery } from '../../../../src/core/queues/stored-message.ts';
import type { World } from './fixture.ts';

export interface SetOptions {
  readonly levels?: readonly number[];
  readonly start?: 'earliest' | 'latest';
}

/** Streams `p0`, `p1`, … for the levels, `state`, and `dead` when the settings name it. */
export async function openSet(
  world: World,
  changes: Partial<QueueSettings> = {},
  { levels = [0], start = 'earliest' }: SetOptions = {},
): Promise<AcknowledgementSet> {
  const names = levels.map((_, index) => `p${index}`);
  for (const name of [...names, 'state', 'dead']) if (!world.disks.has(name)) await world.store.create(name);
  const settings = queueSettings(changes);
  const opening = AcknowledgementSet.open({
    queue: 'orders',
    group: 'default',
    partitions: await Promise.all(
      names.map(async (name, index) => ({ stream: await world.store.open(name), level: levels[index] })),
    ),
    state: await world.store.open('state'),
    producerBase: serviceProducerBase,
    deadLetters: settings.deadLetterStream === null ? null : await world.store.open(settings.deadLetterStream),
    settings,
    context: world.context,
    start,
  });
  return drive(world, opening);
}

/** Turns the world until the promise is settled. */
export async function drive<Value>(world: World, promise: Promise<Value>): Promise<Value> {
  let isDone = false;
  const watched = promise.finally(() => {
    isDone = true;
  });
  watched.catch(() => undefined);
  for (let round = 0; !isDone && round < 1000; round += 1) {
    await world.settle();
    if (!isDone && round > 3) await world.pass(50);
  }
  if (!isDone) throw new Error('Nothing happens any more, and the promise is not settled');
  return watched;
}

export class Inbox {
  readonly consumer: QueueConsumer;
  readonly all: Delivery[] = [];
  end: Error | null = null;
  #taken = 0;

  constructor(set: AcknowledgementSet, options: Partial<ConsumerOptions> = {}) {
    this.consumer = set.addConsumer({
      name: 'test',
      credit: 1000,
      onMessages: (messages) => this.all.push(...messages),
      onEnd: (reason) => {
        this.end = reason;
      },
      ...options,
    });
  }

  /** What came since the last call. */
  take(): Delivery[] {
    const fresh = this.all.slice(this.#taken);
    this.#taken = this.all.length;
    return fresh;
  }

  /** The same as texts: value, and `×n` for repeated ones. */
  texts(): string[] {
    return this.take().map(textOf);
  }
}

export function textOf({ message, deliveryCount }: Delivery): string {
  return `${message.value?.toString() ?? ''}${deliveryCount > 1 ? `×${deliveryCount}` : ''}`;
}
