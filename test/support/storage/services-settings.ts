/** The settings of the services as they are without any configuration. */
import { type ServicesSettings, servicesSchema } from '../../../src/config/services-schema.ts';

interface Schema {
  readonly default?: unknown;
  readonly properties?: Readonly<Record<string, Schema>>;
}

export const servicesDefaults = defaultsOf(servicesSchema as unknown as Schema) as ServicesSettings;

function defaultsOf({ properties, default: value }: Schema): unknown {
  if (properties === undefined) return value;
  return Object.fromEntries(Object.entries(properties).map(([name, schema]) => [name, defaultsOf(schema)]));
}
