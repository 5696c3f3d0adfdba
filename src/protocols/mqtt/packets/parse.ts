/**
 * Makes our packets of the rare frames of a client: CONNECT, SUBSCRIBE, UNSUBSCRIBE, PINGREQ, DISCONNECT and AUTH.
 *
 * Every frame is walked strictly first and decoded by `mqtt-packet` only when nothing is wrong with it. Connection
 * workers; called by the handlers of a connection. Nothing here throws, whatever the bytes.
 */
import { PacketType, type ProtocolLevel } from '../codec/frame.ts';
import { ReasonCode } from '../codec/reason-code.ts';
import { FrameReader } from './frame-reader.ts';
import { parseAuth } from './parse-auth.ts';
import { parseConnect } from './parse-connect.ts';
import { parseDisconnect } from './parse-disconnect.ts';
import { type ParseResult, rejected } from './parse-result.ts';
import { parseSubscribe, parseUnsubscribe } from './parse-subscribe.ts';

/**
 * Parses the one packet that fills `frame`. `level` is that of the connection; CONNECT says its own, so it is not
 * looked at there. The frame's memory may be reused afterwards.
 */
export function parsePacket(frame: Buffer, level: ProtocolLevel): ParseResult {
  const reader = new FrameReader(frame);
  if (reader.fault !== null) return rejected(reader.fault);
  const type = frame[0] >> 4;
  checkFlags(reader, type, frame[0] & 0x0f, level);
  if (reader.fault !== null) return rejected(reader.fault);
  switch (type) {
    case PacketType.CONNECT:
      return parseConnect(reader);
    case PacketType.SUBSCRIBE:
      return parseSubscribe(reader, level);
    case PacketType.UNSUBSCRIBE:
      return parseUnsubscribe(reader, level);
    case PacketType.PINGREQ:
      reader.finish();
      return reader.fault === null ? { packet: { type: PacketType.PINGREQ } } : rejected(reader.fault);
    case PacketType.DISCONNECT:
      return parseDisconnect(reader, level);
    case PacketType.AUTH:
      if (level === 5) return parseAuth(reader);
  }
  // A server's packet, one of the hot path, or a type that this level reserves.
  reader.fail(ReasonCode.PROTOCOL_ERROR, `A packet of type ${type} is not expected here`);
  return rejected(reader.fault);
}

/** [MQTT-2.1.3-1], in 3.1.1 [MQTT-2.2.2-1] and [MQTT-2.2.2-2]; [MQTT-3.8.1-1], [MQTT-3.10.1-1]. */
function checkFlags(reader: FrameReader, type: number, flags: number, level: ProtocolLevel): void {
  const acknowledged = type === PacketType.SUBSCRIBE || type === PacketType.UNSUBSCRIBE;
  const expected = acknowledged ? 2 : 0;
  if (flags === expected) return;
  // MQTT 3.1 marks a repeated SUBSCRIBE or UNSUBSCRIBE with DUP.
  if (level === 3 && acknowledged && flags === 0x0a) reader.patch(0, (type << 4) | expected);
  else reader.fail(ReasonCode.MALFORMED_PACKET, 'Reserved flags of the fixed header are set');
}
