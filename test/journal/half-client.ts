/**
 * Half messages: prepared, and then committed, rolled back, or left to the checks. What must hold: one that was committed is in its target
 * exactly once; one that was rolled back is nowhere, and nobody is asked about it again; one that nobody decides is asked about, and then
 * goes to the dead letters once. Thread of the test.
 */
import type { Random } from '../fuzz/random.ts';
import { type Client, type Link, together } from './link.ts';
import { halfChecksMax, halfDeadLetters, halfTargets, type Push } from './store-lines.ts';
import { type ReadRecord, StreamReader } from './stream-reader.ts';

interface Half {
  readonly value: string;
  readonly target: string;
  readonly wish: 'commit' | 'rollback' | 'none';
  /** It is left to the check that its producer says so. */
  readonly waitsForCheck: boolean;
  /** −1: not told. */
  number: number;
  isPrepared: boolean;
  told: 'nothing' | 'done' | 'refused';
  checks: number;
  place: string | null;
}

const inFlightMax = 20;
const pendingMax = 150;
const keptRecords = 2_000;

export class HalfClient implements Client {
  readonly name = 'half';
  readonly needs = ['prepared', 'committed', 'rolledBack', 'checks', 'dead', 'unanswered'];
  readonly progress = ['committed'];
  readonly counts = { prepared: 0, committed: 0, rolledBack: 0, checks: 0, dead: 0, refused: 0, unanswered: 0 };
  readonly #random: Random;
  readonly #readers = [...halfTargets, halfDeadLetters].map((name) => new StreamReader(name));
  readonly #halves = new Map<string, Half>();
  #link: Link | null = null;
  #number = 0;
  #inFlight = 0;
  #open = 0;
  #failure: Error | null = null;

  constructor(random: Random) {
    this.#random = random;
  }

  async check(link: Link, isFull: boolean): Promise<void> {
    this.#link = link;
    await together(this.#readers.map((reader) => this.#checkStream(link, reader, isFull)));
    this.#open = (await link.ask('pending', {})).half;
  }

  async #checkStream(link: Link, reader: StreamReader, isFull: boolean): Promise<void> {
    await this.#readNew(link, reader);
    if (!isFull) return;
    await reader.readAgain(link);
    await reader.trim(link, keptRecords);
  }

