/**
 * Where settings come from: values as they were written, each with its origin, and the problems found in them.
 * Pure; main thread.
 */

export type Origin =
  | { readonly kind: 'default' }
  /** Line and column count from 1. */
  | { readonly kind: 'file'; readonly file: string; readonly line: number; readonly column: number }
  | { readonly kind: 'environment'; readonly name: string }
  /** A flag of the command line, with its dashes. */
  | { readonly kind: 'flag'; readonly name: string }
  /** Given by the program that started the broker. */
  | { readonly kind: 'program' };

/** `ringmq.yaml:12`, `environment RINGMQ_WORKERS`, `flag --workers`. */
export function describeOrigin(origin: Origin): string {
  switch (origin.kind) {
    case 'file':
      return `${origin.file}:${origin.line}`;
    case 'environment':
    case 'flag':
      return `${origin.kind} ${origin.name}`;
    default:
      return origin.kind;
  }
}

/** What stands before the colon of a problem. */
function locate(origin: Origin): string {
  return origin.kind === 'file' ? `${describeOrigin(origin)}:${origin.column}` : describeOrigin(origin);
}

/** A value before it is merged. Maps are `Map`s: their keys are whatever somebody wrote. */
export type SourceNode =
  | { readonly kind: 'scalar'; readonly value: Scalar; readonly origin: Origin }
  | { readonly kind: 'list'; readonly items: SourceNode[]; readonly origin: Origin }
  | { readonly kind: 'map'; readonly entries: Map<string, SourceEntry>; readonly origin: Origin };

export type Scalar = string | number | boolean | null;

export interface SourceEntry {
  /** Where the key stands. */
  readonly keyOrigin: Origin;
  readonly node: SourceNode;
}

export type MapNode = Extract<SourceNode, { kind: 'map' }>;

/** So many problems are told; who has more has one that causes the others. */
const problemsMax = 50;

/** Collects what is wrong, so that one start names everything. */
export class Problems {
  count = 0;
  private readonly told: string[] = [];

  add(origin: Origin, message: string): void {
    if (this.count++ < problemsMax) this.told.push(`${locate(origin)}: ${message}`);
  }

  /** One line for each. */
  get messages(): string[] {
    const untold = this.count - this.told.length;
    return untold === 0 ? this.told : [...this.told, `… ${untold} more`];
  }
}

/** Plain data (parsed JSON, defaults, options of a program) as a node. Undefined counts as absent. */
export function nodeOf(value: unknown, origin: Origin): SourceNode {
  if (Array.isArray(value)) return { kind: 'list', items: value.map((item) => nodeOf(item, origin)), origin };
  if (typeof value === 'object' && value !== null) {
    const given = Object.entries(value).filter(([, child]) => child !== undefined);
    const entries = new Map(given.map(([key, child]) => [key, { keyOrigin: origin, node: nodeOf(child, origin) }]));
    return { kind: 'map', entries, origin };
  }
  const isScalar = value === null || ['string', 'number', 'boolean'].includes(typeof value);
  return { kind: 'scalar', value: isScalar ? (value as Scalar) : String(value), origin };
}
