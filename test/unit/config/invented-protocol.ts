/** An invented protocol for the tests of the configuration, with every kind of setting that a protocol may bring. */
import type { ConfigurationPart } from '../../../src/config/schema.ts';
import {
  boolean,
  choice,
  either,
  integer,
  list,
  literal,
  optional,
  section,
  text,
} from '../../../src/core/settings/schema-builders.ts';

export const carrier: ConfigurationPart = {
  name: 'carrier',
  defaultPort: 7007,
  settings: section(
    {
      pigeonsMax: integer({ description: 'Pigeons in the air.', default: 12, minimum: 1, maximum: 500 }),
      isFast: boolean({ description: 'Whether they hurry.', default: false }),
      nestBytes: integer({
        description: 'Size of a nest.',
        default: 1024,
        minimum: 64,
        maximum: 65_536,
        powerOfTwo: true,
      }),
      whistle: text({ description: 'What calls them back.', default: 'peep', minLength: 1, maxLength: 20 }),
      key: optional(text({ description: 'Opens the loft.', writeOnly: true, minLength: 4 })),
      breed: choice(['homer', 'tumbler'], { description: 'Kind of pigeon.', default: 'homer' }),
      routes: list(text({ description: 'A town.', maxLength: 30 }), {
        description: 'Towns.',
        default: [],
        maxItems: 3,
      }),
      rest: section(
        {
          limitMs: either([literal('none'), integer({ description: 'Time.', minimum: 1, maximum: 1000 })], {
            description: 'Longest rest.',
            default: 'none',
          }),
        },
        { description: 'Rests.' },
      ),
    },
    { description: 'Messages by pigeon.' },
  ),
};

const drum: ConfigurationPart = {
  name: 'talking-drum',
  defaultPort: 7008,
  settings: section(
    { beatMs: integer({ description: 'Beat.', default: 100, minimum: 1, maximum: 1000 }) },
    { description: 'Drums.' },
  ),
};

export const parts = [carrier, drum];
