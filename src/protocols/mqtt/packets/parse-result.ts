/** What `parsePacket` answers. Connection workers; called by `parse*.ts` and by the handlers that read the result. */
import type { ProtocolLevel } from '../codec/frame.ts';
import { ReasonCode } from '../codec/reason-code.ts';
import { NO_RETURN_CODE } from '../errors.ts';
import type { Fault } from './frame-reader.ts';
import type { ClientPacket } from './types.ts';

export interface Parsed {
  readonly packet: ClientPacket;
}

/** A packet that ends its connection. Before that: at level 5 DISCONNECT (or CONNACK) with `reasonCode`. */
export interface Rejected extends Fault {
  readonly packet?: undefined;
  /** CONNECT below level 5: the return code of the CONNACK to send, or `NO_RETURN_CODE` to close without one. */
  readonly returnCode: number;
  /** CONNECT: the level in which to answer. Undefined: close without an answer. */
  readonly level?: ProtocolLevel;
}

export type ParseResult = Parsed | Rejected;

/** The result for a fault; `null` stands for a fault that nobody could name. */
export function rejected(fault: Fault | null, level?: ProtocolLevel, returnCode: number = NO_RETURN_CODE): Rejected {
  const reasonCode = fault?.reasonCode ?? ReasonCode.MALFORMED_PACKET;
  const reason = fault?.reason ?? 'Malformed packet';
  return level === undefined ? { reasonCode, reason, returnCode } : { reasonCode, reason, returnCode, level };
}

/** The result for a frame that passed our checks and that `mqtt-packet` refused all the same. */
export function undecodable(error: unknown, level?: ProtocolLevel): Rejected {
  const why = error instanceof Error ? error.message : 'it is of another type';
  const reason = `The decoder refuses the packet: ${why}`;
  return rejected({ reasonCode: ReasonCode.MALFORMED_PACKET, reason }, level);
}
