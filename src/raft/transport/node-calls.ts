/**
 * Calls between the brokers of one cluster, on the port of node-to-node traffic: a request and an answer, of which this knows nothing. Thread:
 * the Raft worker; used by the cluster port.
 */
import {
  type Client,
  type ServerUnaryCall,
  type ServiceDefinition,
  type ServiceError,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js';
import {
  type NodeCallRequest,
  type NodeCallResponse,
  type NodeCallServiceServer,
  NodeCallServiceService,
} from '../../rpc/generated/ringmq/raft/v1/node_call.ts';
import type { InboundGuard } from './inbound-guard.ts';
import { defaultPeerLimits, failureText } from './peer-limits.ts';
import type { PeerIdentity, PeerTls } from './peer-ports.ts';
import { peerClient } from './peer-security.ts';

/** Answers a call of another node. A rejection is an error of the call; its message is sent back. */
export type AnswerCall = (from: string, subject: string, body: Uint8Array) => Promise<Uint8Array>;

export interface NodeCallServiceOptions {
  readonly guard: InboundGuard;
  identity(): PeerIdentity;
  /** Whether a node of that name is in the cluster, as far as this one knows. */
  isMember(name: string): boolean;
  readonly answer: AnswerCall;
}

/** Calls without an answer, of all nodes together; each may carry a message of the largest size. */
const callsMax = 128;
/** Nobody is called after so long. */
const idleMs = 60_000;

/** For `server.addService(definition, implementation)`. */
export function nodeCallService({ guard, identity, isMember, answer }: NodeCallServiceOptions): {
  readonly definition: ServiceDefinition;
  readonly implementation: NodeCallServiceServer;
} {
  let underWay = 0;
  const problemOf = (call: ServerUnaryCall<NodeCallRequest, NodeCallResponse>) => {
    const problem = guard.callProblem(call);
    if (problem !== null) return problem;
    const { clusterId, from, to } = call.request;
    const own = identity();
    if (own.clusterId === '' || clusterId !== own.clusterId || to !== own.name) {
      const details = `Cannot take the call: it is for node "${to}" of cluster "${clusterId}", and this is "${own.name}" of "${own.clusterId}"`;
      return { code: status.FAILED_PRECONDITION, details };
    }
    if (!isMember(from)) {
      return {
        code: status.FAILED_PRECONDITION,
        details: `Cannot take the call: node "${from}" is not in the cluster`,
      };
    }
    if (underWay < callsMax) return null;
    return { code: status.RESOURCE_EXHAUSTED, details: `Cannot take the call: ${callsMax} are under way` };
  };
  const call = (
    request: ServerUnaryCall<NodeCallRequest, NodeCallResponse>,
    callback: sendUnaryData<NodeCallResponse>,
  ): void => {
    const problem = problemOf(request);
    if (problem !== null) {
      callback(problem);
      return;
    }
    const { from, subject, body } = request.request;
    underWay += 1;
    answer(from, subject, body).then(
      (answered) => {
        underWay -= 1;
        callback(null, { body: answered });
      },
      (error: unknown) => {
        underWay -= 1;
        callback({ code: status.UNAVAILABLE, details: error instanceof Error ? error.message : String(error) });
      },
    );
  };
  return { definition: NodeCallServiceService, implementation: { call } };
}

/** Calls other nodes; a connection to each stays for a while. */
export class NodeCaller {
  readonly #tls: PeerTls | null;
  readonly #clients = new Map<string, { readonly client: Client; timer: NodeJS.Timeout }>();

  constructor(tls: PeerTls | null) {
    this.#tls = tls;
  }

  /** Rejects with an error whose message says why there is no answer. */
  call(address: string, request: NodeCallRequest, timeoutMs: number): Promise<Uint8Array> {
    const client = this.#clientTo(address);
    const { path, requestSerialize, responseDeserialize } = NodeCallServiceService.call;
    return new Promise((resolve, reject) => {
      const options = { deadline: Date.now() + timeoutMs };
      const done = (error: ServiceError | null, response: NodeCallResponse | undefined): void => {
        if (error === null && response !== undefined) resolve(response.body);
        else reject(new Error(error === null ? 'it answered nothing' : failureText(error)));
      };
      client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, options, done);
    });
  }

  close(): void {
    for (const { client, timer } of this.#clients.values()) {
      clearTimeout(timer);
      client.close();
    }
    this.#clients.clear();
  }

  #clientTo(address: string): Client {
    const known = this.#clients.get(address);
    if (known !== undefined) {
      known.timer.refresh();
      return known.client;
    }
    const client = peerClient(address, this.#tls, defaultPeerLimits);
    const timer = setTimeout(() => {
      this.#clients.delete(address);
      client.close();
    }, idleMs).unref();
    this.#clients.set(address, { client, timer });
    return client;
  }
}
