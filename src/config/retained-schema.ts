/** Bounds of retained messages; part of `limits` in `schema.ts`. Main thread. */
import { integer } from '../core/settings/schema-builders.ts';

const mebibyte = 1024 * 1024;
const tebibyte = 1024 * 1024 * mebibyte;

export const retainedLimitProperties = {
  retainedCountMax: integer({
    description: 'Topics with a retained message.',
    default: 1_000_000,
    minimum: 0,
    maximum: 100_000_000,
  }),
  retainedBytesMax: integer({
    description:
      'What all retained messages take, bytes: topic, message and some 600 bytes for each. Every worker holds a copy.',
    default: 256 * mebibyte,
    minimum: 0,
    maximum: tebibyte,
  }),
  retainedValueBytesMax: integer({
    description: 'Largest message that is retained, bytes of its packet.',
    default: mebibyte,
    minimum: 0,
    maximum: 16 * mebibyte,
  }),
  retainedTenantCountMax: integer({
    description: 'Topics of one tenant with a retained message.',
    default: 1_000_000,
    minimum: 0,
    maximum: 100_000_000,
  }),
  retainedTenantBytesMax: integer({
    description: 'What the retained messages of one tenant take, bytes.',
    default: 256 * mebibyte,
    minimum: 0,
    maximum: tebibyte,
  }),
  retainedExpiryDefaultS: integer({
    description: 'How long a message is retained whose publisher gives no expiry, seconds; 0: for ever.',
    default: 0,
    minimum: 0,
    maximum: 4_294_967_295,
  }),
  retainedExpiryMaxS: integer({
    description: 'The longest time that any message is retained, seconds; 0: no bound.',
    default: 0,
    minimum: 0,
    maximum: 4_294_967_295,
  }),
};
