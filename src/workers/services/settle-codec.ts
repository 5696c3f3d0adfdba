/**
 * Settlements of a turn as numbers: five for each, action, partition, offset, tag and argument. Pure; packed by the client, carried out
 * by the host.
 */
import type { Settlement } from '../../core/ports/queues.ts';
import type { AcknowledgementSet } from '../../core/queues/acknowledgement-set.ts';

export const settlementNumbers = 5;

const actions = { acknowledge: 0, fail: 1, release: 2, extend: 3, reject: 4 } as const;
/** In place of a delay: that of the settings. */
const byDefault = -1;

export function packSettlement(settlement: Settlement, target: number[]): void {
  const { partition, offset, tag } = settlement.receipt;
  target.push(actions[settlement.action], partition, offset, tag, argumentOf(settlement));
}

function argumentOf(settlement: Settlement): number {
  if (settlement.action === 'fail') return settlement.delayMs ?? byDefault;
  return settlement.action === 'extend' ? settlement.visibilityMs : 0;
}

/** Carries out settlements in their order; answers 1 for each receipt that was good. */
export function settleAll(set: AcknowledgementSet, settlements: Float64Array): Uint8Array<ArrayBuffer> {
  const results = new Uint8Array(settlements.length / settlementNumbers);
  for (let index = 0; index < results.length; index += 1) {
    const at = index * settlementNumbers;
    const receipt = { partition: settlements[at + 1], offset: settlements[at + 2], tag: settlements[at + 3] };
    const argument = settlements[at + 4];
    let isGood = false;
    switch (settlements[at]) {
      case actions.acknowledge:
        isGood = set.acknowledge(receipt);
        break;
      case actions.fail:
        isGood = set.fail(receipt, argument === byDefault ? null : argument);
        break;
      case actions.release:
        isGood = set.release(receipt);
        break;
      case actions.extend:
        isGood = set.extend(receipt, argument);
        break;
      case actions.reject:
        isGood = set.reject(receipt);
    }
    results[index] = isGood ? 1 : 0;
  }
  return results;
}
