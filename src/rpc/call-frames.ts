/**
 * Calls of clients on a connection of their own, beside gRPC on the same port (ADR 0011). Used by both ends, on any thread;
 * pure.
 *
 * ```
 * client  := preface frame(request | ping)*
 * server  := frame(response | pong)* [frame(refused)]
 * request, response := messages PipelineRequest and PipelineResponse of kv.proto
 * refused := text, UTF-8: why nothing more comes
 * ```
 *
 * It says what the method `KvService.Pipeline` says, without HTTP/2 below it. The first response comes unasked, with the
 * leader's address. A connection on which a client waits for answers is pinged, so that a server that is gone is noticed.
 */
import { encodeFrame } from './frames.ts';

/** How every connection begins. Its first byte tells it from HTTP/2 ("P") and from the messages of replicas ("R"). */
export const callPreface = Buffer.from('CALLRING', 'latin1');
/** The same in TLS (ALPN). */
export const callProtocol = 'ringmq-call';

export const callFrameKinds = { request: 1, ping: 2, response: 16, pong: 17, refused: 18 } as const;

const noBytes = new Uint8Array(0);
export const callPingFrame = encodeFrame(callFrameKinds.ping, noBytes);
export const callPongFrame = encodeFrame(callFrameKinds.pong, noBytes);
