/** Child process of the HTTP contract: starts everything, uses it, stops it. It must then end by itself. */
import type { HttpAdapterName } from '../../src/net/http/port.ts';
import { frame, opcodes, openWebSocket, RawClient, readFrame } from './http-clients.ts';
import { withHttp, withWebSockets } from './http-fixture.ts';

const context = { adapter: process.argv[2] as HttpAdapterName, nodeCommand: [] };

await withHttp(context, {}, async ({ port }) => {
  const client = await RawClient.open(port);
  client.send('GET /text HTTP/1.1\r\nHost: a\r\n\r\n');
  await client.response();
});
await withWebSockets(context, { workerCount: 2 }, async ({ port }) => {
  const { client } = await openWebSocket(port, '/echo');
  client.send(frame(opcodes.text, Buffer.from('x')));
  await readFrame(client);
});
process.stdout.write('stopped\n');
