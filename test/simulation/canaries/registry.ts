/** All planted bugs by name. */
import type { Mutation } from '../mutation.ts';
import { editCanaries } from './edits.ts';
import { wrapperCanaries } from './wrappers.ts';

export const canaries: readonly Mutation[] = [...wrapperCanaries, ...editCanaries];

export function canaryOf(name: string): Mutation {
  const canary = canaries.find((each) => each.name === name);
  if (canary === undefined) {
    throw new Error(`Cannot plant "${name}": there are ${canaries.map((each) => each.name).join(', ')}`);
  }
  return canary;
}
