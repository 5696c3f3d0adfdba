/**
 * AUTH of a client (section 3.15), level 5 only.
 *
 *     reason code (1) | property length, properties
 *
 * Connection workers; called by `parse.ts`.
 */
import { PacketType } from '../codec/frame.ts';
import { PropertyId } from '../codec/properties.ts';
import { ReasonCode } from '../codec/reason-code.ts';
import type { FrameReader } from './frame-reader.ts';
import { decode } from './mqtt-packet.ts';
import { type ParseResult, rejected, undecodable } from './parse-result.ts';

export function parseAuth(reader: FrameReader): ParseResult {
  // A packet without fields means Success (3.15.2.1), which only servers say.
  const reasonCode = reader.remaining === 0 ? ReasonCode.SUCCESS : reader.byte('the reason code');
  // [MQTT-3.15.2-1]
  if (reasonCode !== ReasonCode.CONTINUE_AUTHENTICATION && reasonCode !== ReasonCode.REAUTHENTICATE) {
    reader.fail(ReasonCode.PROTOCOL_ERROR, `A client may not send AUTH with reason code ${reasonCode}`);
  }
  const userProperties = reader.properties(PacketType.AUTH);
  // 3.15.2.2.2
  if (reader.ok && !reader.scan.has(PropertyId.AUTHENTICATION_METHOD)) {
    reader.fail(ReasonCode.PROTOCOL_ERROR, 'AUTH without an authentication method');
  }
  reader.finish();
  if (reader.fault !== null) return rejected(reader.fault);
  const packet = decode(reader.frame, 5);
  if (packet instanceof Error || packet.cmd !== 'auth') return undecodable(packet);
  const data = packet.properties?.authenticationData;
  return {
    packet: {
      type: PacketType.AUTH,
      reasonCode,
      authenticationMethod: packet.properties?.authenticationMethod ?? '',
      // The decoder answers with a view of the received bytes, whose memory is used again.
      authenticationData: data === undefined ? undefined : Buffer.from(data),
      reasonString: packet.properties?.reasonString,
      userProperties,
    },
  };
}
