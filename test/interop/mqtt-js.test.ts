/** MQTT.js with MQTT 3.1, 3.1.1 and 5. */
import { describeCommon } from './support/common-suite.ts';
import { MqttJsLibrary } from './support/mqtt-js.ts';
import { describeVersion5 } from './support/version-5-suite.ts';

const library = new MqttJsLibrary();
describeCommon(library, 3);
describeCommon(library, 4);
describeCommon(library, 5);
describeVersion5(library);
