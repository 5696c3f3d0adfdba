/** paho-mqtt for Python as a client of the interoperability tests; see `agent-client.ts`. Thread of the test. */
import { join } from 'node:path';
import { ensurePahoPython } from '../../../scripts/interop-setup.ts';
import { Agent, AgentClient } from './agent-client.ts';
import type { ClientLibrary, ConnectOptions } from './client.ts';

const script = join(import.meta.dirname, '../python/paho_agent.py');

export class PahoLibrary implements ClientLibrary {
  readonly name = 'paho';
  readonly lacks = new Set<never>();
  private agent: Agent | null = null;
  private clientCount = 0;

  connect(options: ConnectOptions): Promise<AgentClient> {
    this.agent ??= new Agent(ensurePahoPython(), ['-W', 'error::SyntaxWarning', script]);
    const client = new AgentClient(this.agent, `${this.clientCount++}`, options);
    return client.connect(options);
  }

  /** The next `connect` starts a new process. */
  async closeAll(): Promise<void> {
    await this.agent?.stop();
    this.agent = null;
  }
}
