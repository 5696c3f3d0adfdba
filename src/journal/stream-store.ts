/**
 * `StreamStore` over the journal: the default, and the fast one. Thread: the journal worker, which opens the only one of a data folder and
 * reaches everything through it. Blocks while it opens, and while it reads files; whoever serves other threads uses `locate`.
 *
 * Appends of one turn of the event loop are one round. Retention, compaction, a disk that has room again and partitions whose disk is
 * sound again are looked after every few seconds.
 *
 * Health: a full disk and a partition out of service leave the others at work (`degraded`); without any directory it is `failed`. While
 * a directory is out of service nobody knows which partitions are in it, so an unknown name is not taken for a new one.
 */

import { randomUUID } from 'node:crypto';
import { codeOf } from '../core/files/file-errors.ts';
import type { FileSystem } from '../core/ports/file-system.ts';
import type {
  StoreHealth,
  StoreState,
  StreamPartition,
  StreamSettings,
  StreamStore,
} from '../core/ports/stream-store.ts';
import { StorageError } from '../core/streams/storage-error.ts';
import {
  checkPartitionName,
  checkStreamSettings,
  type SettingAbilities,
  unknownPartition,
} from '../core/streams/stream-settings.ts';
import { assert } from '../std/assert.ts';
import { toError } from '../std/errors.ts';
import type { EndedRound } from './group-commit.ts';
import { Journal, type JournalEvent } from './journal.ts';
import type { LogDirectory, PartitionSettings } from './log-directory.ts';
import { type LogFolders, openLogFolders } from './log-folders.ts';
import type { PartitionLog } from './partition-log.ts';
import { StreamCompaction } from './stream-compaction.ts';
import { asStorageError, type JournalHost, JournalPartition } from './stream-partition.ts';
import {
  folderOf,
  type KeptSettings,
  partitionSettingsOf,
  plainNameOf,
  readSettings,
  settingsFile,
  writeSettings,
} from './stream-settings-file.ts';
import { ColdTier, type RemovedTier, type TieredPartition } from './tier/cold-tier.ts';
import { PartitionTier } from './tier/partition-tier.ts';
import { forgetRemoved, noteRemoved, removedIn } from './tier/removed-tiers.ts';
import { manifestName } from './tier/tier-manifest.ts';
import type { ColdTierOptions } from './tier/tier-options.ts';

export interface JournalStoreOptions {
  /** Paths, or what stands for them; at least one. */
  readonly directories: readonly (string | { readonly path: string; open(): LogFolders })[];
  /** Milliseconds since 1970. Default Date.now. */
  now?(): number;
  onEvent?(event: JournalEvent): void;
  /** As in `JournalOptions`. */
  onRound?(round: EndedRound): void;
  readonly tailBytes?: number;
  readonly freeBytesMin?: number;
  /** For partitions that do not say otherwise. */
  readonly defaults?: PartitionSettings;
  /** Default 5 s. */
  readonly upkeepMs?: number;
  /** Where full segments of the streams go that ask for it; left out: nowhere. */
  readonly tier?: ColdTierOptions;
}

/** Partitions that get their cold tier in one go of the upkeep: each takes some syncs that block the thread. */
const attachedAtOnce = 16;

/** What is out of service is tried again so often. */
const reopenMs = 30_000;

interface KnownFolders {
  readonly directories: readonly { readonly path: string; open(): LogFolders }[];
  /** By folder. */
  readonly kept: ReadonlyMap<string, KeptSettings | 'missing' | 'damaged'>;
}

/** @throws nothing because of single partitions or directories: those are out of service, and told */
export function openJournalStore(options: JournalStoreOptions): JournalStore {
  return new JournalStore(options);
}

export class JournalStore implements StreamStore {
  readonly adapter = 'journal';
  readonly journal: Journal;
  readonly #options: JournalStoreOptions;
  readonly #now: () => number;
  readonly #host: JournalHost;
  readonly #folders = new Map<string, LogFolders>();
  readonly #partitions = new Map<string, JournalPartition>();
  readonly #listeners = new Set<(health: StoreHealth) => void>();
  readonly #compaction: StreamCompaction;
  readonly #coldTier: ColdTier | null;
  /** When partitions that are out of service are tried again. */
  readonly #reopenMs = new Map<string, number>();
  readonly #timer: NodeJS.Timeout;
  #health: StoreHealth;
  #isFlushDue = false;
  #isFaultNoted = false;
  #closing: Promise<void> | null = null;
  /** What is under way is answered, and the files are closed. */
  #isClosed = false;

