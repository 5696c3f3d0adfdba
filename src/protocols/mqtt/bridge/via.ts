/**
 * Against loops: each bridge that passes a message on adds its name to the user properties of it, so that it knows the message when it
 * comes round again. Pure; connection workers.
 *
 * The name is the client id of the bridge at its remote broker, since no two bridges may share one there.
 */
import type { UserProperties } from '../packets/types.ts';

/** Name of the user property; one for each bridge, in the order in which they were passed. */
export const viaProperty = 'ringmq-via';

const viaBytes = Buffer.from(viaProperty);

export type Passage = 'new' | 'returned' | 'too-far';

/** Whether a bridge called `own` may pass the message on. */
export function passageOf(properties: UserProperties, own: string, hopsMax: number): Passage {
  let hops = 0;
  for (const [name, value] of properties) {
    if (name !== viaProperty) continue;
    if (value === own) return 'returned';
    hops++;
  }
  return hops >= hopsMax ? 'too-far' : 'new';
}

export function withVia(properties: UserProperties, own: string): UserProperties {
  return [...properties, [viaProperty, own]];
}

/** Whether encoded properties can name a bridge: most messages need no closer look. */
export function mayHaveVia(properties: Buffer): boolean {
  return properties.length > viaBytes.length && properties.includes(viaBytes);
}
