/**
 * DISCONNECT of a client (section 3.14).
 *
 *     level 5, both optional: reason code (1) | property length, properties
 *
 * Connection workers; called by `parse.ts`.
 */
import { PacketType, type ProtocolLevel } from '../codec/frame.ts';
import { ReasonCode } from '../codec/reason-code.ts';
import { clientMayDisconnectWith } from '../errors.ts';
import type { FrameReader } from './frame-reader.ts';
import { decode } from './mqtt-packet.ts';
import { type ParseResult, rejected, undecodable } from './parse-result.ts';
import type { UserProperties } from './types.ts';

export function parseDisconnect(reader: FrameReader, level: ProtocolLevel): ParseResult {
  const userProperties = level === 5 && reader.remaining > 0 ? walk(reader) : [];
  reader.finish();
  if (reader.fault !== null) return rejected(reader.fault);
  const packet = decode(reader.frame, level);
  if (packet instanceof Error || packet.cmd !== 'disconnect') return undecodable(packet);
  return {
    packet: {
      type: PacketType.DISCONNECT,
      reasonCode: packet.reasonCode ?? ReasonCode.SUCCESS,
      sessionExpiryS: packet.properties?.sessionExpiryInterval,
      reasonString: packet.properties?.reasonString,
      serverReference: packet.properties?.serverReference,
      userProperties,
    },
  };
}

function walk(reader: FrameReader): UserProperties {
  const reasonCode = reader.byte('the reason code');
  // [MQTT-3.14.2-1]
  if (!clientMayDisconnectWith(reasonCode)) {
    reader.fail(ReasonCode.PROTOCOL_ERROR, `A client may not disconnect with reason code ${reasonCode}`);
  }
  // "If the Remaining Length is less than 2, a value of 0 is used" (3.14.2.2.1).
  return reader.remaining > 0 ? reader.properties(PacketType.DISCONNECT) : [];
}
