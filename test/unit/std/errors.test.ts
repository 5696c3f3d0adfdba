/** Errors and assertions. */
import { describe, expect, it } from 'vitest';
import { AssertionError, assert } from '../../../src/std/assert.ts';
import { BrokerError } from '../../../src/std/errors.ts';

describe('BrokerError', () => {
  it('has a code, a cause and says whether to try again', () => {
    const cause = new Error('below');
    const error = new BrokerError('LISTENER_FAILED', 'Cannot listen', { cause, canRetry: true });
    expect(error).toMatchObject({
      code: 'LISTENER_FAILED',
      message: 'Cannot listen',
      name: 'BrokerError',
      cause,
      canRetry: true,
    });
    expect(new BrokerError('CONFIG_INVALID', 'No').canRetry).toBe(false);
    expect(error).toBeInstanceOf(Error);
  });

  it('is known across copies of the module by its brand', () => {
    const foreign = Object.assign(new Error('elsewhere'), { [Symbol.for('ringmq.BrokerError')]: true });
    expect(foreign instanceof BrokerError).toBe(true);
    for (const other of [new Error('no'), null, undefined, 'text', {}])
      expect(other instanceof BrokerError).toBe(false);
  });
});

describe('assert()', () => {
  it('throws what is broken, and nothing else', () => {
    expect(() => assert(true, 'never')).not.toThrow();
    expect(() => assert(false, 'the sky is up')).toThrow(AssertionError);
    expect(() => assert(false, 'the sky is up')).toThrow('the sky is up');
  });
});
