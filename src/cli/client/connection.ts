/** One MQTT.js client from connecting to its orderly end. Main thread; used by `pub` and `sub`. */
import type { ErrorWithReasonCode, IConnackPacket, IPublishPacket, MqttClient } from 'mqtt';
import { CliError, EXIT_FAILED } from '../exit-codes.ts';
import type { CliIo } from '../io.ts';
import type { ClientSettings } from './options.ts';

/** CONNACK return codes of MQTT 3.1 and 3.1.1; MQTT 5 refusals bring their own text. */
const refusals = new Map<number, string>([
  [1, 'unacceptable protocol version'],
  [2, 'identifier rejected'],
  [3, 'broker unavailable'],
  [4, 'bad user name or password'],
  [5, 'not authorised'],
]);

/**
 * Connects; throws `CliError` with the CONNACK's code as exit status when the broker refuses (as mosquitto's tools do),
 * and with 2 when it cannot be reached. `onMessage` gets every message, the first ones before this resolves.
 */
export async function connectClient(
  settings: ClientSettings,
  io: CliIo,
  onMessage?: (packet: IPublishPacket) => void,
): Promise<{ client: MqttClient; connack: IConnackPacket }> {
  // Loaded here: MQTT.js takes longer to load than everything else of a command, and `--help` needs none of it.
  const { default: mqtt } = await import('mqtt');
  const client = mqtt.connect(settings.mqtt);
  if (settings.isDebug) traceClient(client, io);
  // Before the connection stands: messages of a kept session come right behind CONNACK.
  if (onMessage !== undefined) client.on('message', (_topic, _payload, packet) => onMessage(packet));
  return new Promise((resolve, reject) => {
    // Only these listeners are removed again: MQTT.js has listeners of its own on the same events.
    const onError = (error: Error): void => fail(toCliError(error, settings.address));
    const onClose = (): void => fail(new CliError(`Cannot connect to "${settings.address}": closed by the broker`));
    const onConnect = (connack: IConnackPacket): void => {
      client.off('error', onError).off('close', onClose);
      resolve({ client, connack });
    };
    const fail = (error: CliError): void => {
      client.off('connect', onConnect).off('error', onError).off('close', onClose);
      client.on('error', () => undefined); // What follows the first error is its echo.
      client.end(true);
      reject(error);
    };
    client.on('connect', onConnect).on('error', onError).on('close', onClose);
  });
}

/** Sends what is left and DISCONNECT, then closes. */
export async function endClient(client: MqttClient, settings: ClientSettings): Promise<void> {
  const { disconnect } = settings.properties;
  // Without a connection there is nothing to wait for, and MQTT.js would wait for its close event for ever.
  if (!client.connected) client.end(true);
  else if (disconnect === undefined) await client.endAsync(false);
  else await client.endAsync(false, { reasonCode: 0, properties: disconnect });
}

/** Refused by a reason code: that code; anything else: 2. */
export function toCliError(error: Error | ErrorWithReasonCode, address: string): CliError {
  const code = 'code' in error ? error.code : undefined;
  if (typeof code === 'number' && code > 0) {
    const reason = refusals.get(code) ?? error.message.replace(/^Connection refused: /, '').toLowerCase();
    return new CliError(`Cannot connect to "${address}": refused by the broker: ${reason} (code ${code})`, code);
  }
  const detail =
    error instanceof AggregateError ? error.errors.map((one: Error) => one.message).join('; ') : error.message;
  return new CliError(`Cannot connect to "${address}": ${detail || String(code ?? error)}`, EXIT_FAILED);
}

function traceClient(client: MqttClient, io: CliIo): void {
  const describe = (direction: string, packet: { cmd?: string; messageId?: number; topic?: string }): void => {
    const id = packet.messageId === undefined ? '' : ` m${packet.messageId}`;
    const topic = packet.topic === undefined ? '' : ` '${packet.topic}'`;
    io.err(`Client ${client.options.clientId} ${direction} ${String(packet.cmd).toUpperCase()}${id}${topic}\n`);
  };
  client.on('packetsend', (packet) => describe('sending', packet));
  client.on('packetreceive', (packet) => describe('received', packet));
}
