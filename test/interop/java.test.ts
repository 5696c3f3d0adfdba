/** Java clients: Eclipse Paho with MQTT 3.1.1 and 5, the HiveMQ client with MQTT 3.1.1 and 5. */
import { beforeAll } from 'vitest';
import { ensureJavaAgent } from '../../scripts/interop-setup.ts';
import { describeCommon } from './support/common-suite.ts';
import { setupLimitMs } from './support/fixture.ts';
import { JavaLibrary } from './support/java.ts';
import { describeVersion5 } from './support/version-5-suite.ts';

beforeAll(() => {
  ensureJavaAgent();
}, setupLimitMs);

const paho = new JavaLibrary('paho');
describeCommon(paho, 4);

const paho5 = new JavaLibrary('paho 5');
describeCommon(paho5, 5);
describeVersion5(paho5);

const hivemq = new JavaLibrary('hivemq');
describeCommon(hivemq, 4);
describeCommon(hivemq, 5);
describeVersion5(hivemq);
