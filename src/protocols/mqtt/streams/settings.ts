/** Settings `mqtt.bindings` and `mqtt.streams`, and what their schema cannot say. Any thread. */
import type { Static } from 'typebox';
import { filterError } from '../../../core/routing/topic.ts';
import { boolean, choice, integer, list, section, text } from '../../../core/settings/schema-builders.ts';
import { compileKey, keyForms } from './record-key.ts';

const dayMs = 86_400_000;

const binding = section(
  {
    filter: text({
      description: 'Topic filter: what is published to matching topics is copied.',
      minLength: 1,
      maxLength: 4_096,
    }),
    stream: text({
      description: 'Name of the stream; it is made when it is missing.',
      minLength: 1,
      maxLength: 244,
      pattern: '^[A-Za-z0-9.-][A-Za-z0-9._-]*$',
    }),
    partitions: integer({
      description: 'Partitions of the stream when it is made here; a stream that is there keeps its own.',
      default: 1,
      minimum: 1,
      maximum: 1_024,
    }),
    key: text({
      description:
        'Key of the records, which keep their order by key: clientid, user, topic, none, property.<name of a user property> or payload.<path into JSON>.',
      default: 'topic',
      minLength: 1,
      maxLength: 1_024,
    }),
    qosMin: integer({ description: 'Lowest QoS that is copied.', default: 0, minimum: 0, maximum: 2 }),
    publisher: boolean({
      description: "Whether records name the publisher's client id and user.",
      default: false,
    }),
    retentionMs: integer({
      description: 'Age after which records may go, ms, when the stream is made here; 0: no bound.',
      default: 7 * dayMs,
      minimum: 0,
      maximum: 36_500 * dayMs,
    }),
    retentionBytes: integer({
      description:
        'Bytes of a partition beyond which the oldest records may go, when the stream is made here; 0: no bound.',
      default: 0,
      minimum: 0,
      maximum: 1_125_899_906_842_624,
    }),
  },
  { description: 'Copies what is published into a stream.' },
);

export const bindingsSetting = list(binding, {
  maxItems: 100,
  default: [],
  description: 'Topics whose publications are copied into streams, for readers of any protocol.',
});

export const streamsSettings = section(
  {
    subscriptions: boolean({
      description: 'Whether $stream/<name> may be subscribed to; otherwise it is refused with 0x8F.',
      default: true,
    }),
    subscriptionsMax: integer({
      description: 'Subscriptions to streams of one client; beyond it SUBSCRIBE is refused with 0x97.',
      default: 16,
      minimum: 1,
      maximum: 1_000,
    }),
    defaultPosition: choice(['latest', 'earliest'], {
      description: 'Where a subscription begins that does not say it.',
      default: 'latest',
    }),
    positionMs: integer({
      description: 'How often the position of a session that outlives its connection is stored, ms.',
      default: 1_000,
      minimum: 50,
      maximum: 60_000,
    }),
  },
  { description: 'Subscriptions to streams.' },
);

export type StreamsSettings = Static<typeof streamsSettings>;
export type BindingSetting = Static<typeof binding>;

export interface BindingProblem {
  readonly path: readonly (string | number)[];
  readonly message: string;
}

export function checkBindings(bindings: readonly BindingSetting[]): readonly BindingProblem[] {
  const problems: BindingProblem[] = [];
  const made = new Map<string, BindingSetting>();
  for (const [index, each] of bindings.entries()) {
    const { filter, stream, key } = each;
    const report = (name: string, value: string, wrong: string): void => {
      const message = `Cannot use "${value}" for "mqtt.bindings.${index}.${name}": ${wrong}`;
      problems.push({ path: ['bindings', index, name], message });
    };
    const wrong = filter.startsWith('$') ? "the topics that begin with $ are the server's" : filterError(filter);
    if (wrong !== undefined) report('filter', filter, wrong);
    if (compileKey(key) === null) report('key', key, `it is none of ${keyForms}`);
    if (stream === '.' || stream === '..') report('stream', stream, 'no stream can have this name');
    const other = made.get(stream);
    if (other === undefined) made.set(stream, each);
    else if (other.partitions !== each.partitions)
      report(
        'partitions',
        String(each.partitions),
        `another binding makes stream "${stream}" with ${other.partitions}`,
      );
  }
  return problems;
}
