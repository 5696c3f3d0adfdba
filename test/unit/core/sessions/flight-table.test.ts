import { describe, expect, it } from 'vitest';
import { type Flight, FlightTable } from '../../../../src/core/sessions/flight-table.ts';
import { Chance } from '../queues/fixture.ts';

const flightOf = (packetId: number, order: number, group?: string): Flight => ({
  ...{ packetId, partition: packetId % 3, offset: 10 * order, order, state: 'sentOnce' },
  ...(group !== undefined && { group }),
});

describe('FlightTable', () => {
  it('has what a map would have, whatever the packet ids', () => {
    const chance = new Chance(11);
    const table = new FlightTable();
    const map = new Map<number, { readonly order: number; readonly isObject: boolean }>();
    for (let order = 1; order <= 20_000; order += 1) {
      // Close together, far apart, and such that many have the same place.
      const packetId = chance.pick([1 + chance.below(40), 1 + chance.below(65_535), 64 * (1 + chance.below(100))]);
      const known = map.get(packetId);
      const kind = chance.below(4);
      if (kind === 0 || map.size > 300) {
        table.delete(packetId);
        map.delete(packetId);
      } else if (kind === 1) {
        expect(table.dropSent(packetId)).toBe(known?.isObject === false);
        if (known?.isObject === false) map.delete(packetId);
      } else if (kind === 2) {
        table.set(flightOf(packetId, order));
        map.set(packetId, { order, isObject: true });
      } else if (known === undefined) {
        table.addSent(packetId, packetId % 3, 10 * order, order);
        map.set(packetId, { order, isObject: false });
      }
      expect(table.size).toBe(map.size);
      expect(table.has(packetId)).toBe(map.has(packetId));
      const found = map.get(packetId);
      const state = found?.isObject === true ? 'sentOnce' : 'sent';
      const wanted = found && { ...flightOf(packetId, found.order), state };
      expect(table.peek(packetId)).toEqual(wanted);
    }
    expect(table.keys().sort((a, b) => a - b)).toEqual([...map.keys()].sort((a, b) => a - b));
    const seen: number[] = [];
    table.forEach(({ packetId }) => {
      seen.push(packetId);
    });
    expect(seen.sort((a, b) => a - b)).toEqual([...map.keys()].sort((a, b) => a - b));
    expect(table.values().map(({ order }) => order)).toEqual(
      [...map.values()].map(({ order }) => order).sort((a, b) => a - b),
    );
  });

  it('get() answers the same object each time, whose changes stay', () => {
    const table = new FlightTable();
    table.addSent(5, 1, 70, 3);
    const flight = table.get(5);
    expect(flight).toEqual({ packetId: 5, partition: 1, offset: 70, order: 3, state: 'sent' });
    if (flight !== undefined) flight.state = 'settled';
    expect([table.get(5), table.peek(5)]).toEqual([flight, flight]);
    expect(table.values()[0]).toBe(flight);
    // It is somebody's now.
    expect(table.dropSent(5)).toBe(false);
    table.delete(5);
    expect([table.size, table.get(5), table.has(0), table.peek(0)]).toEqual([0, undefined, false, undefined]);
  });

  it('grouped() answers those of groups in order, and leaves the others as they are', () => {
    const table = new FlightTable();
    table.addSent(1, 0, 0, 1);
    table.set(flightOf(9, 4, 'g'));
    table.set(flightOf(2, 3, 'g'));
    table.set(flightOf(3, 2));
    expect(table.grouped().map(({ packetId }) => packetId)).toEqual([2, 9]);
    expect(table.dropSent(1)).toBe(true);
  });

  it('take() answers an empty one, also when it was used before', () => {
    const table = FlightTable.take();
    table.set(flightOf(7, 1));
    table.addSent(71, 0, 0, 2);
    table.delete(7);
    expect(table.dropSent(71)).toBe(true);
    table.giveBack();
    const next = FlightTable.take();
    expect(next).toBe(table);
    expect([next.size, next.values(), next.grouped()]).toEqual([0, [], []]);
    next.addSent(7, 0, 0, 3);
    expect(next.dropSent(7)).toBe(true);
  });
});