  constructor(options: JournalStoreOptions) {
    this.#options = options;
    this.#now = options.now?.bind(options) ?? Date.now;
    this.#health = { state: 'ready', reason: '', since: this.#now() };
    this.#compaction = new StreamCompaction(this.#now);
    const { tier } = options;
    this.#coldTier = tier === undefined ? null : new ColdTier(tier, () => this.#noteFault());
    this.#host = {
      coldTier: this.#coldTier,
      closed: () => (this.#isClosed ? closedStore() : null),
      submitted: () => this.#submitted(),
      noteFault: () => this.#noteFault(),
    };
    const known = this.#readFolders();
    this.journal = this.#openJournal(known);
    this.#addPartitions(known);
    this.#look();
    this.#timer = setInterval(() => void this.upkeep(), options.upkeepMs ?? 5000);
  }

  health(): StoreHealth {
    return this.#health;
  }

  onHealth(listener: (health: StoreHealth) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async create(name: string, settings: StreamSettings = {}): Promise<StreamPartition> {
    this.#assertOpen();
    checkPartitionName(name);
    const checked = checkStreamSettings(settings, this.#abilities);
    if (this.#partitions.has(name)) {
      throw new StorageError('STORAGE_PARTITION_EXISTS', `Cannot create partition "${name}": there is one`);
    }
    this.#assertComplete(name);
    const folder = folderOf(name);
    try {
      this.journal.create(folder, { ...this.#options.defaults, ...partitionSettingsOf(checked) });
      const directory = this.journal.directoryOf(folder);
      this.#keepSettings(directory, folder, { name, settings: checked });
      return this.#add(name, folder, directory, checked);
    } catch (error) {
      throw asStorageError(name, error);
    }
  }

  async open(name: string): Promise<StreamPartition> {
    return this.#get(name);
  }

  async remove(name: string): Promise<void> {
    const partition = this.#get(name);
    const { directory, folder, tier } = partition;
    partition.markRemoved();
    this.#partitions.delete(name);
    await new Promise<void>((resolve, reject) => {
      directory.commit.between(() => {
        try {
          // Durable first: without it nobody would find the objects.
          if (tier !== null) noteRemoved(this.#rootOf(directory), tier.id, name);
          directory.remove(folder);
          resolve();
        } catch (error) {
          reject(asStorageError(name, error));
        }
      });
    });
  }

  async names(): Promise<readonly string[]> {
    this.#assertOpen();
    return [...this.#partitions.keys()].sort();
  }

  async change(name: string, settings: StreamSettings): Promise<void> {
    const checked = checkStreamSettings(settings, this.#abilities);
    const partition = this.#get(name);
    await partition.between((log) => {
      // What was taken when there was a tier stays, should there be none now.
      const all = checkStreamSettings({ ...partition.settings, ...checked }, { canCompact: true, tier: true });
      const { tier } = partition;
      if (all.isCompacted === true && tier !== null && (!tier.isEmpty || tier.lost !== null)) {
        const state = 'some of its records lie in the cold tier, and what is there is never written again';
        throw new StorageError('STORAGE_SETTING_UNSUPPORTED', `Cannot compact partition "${name}": ${state}`);
      }
      const id = tier === null ? {} : { tierId: tier.id };
      writeSettings(this.#filesOf(partition.directory, partition.folder), { name, settings: all, ...id });
      partition.settings = all;
      log.configure(partitionSettingsOf(all));
      this.#bound(partition);
    });
  }

  async settings(name: string): Promise<StreamSettings> {
    return this.#get(name).settings;
  }

  /** Begins a round with what was submitted, without waiting for the end of this turn. */
  flush(): void {
    this.journal.flush();
  }

  /** Applies retention and compaction, and looks whether what was out of service is sound again; done by itself every `upkeepMs`. */
  async upkeep(): Promise<void> {
    if (this.#closing !== null) return;
    this.journal.tick(this.#now());
    for (const partition of [...this.#partitions.values()]) this.#reopen(partition);
    await this.#runTier();
    this.#look();
    await this.#compaction.run([...this.#partitions.values()]);
  }

  /** How many segments of a partition are in the cold tier. Throws like `open`. */
  tierEntries(name: string): number {
    return this.#get(name).tier?.entries.length ?? 0;
  }

  /** Resolves when the cold tier has no work under way; the upkeep begins it. */
  async tierIdle(): Promise<void> {
    await this.#coldTier?.idle();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  // --- opening ---

  #openJournal(known: KnownFolders): Journal {
    const { defaults, tailBytes, freeBytesMin, onRound } = this.#options;
    return new Journal({
      directories: known.directories,
      now: this.#now,
      onEvent: (event) => this.#onEvent(event),
      settingsOf: (folder) => {
        const kept = known.kept.get(folder);
        return typeof kept === 'object' ? { ...defaults, ...partitionSettingsOf(kept.settings) } : { ...defaults };
      },
      ...(tailBytes === undefined ? {} : { tailBytes }),
      ...(freeBytesMin === undefined ? {} : { freeBytesMin }),
      ...(onRound === undefined ? {} : { onRound }),
    });
  }

  /** What is known of each partition before it is opened. */
  #readFolders(): KnownFolders {
    const kept = new Map<string, KeptSettings | 'missing' | 'damaged'>();
    const directories = this.#options.directories.map((given) => {
      const path = typeof given === 'string' ? given : given.path;
      try {
        const folders = typeof given === 'string' ? openLogFolders(given) : given.open();
        for (const folder of folders.list()) {
          // The journal takes the first directory that has the name, too.
          if (!kept.has(folder)) kept.set(folder, keptIn(folders, folder));
        }
        this.#folders.set(path, folders);
        return { path, open: () => folders };
      } catch (thrown) {
        // The journal leaves the directory out, and tells it.
        const error = toError(thrown);
        const fail = (): LogFolders => {
          throw error;
        };
        return { path, open: fail };
      }
    });
    return { directories, kept };
  }

  #addPartitions({ kept }: KnownFolders): void {
    for (const directory of this.journal.directories) {
      for (const folder of directory.names) {
        if (this.journal.directoryOf(folder) !== directory) {
          const reason = `directory "${directory.path}" has it too, and that one is not served`;
          this.#onEvent({ type: 'failed', partition: folder, reason });
          continue;
        }
        const found = kept.get(folder) ?? 'missing';
        if (typeof found === 'object') this.#addKnown(folder, directory, found);
        else if (found === 'missing' && directory.find(folder)?.logEndOffset === 0) {
          // A crash came before whoever made it was answered.
          directory.remove(folder);
        } else this.#addUnknown(folder, directory, found);
      }
    }
  }

  #addKnown(folder: string, directory: LogDirectory, { name, settings, tierId }: KeptSettings): void {
    this.#attachKnown(this.#add(name, folder, directory, settings), tierId ?? null);
  }

  /** Finds the tier of a partition that was opened. */
  #attachKnown(partition: JournalPartition, tierId: string | null): void {
    const { name, folder, directory } = partition;
    const log = directory.find(folder);
    if (log === null) return;
    try {
      this.#attach(partition, log, PartitionTier.open(this.#filesOf(directory, folder), tierId, name));
    } catch (error) {
      this.#onEvent({ type: 'failed', partition: folder, reason: toError(error).message });
    }
    const lost = partition.tier?.lost ?? null;
    if (lost === null) return;
    const place = { file: manifestName, position: 0, firstOffset: 0, nextOffset: log.localStartOffset };
    const reason = `the list of what is in the cold tier is ${lost}; it is fetched from there`;
    this.#onEvent({ type: 'corruption', partition: folder, ...place, reason });
  }

  /** The records are there, and how to keep them is not: nothing is removed then. */
  #addUnknown(folder: string, directory: LogDirectory, found: 'missing' | 'damaged'): void {
    const name = plainNameOf(folder);
    if (name !== null) this.#add(name, folder, directory, {});
    if (name !== null && found === 'missing') return;
    const reason = `its settings are ${found}`;
    if (name === null)
      this.#onEvent({ type: 'failed', partition: folder, reason: `${reason}, and its name with them` });
    else {
      const place = { file: settingsFile, position: 0, firstOffset: 0, nextOffset: 0 };
      this.#onEvent({ type: 'corruption', partition: folder, ...place, reason });
    }
  }

  #add(name: string, folder: string, directory: LogDirectory, settings: StreamSettings): JournalPartition {
    const partition = new JournalPartition(this.#host, name, folder, directory, settings);
    this.#partitions.set(name, partition);
    return partition;
  }

  /** A partition without settings must not stay. */
  #keepSettings(directory: LogDirectory, folder: string, kept: KeptSettings): void {
    try {
      writeSettings(this.#filesOf(directory, folder), kept);
    } catch (error) {
      directory.remove(folder);
      throw error;
    }
  }

  #filesOf(directory: LogDirectory, folder: string): FileSystem {
    const folders = this.#folders.get(directory.path);
    assert(folders !== undefined, 'a directory that is in service was opened');
    return folders.open(folder, { create: false });
  }

  // --- the cold tier ---

  get #abilities(): SettingAbilities {
    return { canCompact: true, tier: this.#coldTier === null ? 'this node has no cold tier' : true };
  }

  #wantsTier({ settings }: JournalPartition): boolean {
    if (this.#coldTier === null || settings.isCompacted === true) return false;
    return settings.isTiered ?? this.#coldTier.limits.isDefault;
  }

  #attach(partition: JournalPartition, log: PartitionLog, tier: PartitionTier | null): void {
    partition.tier = tier;
    log.configure({ tier });
    this.#bound(partition);
  }

  /** How long local copies stay of what is in the tier. */
  #bound({ tier, settings }: JournalPartition): void {
    if (tier === null) return;
    const { local = { bytes: null, ms: null } } = this.#coldTier?.limits ?? {};
    const { localRetentionBytes: bytes = local.bytes, localRetentionMs: ms = local.ms } = settings;
    tier.bounds = { bytes, ms };
  }

  /** Gives partitions their tier that are to have one, and lets the tier work. */
  async #runTier(): Promise<void> {
    const coldTier = this.#coldTier;
    if (coldTier === null) return;
    const wanting = [...this.#partitions.values()].filter((each) => each.tier === null && this.#wantsTier(each));
    for (const partition of wanting.slice(0, attachedAtOnce)) await this.#beginTier(partition);
    let backlog = 0;
    for (const partition of this.#partitions.values()) {
      if (partition.tier === null || !this.#wantsTier(partition)) continue;
      backlog += partition.directory.find(partition.folder)?.untieredBytes ?? 0;
    }
    coldTier.setBacklog(backlog);
    coldTier.run(
      () => this.#tiered(),
      () => this.#removedTiers(),
    );
  }

  /** The manifest is durable before the settings name it. */
  async #beginTier(partition: JournalPartition): Promise<void> {
    const { name, directory, folder } = partition;
    try {
      await partition.between((log) => {
        const files = this.#filesOf(directory, folder);
        const tier = PartitionTier.create(files, randomUUID(), name);
        writeSettings(files, { name, settings: partition.settings, tierId: tier.id });
        this.#attach(partition, log, tier);
      });
    } catch (error) {
      // It was removed meanwhile, or its disk has said what is wrong with it.
      if (!(error instanceof StorageError)) throw error;
    }
  }

  #tiered(): readonly TieredPartition[] {
    return [...this.#partitions.values()].flatMap((partition) => {
      const { name, tier, directory, folder } = partition;
      if (tier === null || !isSound(directory, folder)) return [];
      const wantsTier = (): boolean => this.#wantsTier(partition);
      return [
        {
          name,
          tier,
          get isTiered() {
            return wantsTier();
          },
          get isGone() {
            return partition.isGone;
          },
          between: (task) =>
            partition.between((log) => {
              // The files are left in order, or are about to be.
              this.#assertOpen();
              return task(log);
            }),
        } satisfies TieredPartition,
      ];
    });
  }

