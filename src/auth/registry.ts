/**
 * The mechanisms of authentication: one line each. And the door to the rules, which decide permissions for all protocols.
 * Loaded on the main thread; connection workers take the rules alone.
 */
import { anonymous } from './anonymous/index.ts';
import { certificate } from './certificate/index.ts';
import type { MechanismFactory } from './mechanism.ts';
import { password } from './password/index.ts';
import { scram } from './scram/index.ts';

export { BlockIndex, blockKey } from './acl/block-index.ts';
export { ruleError } from './acl/check-rule.ts';
export { ClientPermissions, type Decision, Policy } from './acl/policy.ts';

// biome-ignore format: one mechanism per line, so that adding one adds a line.
export const mechanisms: readonly MechanismFactory[] = [
  scram,
  password,
  certificate,
  anonymous,
];
