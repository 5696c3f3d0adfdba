/**
 * A bug in the broker, planted for the canary of the fuzz harness: loaded with `--import` into the broker's Node, it changes one source
 * while that is loaded. A PUBLISH of QoS 3, which no client may send, then ends the worker that reads it.
 */
import { registerHooks } from 'node:module';

const file = '/src/protocols/mqtt/codec/frame.ts';
const before = 'export function frameLength(buffer: Uint8Array, position: number, end: number): number {';
const bug = "if (((buffer[position] ?? 0) & 0xf6) === 0x36) throw new Error('the planted bug');";

registerHooks({
  load(url, context, nextLoad) {
    const loaded = nextLoad(url, context);
    if (!url.endsWith(file)) return loaded;
    const source = Buffer.from(loaded.source as Uint8Array).toString('utf8');
    // A canary without its bug would say nothing.
    if (!source.includes(before)) throw new Error(`Cannot plant the bug: "${file}" has changed`);
    return { ...loaded, source: source.replace(before, `${before}\n  ${bug}`) };
  },
});