  #removedTiers(): readonly RemovedTier[] {
    const living = new Set([...this.#partitions.values()].map(({ tier }) => tier?.id));
    const removed: RemovedTier[] = [];
    for (const directory of this.journal.directories) {
      const root = this.#rootOf(directory);
      orLater(() => {
        for (const id of removedIn(root)) {
          const done = (): void => orLater(() => forgetRemoved(root, id));
          // A crash came before the partition itself was removed: then it is still there.
          if (living.has(id)) done();
          else removed.push({ id, done });
        }
      });
    }
    return removed;
  }

  #rootOf(directory: LogDirectory): FileSystem {
    const folders = this.#folders.get(directory.path);
    assert(folders !== undefined, 'a directory that is in service was opened');
    return folders.root;
  }

  // --- work ---

  #get(name: string): JournalPartition {
    this.#assertOpen();
    const partition = this.#partitions.get(name);
    if (partition !== undefined) return partition;
    this.#assertComplete(name);
    throw unknownPartition(name);
  }

  #submitted(): void {
    if (this.#isFlushDue) return;
    this.#isFlushDue = true;
    setImmediate(() => {
      this.#isFlushDue = false;
      this.journal.flush();
    });
  }

  /** Opens what had failed; a disk that is not sound yet says so, and is asked again later. */
  #reopen(partition: JournalPartition): void {
    const { name, folder, directory } = partition;
    const now = this.#now();
    if (isSound(directory, folder) || (this.#reopenMs.get(name) ?? 0) > now) return;
    this.#reopenMs.set(name, now + reopenMs);
    directory.commit.between(() => {
      try {
        directory.reopen(folder);
        this.#reopenMs.delete(name);
        const kept = partition.tier === null ? readSettings(this.#filesOf(directory, folder)) : 'missing';
        if (typeof kept === 'object') this.#attachKnown(partition, kept.tierId ?? null);
      } catch (error) {
        this.#onEvent({ type: 'failed', partition: folder, reason: toError(error).message });
      }
    });
  }

  async #close(): Promise<void> {
    clearInterval(this.#timer);
    this.#compaction.stop();
    // Both begin now: what is appended from here on is refused.
    const tierClosed = this.#coldTier?.close();
    await new Promise<void>((resolve) => this.journal.close(resolve));
    await tierClosed;
    this.#isClosed = true;
  }

  // --- health ---

  #onEvent(event: JournalEvent): void {
    this.#options.onEvent?.(event);
    this.#noteFault();
  }

  #noteFault(): void {
    if (this.#isFaultNoted) return;
    this.#isFaultNoted = true;
    setImmediate(() => {
      this.#isFaultNoted = false;
      if (!this.#isClosed) this.#look();
    });
  }

  #look(): void {
    const { directories, failedDirectories } = this.journal;
    const faults = [...failedDirectories].map(([path, { message }]) => `directory "${path}": ${message}`);
    for (const directory of directories) {
      if (directory.isFull) faults.push(`directory "${directory.path}": there is too little room`);
      const names = directory.names.filter((name) => !isSound(directory, name));
      if (names.length > 0) faults.push(`out of service: ${names.slice(0, 10).join(', ')} (${names.length} in all)`);
    }
    faults.push(...(this.#coldTier?.faults() ?? []));
    const state = directories.length === 0 ? 'failed' : faults.length > 0 ? 'degraded' : 'ready';
    this.#setHealth(state, faults.join('; '));
  }

  #setHealth(state: StoreState, reason: string): void {
    const before = this.#health;
    if (state === before.state && reason === before.reason) return;
    this.#health = { state, reason, since: state === before.state ? before.since : this.#now() };
    for (const listener of [...this.#listeners]) listener(this.#health);
  }

  #assertOpen(): void {
    if (this.#closing !== null) throw closedStore();
  }

  /** Nobody knows what is in a directory that is out of service. */
  #assertComplete(name: string): void {
    const [failed] = this.journal.failedDirectories.keys();
    if (failed === undefined) return;
    const state = `it may be in directory "${failed}", which is out of service`;
    throw new StorageError('STORAGE_PARTITION_FAILED', `Cannot find partition "${name}": ${state}`);
  }
}

function isSound(directory: LogDirectory, folder: string): boolean {
  const log = directory.find(folder);
  return log !== null && log.failure === null;
}

/** A disk that does not do it now is asked again by the next upkeep, and its partitions say what is wrong with it. */
function orLater(task: () => void): void {
  try {
    task();
  } catch (error) {
    if (codeOf(error) === '') throw error;
  }
}

function closedStore(): StorageError {
  return new StorageError('STORAGE_CLOSED', 'Cannot use the store: it is closed');
}

function keptIn(folders: LogFolders, folder: string): KeptSettings | 'missing' | 'damaged' {
  try {
    return readSettings(folders.open(folder, { create: false }));
  } catch (error) {
    if (codeOf(error) === '') throw error;
    // The disk's error: whether the partition can be opened, the journal says.
    return 'damaged';
  }
}
