/** Watches that are taken up again wherever they end; each batch must be exactly what the model says. */
import type { Revision, WatchBatch } from '../../src/core/ports/placement.ts';
import type { Host } from './host.ts';
import { bytesOf, covers, isSameItem, type Model, textOf } from './model.ts';
import type { Random } from './random.ts';
import type { Scheduler } from './scheduler.ts';
import { demand } from './violation.ts';

export class WatchClient {
  readonly name: string;
  readonly #model: Model;
  readonly #scheduler: Scheduler;
  readonly #hosts: readonly Host[];
  readonly #random: Random;
  readonly #start: string;
  readonly #end: string | null;
  /** Everything up to here was reported. */
  #revision: Revision = 0;
  #attempt = 0;
  /** Cancels the present watch. */
  #cancel: (() => void) | null = null;
  eventCount = 0;
  isStopped = false;

  constructor(
    name: string,
    world: { readonly model: Model; readonly scheduler: Scheduler; readonly hosts: readonly Host[] },
    random: Random,
  ) {
    this.name = name;
    this.#model = world.model;
    this.#scheduler = world.scheduler;
    this.#hosts = world.hosts;
    this.#random = random;
    const isWide = random.chance(0.6);
    this.#start = isWide ? 'k' : 'k1';
    this.#end = isWide ? 'z' : null;
  }

  get revision(): Revision {
    return this.#revision;
  }

  /** Events of the range that were not reported yet. */
  get missing(): number {
    return this.#eventsUpTo(Number.POSITIVE_INFINITY).length;
  }

  start(): void {
    this.#scheduler.after(this.#random.around(20_000), () => this.#watch());
  }

  /** Takes the watch up elsewhere. */
  move(): void {
    this.#cancel?.();
    this.#over();
  }

  #over(): void {
    this.#attempt++;
    this.#cancel = null;
    if (!this.isStopped) this.start();
  }

  #watch(): void {
    if (this.isStopped) return;
    const attempt = this.#attempt;
    const isPresent = (): boolean => this.#attempt === attempt && !this.isStopped;
    const lost = (): void => {
      if (isPresent()) this.#over();
    };
    const connection = this.#random.pick(this.#hosts).connect(lost);
    if (connection === null) {
      this.#over();
      return;
    }
    const request = {
      key: bytesOf(this.#start),
      end: this.#end === null ? null : bytesOf(this.#end),
      fromRevision: this.#revision + 1,
      withPrevious: true,
    };
    connection.run((replica) => {
      const watch = replica.watch(request, {
        onBatch: (batch) => {
          if (isPresent()) this.#onBatch(batch);
        },
        onEnd: ({ code, compactedRevision }) => {
          connection.close();
          if (!isPresent()) return;
          if (code === 'COMPACTED') this.#skip(compactedRevision);
          this.#over();
        },
      });
      this.#cancel = () => {
        connection.close();
        watch.cancel();
      };
    });
  }

  #skip(compacted: Revision): void {
    demand(
      compacted > this.#revision && compacted <= this.#model.revision,
      'watch-order',
      () => `${this.name} asked for revision ${this.#revision + 1} and was told that ${compacted} is compacted`,
    );
    this.#revision = compacted;
  }

  #eventsUpTo(revision: Revision): Model['events'] {
    const { events } = this.#model;
    let first = events.length;
    while (first > 0 && events[first - 1].revision > this.#revision) first--;
    return events
      .slice(first)
      .filter((event) => event.revision <= revision && covers(this.#start, this.#end, event.key));
  }

  #onBatch(batch: WatchBatch): void {
    demand(
      batch.revision >= this.#revision && batch.revision <= this.#model.revision,
      'watch-order',
      () => `${this.name} was at revision ${this.#revision} and got ${batch.revision} of ${this.#model.revision}`,
    );
    const expected = this.#eventsUpTo(batch.revision);
    demand(
      expected.length === batch.events.length,
      'watch-order',
      () =>
        `${this.name} got ${batch.events.length} events from ${this.#revision} to ${batch.revision}, should be ` +
        `${expected.length}`,
    );
    batch.events.forEach((event, i) => {
      const wanted = expected[i];
      const isRight =
        wanted.type === event.type &&
        wanted.key === textOf(event.item.key) &&
        event.item.modRevision === wanted.revision &&
        (wanted.item === null || isSameItem(wanted.item, event.item)) &&
        (event.previous === null || isSameItem(event.previous, this.#model.at(wanted.key, wanted.revision - 1)));
      demand(
        isRight,
        'watch-order',
        () => `${this.name} got event ${JSON.stringify(event)}, should be ${JSON.stringify(wanted)}`,
      );
    });
    this.eventCount += expected.length;
    this.#revision = batch.revision;
  }
}
