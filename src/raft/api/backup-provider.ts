/** What the backup call needs of the node. Thread: the Raft worker; implemented by the node, used by `maintenance-service.ts`. */

export interface BackupSource {
  readonly clusterId: string;
  /** Position of the state in the log. */
  readonly index: number;
  readonly term: number;
  readonly revision: number;
  /** The next piece, at most 256 KiB, with checksums of its own; null after the last one. */
  next(): Uint8Array | null | Promise<Uint8Array | null>;
  /** Always called, also after an error. */
  close(): void;
}

export interface BackupProvider {
  /** The state as of now, unmoved by later writes. May reject with `PlacementError`. */
  openBackup(): BackupSource | Promise<BackupSource>;
}
