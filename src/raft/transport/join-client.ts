/**
 * Asks other nodes who they are and to be taken in. Thread: the Raft worker; used by the cluster port.
 */
import type { ServiceError } from '@grpc/grpc-js';
import { PeerServiceService } from '../../rpc/generated/ringmq/raft/v1/peer.ts';
import { joinAnswerFromWire } from './join-wire.ts';
import { protocolVersion } from './message-codec.ts';
import { defaultPeerLimits, failureText } from './peer-limits.ts';
import type { JoinAnswer, JoinApplication, PeerIdentity, PeerTls } from './peer-ports.ts';
import { peerClient } from './peer-security.ts';

export interface PeerCallOptions {
  readonly tls: PeerTls | null;
  readonly timeoutMs: number;
}

/** The node could not be asked, or could not answer. Trying again may help. */
export class PeerCallError extends Error {
  override readonly name = 'PeerCallError';
  readonly address: string;

  constructor(address: string, reason: string) {
    super(`Cannot ask node at "${address}": ${reason}`);
    this.address = address;
  }
}

/** Who lives at `address`. Rejects with `PeerCallError`. */
export async function probePeer(address: string, options: PeerCallOptions): Promise<PeerIdentity> {
  const { clusterId, replica, name } = await callPeer(address, options, PeerServiceService.probe, {});
  return { clusterId, replica, name };
}

/** Asks one node, once. Rejects with `PeerCallError`. */
export async function requestJoin(
  address: string,
  application: JoinApplication,
  token: string,
  options: PeerCallOptions,
): Promise<JoinAnswer> {
  const request = { ...application, token, protocolVersion };
  return joinAnswerFromWire(await callPeer(address, options, PeerServiceService.join, request));
}

interface UnaryMethod<Request, Response> {
  readonly path: string;
  readonly requestSerialize: (value: Request) => Buffer;
  readonly responseDeserialize: (bytes: Buffer) => Response;
}

function callPeer<Request, Response>(
  address: string,
  options: PeerCallOptions,
  method: UnaryMethod<Request, Response>,
  request: Request,
): Promise<Response> {
  const client = peerClient(address, options.tls, defaultPeerLimits);
  return new Promise<Response>((resolve, reject) => {
    const { path, requestSerialize, responseDeserialize } = method;
    const callOptions = { deadline: Date.now() + options.timeoutMs };
    const done = (error: ServiceError | null, response: Response | undefined): void => {
      client.close();
      if (error === null && response !== undefined) resolve(response);
      else reject(new PeerCallError(address, error === null ? 'it answered nothing' : failureText(error)));
    };
    client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, callOptions, done);
  });
}