  async live(link: Link): Promise<void> {
    await together([this.#prepareAll(link), this.#watch(link)]);
  }

  onPush(push: Push): void {
    if (push.type !== 'check') return;
    this.counts.checks += 1;
    const half = this.#halves.get(push.value);
    if (half === undefined || half.target !== push.target) {
      this.#fail(`somebody is asked about "${push.value}", which nobody prepared`);
      return;
    }
    half.checks += 1;
    half.number = push.half;
    if (push.count > halfChecksMax) this.#fail(`"${half.value}" is asked about ${push.count} times`);
    if (half.told === 'done') this.#fail(`somebody is asked about "${half.value}", whose ${half.wish} was answered`);
    if (half.place !== null) this.#fail(`somebody is asked about "${half.value}", which is in "${half.place}"`);
    if (this.#link !== null && this.#random.oneIn(2)) this.#decide(this.#link, half);
  }

  onCrash(): void {
    this.#link = null;
    this.counts.unanswered += this.#inFlight;
    this.#inFlight = 0;
    if (this.#failure !== null) throw this.#failure;
  }

  async finish(link: Link): Promise<void> {
    for (;;) {
      for (const reader of this.#readers) await this.#readNew(link, reader);
      if (this.#failure !== null) throw this.#failure;
      const { half, isIdle } = await link.ask('pending', {});
      if (half === 0 && isIdle && this.#inFlight === 0) break;
      await link.pause(20);
    }
    for (const reader of this.#readers) {
      await this.#readNew(link, reader);
      await reader.readAgain(link);
    }
    for (const half of this.#halves.values()) checkEnd(half);
  }

  async #prepareAll(link: Link): Promise<void> {
    for (;;) {
      for (let left = this.#random.below(4); left > 0; left -= 1) {
        if (this.#inFlight < inFlightMax && this.#open < pendingMax) this.#prepare(link);
      }
      await link.pause(this.#random.between(1, 6));
      if (this.#failure !== null) throw this.#failure;
    }
  }

  async #watch(link: Link): Promise<void> {
    for (;;) {
      for (const reader of this.#readers) await this.#readNew(link, reader);
      this.#open = (await link.ask('pending', {})).half;
      await link.pause(20);
    }
  }

  #prepare(link: Link): void {
    this.#number += 1;
    const half: Half = {
      value: `half-${this.#number}`,
      target: this.#random.pick(halfTargets),
      wish: this.#random.pick(['commit', 'commit', 'commit', 'rollback', 'rollback', 'none']),
      waitsForCheck: this.#random.oneIn(5),
      number: -1,
      isPrepared: false,
      told: 'nothing',
      checks: 0,
      place: null,
    };
    this.#halves.set(half.value, half);
    this.#inFlight += 1;
    this.#open += 1;
    link.send('prepare', { target: half.target, value: half.value }, (failure, answer) => {
      this.#inFlight -= 1;
      if (failure !== null) {
        this.#fail(`a sound half message was refused: ${failure.code}: ${failure.message}`);
        return;
      }
      half.number = answer.half;
      half.isPrepared = true;
      this.counts.prepared += 1;
      if (!half.waitsForCheck) this.#decide(link, half);
    });
  }

  #decide(link: Link, half: Half): void {
    const { wish, number } = half;
    if (wish === 'none') return;
    this.#inFlight += 1;
    link.send('decide', { half: number, outcome: wish }, (failure) => {
      this.#inFlight -= 1;
      if (failure === null) {
        half.told = 'done';
        if (wish === 'commit') this.counts.committed += 1;
        else this.counts.rolledBack += 1;
        return;
      }
      // It was given up before, or an earlier decision has ended it.
      if (failure.code !== 'TRANSACTION_STATE' && failure.code !== 'TRANSACTION_UNKNOWN') {
        this.#fail(`a sound ${wish} was refused: ${failure.code}: ${failure.message}`);
      }
      this.counts.refused += 1;
      if (half.told === 'nothing') half.told = 'refused';
    });
  }

  #readNew(link: Link, reader: StreamReader): Promise<void> {
    return reader.readNew(link, (record) => this.#onSeen(reader.stream, record));
  }

  #onSeen(stream: string, { value }: ReadRecord): void {
    const half = this.#halves.get(value);
    if (half === undefined) throw new Error(`"${value}" in "${stream}" came from nowhere`);
    if (half.place !== null) throw new Error(`"${value}" is in "${half.place}", and in "${stream}" again`);
    half.place = stream;
    if (stream === halfDeadLetters) {
      this.counts.dead += 1;
      if (half.told === 'done') throw new Error(`the ${half.wish} of "${value}" was answered, and it is a dead letter`);
      if (half.checks === 0) throw new Error(`"${value}" was given up, and nobody was asked about it`);
      return;
    }
    if (stream !== half.target) throw new Error(`"${value}" is in "${stream}", and not in "${half.target}"`);
    if (half.wish !== 'commit') throw new Error(`"${value}" is in "${stream}", and its producer wants ${half.wish}`);
  }

  #fail(what: string): void {
    this.#failure ??= new Error(what);
  }
}

/** Nothing is under way any more. */
function checkEnd({ value, wish, told, isPrepared, place }: Half): void {
  // Whoever never decides, or decides too late, finds it among the dead letters.
  if (isPrepared && wish === 'commit' && place === null) throw new Error(`"${value}" was prepared, and is lost`);
  if (isPrepared && wish === 'none' && place === null)
    throw new Error(`"${value}" was given up, and is no dead letter`);
  if (wish === 'rollback' && told === 'done' && place !== null) {
    throw new Error(`"${value}" was rolled back, and is in "${place}"`);
  }
}
