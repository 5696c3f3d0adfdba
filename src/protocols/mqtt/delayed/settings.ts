/** Settings `mqtt.delayed`. Any thread. */
import type { Static } from 'typebox';
import { boolean, integer, section } from '../../../core/settings/schema-builders.ts';

export const delayedSettings = section(
  {
    enabled: boolean({
      description: 'Whether $delayed/<seconds>/<topic> may be published to; otherwise it is refused with 0x90.',
      default: true,
    }),
    delaySMax: integer({
      description: 'Longest delay, seconds; services.delayed.delayMsMax bounds it as well.',
      default: 42_949_670,
      minimum: 1,
      maximum: 43_200_000,
    }),
    messagesMax: integer({
      description: 'Messages of one tenant that may wait for their time; more are refused with 0x97. 0: no bound.',
      default: 1_000_000,
      minimum: 0,
      maximum: 1_000_000_000,
    }),
    bytesMax: integer({
      description: 'The same in bytes of topics, payloads and properties. 0: no bound.',
      default: 4_294_967_296,
      minimum: 0,
      maximum: 1_125_899_906_842_624,
    }),
  },
  { description: 'Publications that are delivered later.' },
);

export type DelayedSettings = Static<typeof delayedSettings>;
