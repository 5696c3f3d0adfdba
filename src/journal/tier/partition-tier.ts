/**
 * The cold tier of one partition, as its log sees it: which offsets lie there, and up to where local copies may go. It is never behind
 * the truth in a way that could lose something:
 *   - an entry is added when its object is complete and was verified, and is durable before local bytes go
 *   - the manifest as an object follows the file, so that one can stand in for the other; local bytes wait for both
 *   - what is taken out is durable here before an object is deleted
 * Thread: the journal worker; owned by the stream store, changed between the rounds of its directory.
 */

import { codeOf } from '../../core/files/file-errors.ts';
import type { FileSystem } from '../../core/ports/file-system.ts';
import { assert } from '../../std/assert.ts';
import { readWholeFile, replaceFile } from '../atomic-file.ts';
import {
  decodeManifest,
  encodeManifest,
  findEntry,
  manifestName,
  type TierEntry,
  type TierManifest,
} from './tier-manifest.ts';

/** By which local copies go; null: no bound. */
export interface LocalBounds {
  readonly bytes: number | null;
  readonly ms: number | null;
}

export class PartitionTier {
  readonly id: string;
  readonly name: string;
  bounds: LocalBounds = { bytes: null, ms: null };
  readonly #files: FileSystem;
  /** What was deleted while the list was lost. */
  #floor = 0;
  #manifest: TierManifest;
  /** Why the list of objects is not known; null when it is. */
  #lost: 'missing' | 'damaged' | null;
  /** What is in the file may be newer than what is here: nothing may be deleted on the word of it. */
  #isUncertain = false;
  /** Of the manifest that is known to be there as an object, and where it ends. */
  #remote = { sequence: 0, endOffset: -1 };
  /** The last answer of `bytesBelow`, which is asked for often. */
  #below: { readonly entries: readonly TierEntry[]; readonly localBase: number; readonly bytes: number } = {
    entries: [],
    localBase: -1,
    bytes: 0,
  };
  /** Entries that were taken out, until their objects are deleted. */
  #dropped: TierEntry[] = [];

  private constructor(files: FileSystem, manifest: TierManifest, lost: 'missing' | 'damaged' | null) {
    this.id = manifest.id;
    this.name = manifest.name;
    this.#files = files;
    this.#manifest = manifest;
    this.#lost = lost;
  }

  /** A tier without segments; its file is durable when this returns. Throws the disk's errors. */
  static create(files: FileSystem, id: string, name: string): PartitionTier {
    const manifest = { id, name, sequence: 1, startOffset: 0, entries: [] };
    replaceFile(files, manifestName, encodeManifest(manifest));
    return new PartitionTier(files, manifest, null);
  }

  /** What the folder says; null when there is no tier. `id`: the one that the settings name, which stays when the file is lost. */
  static open(files: FileSystem, id: string | null, name: string): PartitionTier | null {
    const content = readManifest(files);
    if (content === 'missing' && id === null) return null;
    const manifest = typeof content === 'string' ? null : decodeManifest(content);
    if (manifest !== null && (id === null || manifest.id === id)) return new PartitionTier(files, manifest, null);
    // Without an id nobody can find the objects: those of it that matter are not to be had.
    if (id === null) return null;
    const nothing = { id, name, sequence: 0, startOffset: 0, entries: [] };
    return new PartitionTier(files, nothing, content === 'missing' ? 'missing' : 'damaged');
  }

  get manifest(): TierManifest {
    return this.#manifest;
  }

  get entries(): readonly TierEntry[] {
    return this.#manifest.entries;
  }

  get isEmpty(): boolean {
    return this.#manifest.entries.length === 0;
  }

  /** The list was lost here, and has not been fetched from the tier yet. */
  get lost(): 'missing' | 'damaged' | null {
    return this.#lost;
  }

  /** Behind the last segment; -1 without one. */
  get endOffset(): number {
    return this.#manifest.entries.at(-1)?.nextOffset ?? -1;
  }

  /** Local copies of what is below it may go: file and object name it. */
  get safeEnd(): number {
    const { sequence, endOffset } = this.#remote;
    return sequence === 0 ? -1 : Math.min(endOffset, this.endOffset);
  }

  /** Nothing may be deleted while this is false. */
  get isCertain(): boolean {
    return this.#lost === null && !this.#isUncertain;
  }

  get isRemoteCurrent(): boolean {
    return this.#remote.sequence === this.#manifest.sequence;
  }

  /** Where the log begins whose local part begins at `localStart`. */
  startOf(localStart: number): number {
    return this.#reaches(localStart) ? Math.min(localStart, this.#manifest.startOffset) : localStart;
  }

  /** Bytes of what only the tier has. */
  bytesBelow(localBase: number): number {
    const { entries } = this.#manifest;
    if (this.#below.entries !== entries || this.#below.localBase !== localBase) {
      const bytes = entries.reduce((sum, { nextOffset, end }) => (nextOffset <= localBase ? sum + end : sum), 0);
      this.#below = { entries, localBase, bytes };
    }
    return this.#below.bytes;
  }

  /** The segment that `offset` is in; null when the tier does not have it. */
  find(offset: number): TierEntry | null {
    const { entries, startOffset } = this.#manifest;
    const entry = entries[findEntry(entries, offset)];
    return entry !== undefined && offset >= startOffset && entry.baseOffset <= offset ? entry : null;
  }

  // --- changes of the file; each is durable when it returns, and throws the disk's errors ---

  /** A segment is complete in the tier. `logStart`: where the log begins now. */
  append(entry: TierEntry, logStart: number): void {
    assert(this.isEmpty || this.endOffset === entry.baseOffset, 'the segments of a tier have no gaps');
    const { entries } = this.#manifest;
    const startOffset = this.isEmpty ? Math.max(logStart, entry.baseOffset) : this.#manifest.startOffset;
    this.#replace({ startOffset, entries: [...entries, entry] });
  }

  /** Forgets what is below `offset`. */
  deleteBefore(offset: number): void {
    const { entries, startOffset } = this.#manifest;
    if (this.#lost !== null) this.#floor = Math.max(this.#floor, offset);
    if (entries.length === 0 || offset <= startOffset) return;
    this.#replace({ startOffset: offset, entries: entries.slice(findEntry(entries, offset)) });
  }

  /** Forgets the segments that reach behind `offset`. */
  truncate(offset: number): void {
    const { entries } = this.#manifest;
    if (this.endOffset <= offset) return;
    this.#replace({ entries: entries.filter(({ nextOffset }) => nextOffset <= offset) });
  }

  /** Takes over what the tier itself says, after the file was lost; null: there is nothing. `localStart`: of the local log. */
  adopt(manifest: TierManifest | null, localStart: number): void {
    const found = manifest ?? { ...this.#manifest, startOffset: localStart };
    // Local copies go up to what the object names; if the log begins behind that, all of it was deleted since.
    const isOld = (found.entries.at(-1)?.nextOffset ?? localStart) < localStart;
    const entries = isOld ? [] : found.entries;
    const next = { ...found, entries, id: this.id, name: this.name, sequence: found.sequence + 1 };
    replaceFile(this.#files, manifestName, encodeManifest(next));
    this.#manifest = next;
    if (isOld) this.#dropped.push(...found.entries);
    this.deleteBefore(this.#floor);
    this.#lost = null;
    this.#isUncertain = false;
  }

  /** After a failed write nobody knows what the file says: it is written anew. */
  settle(): void {
    if (this.#isUncertain) this.#replace({});
  }

  // --- the manifest as an object ---

  /** This state of the manifest is in the tier. */
  onRemote({ sequence, entries }: TierManifest): void {
    if (sequence >= this.#remote.sequence) this.#remote = { sequence, endOffset: entries.at(-1)?.nextOffset ?? -1 };
  }

  /** Objects that nobody needs any more. */
  takeDropped(): readonly TierEntry[] {
    return this.#dropped.splice(0);
  }

  #reaches(localStart: number): boolean {
    return !this.isEmpty && this.endOffset >= localStart;
  }

  #replace(change: { readonly startOffset?: number; readonly entries?: readonly TierEntry[] }): void {
    const before = this.#manifest;
    const next = { ...before, ...change, sequence: before.sequence + (this.#isUncertain ? 2 : 1) };
    const wasUncertain = this.#isUncertain;
    this.#isUncertain = true;
    replaceFile(this.#files, manifestName, encodeManifest(next));
    this.#isUncertain = false;
    this.#manifest = next;
    if (wasUncertain && next.entries === before.entries) return;
    const kept = new Set(next.entries);
    for (const entry of before.entries) if (!kept.has(entry)) this.#dropped.push(entry);
  }
}

/** A disk that does not give it is no reason to believe that nothing is in the tier. */
function readManifest(files: FileSystem): Buffer | 'missing' | 'damaged' {
  try {
    return readWholeFile(files, manifestName);
  } catch (error) {
    if (codeOf(error) === '') throw error;
    return 'damaged';
  }
}
