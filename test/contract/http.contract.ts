/**
 * The contract of the HTTP and WebSocket port. Each check is run over both adapters: `http-node.test.ts` runs it in the
 * test process, `http-uws.test.ts` in a child process under a C library that uWebSockets.js accepts.
 */
import type { ContractCheck } from './http-fixture.ts';
import { listenerChecks } from './http-listener.checks.ts';
import { webSocketChecks } from './web-socket.checks.ts';

export const httpContract: readonly ContractCheck[] = [...listenerChecks, ...webSocketChecks];
