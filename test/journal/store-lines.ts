/** What the rounds and the process that holds the store say to each other: one JSON value per line. Any process. */

/** What the process makes when they are missing. */
export const partitionNames = ['orders', 'events', 'audit.log'] as const;

/** To the process. Every request is answered with the same `number`. */
export type Request =
  | { readonly number: number; readonly type: 'append'; readonly partition: string; readonly bytes: string }
  | {
      readonly number: number;
      readonly type: 'read';
      readonly partition: string;
      readonly offset: number;
      readonly isolation: 'committed' | 'stable';
    }
  | { readonly number: number; readonly type: 'places'; readonly partition: string }
  | { readonly number: number; readonly type: 'delete-before'; readonly partition: string; readonly offset: number };

export type Answer =
  | { readonly type: 'ready' }
  | { readonly type: 'event'; readonly text: string }
  | { readonly type: 'error'; readonly number: number; readonly code: string; readonly message: string }
  | {
      readonly type: 'append';
      readonly number: number;
      readonly baseOffset: number;
      readonly lastOffset: number;
      readonly isDuplicate: boolean;
    }
  | { readonly type: 'read'; readonly number: number; readonly slices: readonly string[]; readonly nextOffset: number }
  | {
      readonly type: 'places';
      readonly number: number;
      readonly logStartOffset: number;
      readonly logEndOffset: number;
      readonly lastStableOffset: number;
    }
  | { readonly type: 'delete-before'; readonly number: number; readonly logStartOffset: number };
