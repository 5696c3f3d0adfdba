/**
 * `createServer` of `node:http`, for whichever thread serves HTTP or WebSockets.
 *
 * Not by an import statement, which reads every export of the module: some of them load clients of HTTP and of WebSocket that nobody
 * here needs, worth 25 ms of CPU and 2 MB in each thread.
 */
export const { createServer } = process.getBuiltinModule('node:http');
