/** The locks that every stream from another node goes through. */
import type { ServerHttp2Stream } from 'node:http2';
import {
  Client,
  credentials,
  Server,
  ServerCredentials,
  type ServerReadableStream,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js';
import { describe, expect, it } from 'vitest';
import { createLogger } from '../../../../src/observability/log.ts';
import { type InboundCall, InboundGuard, widenFlowControl } from '../../../../src/raft/transport/inbound-guard.ts';
import { flowControlWindowBytes } from '../../../../src/raft/transport/peer-limits.ts';
import { newTransportCounters } from '../../../../src/raft/transport/peer-ports.ts';
import { helloOf } from '../../../../src/raft/transport/stream-frames.ts';

const identity = { clusterId: 'c', replica: 2, name: 'b' };

function newGuard(needsCertificate: boolean): { guard: InboundGuard; lines: string[] } {
  const lines: string[] = [];
  const logger = createLogger({ level: 'debug', format: 'json', write: (line) => lines.push(line) });
  const counters = newTransportCounters();
  return { guard: new InboundGuard({ identity: () => identity, needsCertificate, counters, logger }), lines };
}

function callFrom(peer: string, sslPeerCertificate?: object): InboundCall {
  return {
    getPeer: () => peer,
    getAuthContext: () => (sslPeerCertificate === undefined ? {} : { sslPeerCertificate }),
  };
}

describe('InboundGuard', () => {
  it('callProblem() refuses a call without a certificate when one is needed, whatever the server let in', () => {
    const { guard } = newGuard(true);
    expect(guard.callProblem(callFrom('10.0.0.1:5'))?.code).toBe(status.UNAUTHENTICATED);
    expect(guard.callProblem(callFrom('10.0.0.1:5', {}))).toBe(null);
    expect(newGuard(false).guard.callProblem(callFrom('10.0.0.1:5'))).toBe(null);
  });

  it('helloProblem() logs a refusal once per host and reason, whatever the port', () => {
    const { guard, lines } = newGuard(false);
    const hello = helloOf({ clusterId: 'd', replica: 1, name: 'a' }, 2);
    for (let port = 1; port < 10; port += 1) guard.helloProblem(callFrom(`10.0.0.1:${port}`), hello);
    expect(lines).toHaveLength(1);
    guard.helloProblem(callFrom('10.0.0.2:1'), hello);
    guard.helloProblem(callFrom('10.0.0.2:1'), { ...hello, clusterId: 'e' });
    expect(lines).toHaveLength(3);
  });

  it('helloProblem() refuses a stream that does not begin with a hello', () => {
    expect(newGuard(false).guard.helloProblem(callFrom('10.0.0.1:5'), null)?.code).toBe(status.INVALID_ARGUMENT);
  });
});

describe('widenFlowControl()', () => {
  it('widens the window of a session once, and leaves alone what it does not know', () => {
    const windows: number[] = [];
    const session = {
      destroyed: false,
      settings: ({ initialWindowSize }: { initialWindowSize: number }) => windows.push(initialWindowSize),
      setLocalWindowSize: (size: number) => windows.push(size),
    };
    const call = { call: { stream: { session } } };
    widenFlowControl(call);
    widenFlowControl(call);
    expect(windows).toEqual([flowControlWindowBytes, flowControlWindowBytes]);
    for (const unknown of [{}, { call: {} }, { call: { stream: {} } }]) widenFlowControl(unknown);
  });

  it('finds the session in the calls of the installed grpc-js', async () => {
    const server = new Server();
    const { promise, resolve } = Promise.withResolvers<number | undefined>();
    const streamMessages = (call: ServerReadableStream<unknown, unknown>, callback: sendUnaryData<unknown>): void => {
      widenFlowControl(call);
      const { call: inner } = call as unknown as { call: { stream: ServerHttp2Stream } };
      resolve(inner.stream.session?.state.localWindowSize);
      callback({ code: status.ABORTED });
    };
    const bytes = (value: Buffer): Buffer => value;
    const path = '/test/Stream';
    const method = { path, requestStream: true, responseStream: false };
    const codec = {
      requestSerialize: bytes,
      requestDeserialize: bytes,
      responseSerialize: bytes,
      responseDeserialize: bytes,
    };
    server.addService({ streamMessages: { ...method, ...codec } }, { streamMessages });
    const port = await new Promise<number>((done, fail) => {
      server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, each) =>
        error ? fail(error) : done(each),
      );
    });
    const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
    client.makeClientStreamRequest(path, bytes, bytes, () => undefined);
    expect(await promise).toBeGreaterThan(flowControlWindowBytes - 1_000);
    client.close();
    server.forceShutdown();
  });
});
