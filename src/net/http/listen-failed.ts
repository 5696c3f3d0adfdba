/** The error of both adapters when an address cannot be bound. */
import { BrokerError } from '../../std/errors.ts';

export function listenFailed(host: string, port: number, cause?: unknown): BrokerError {
  const why = cause instanceof Error ? cause.message : 'the address is in use or not of this machine';
  return new BrokerError('HTTP_LISTEN_FAILED', `Cannot listen on "${host}:${port}": ${why}`, { cause });
}
