// Eclipse Paho for Java with MQTT 5; see Agent.java.

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import javax.net.ssl.SSLContext;
import org.eclipse.paho.mqttv5.client.IMqttToken;
import org.eclipse.paho.mqttv5.client.MqttActionListener;
import org.eclipse.paho.mqttv5.client.MqttAsyncClient;
import org.eclipse.paho.mqttv5.client.MqttCallback;
import org.eclipse.paho.mqttv5.client.MqttConnectionOptions;
import org.eclipse.paho.mqttv5.client.MqttDisconnectResponse;
import org.eclipse.paho.mqttv5.client.persist.MemoryPersistence;
import org.eclipse.paho.mqttv5.common.MqttException;
import org.eclipse.paho.mqttv5.common.MqttMessage;
import org.eclipse.paho.mqttv5.common.MqttSubscription;
import org.eclipse.paho.mqttv5.common.packet.MqttProperties;
import org.eclipse.paho.mqttv5.common.packet.UserProperty;

final class PahoFive implements Agent.Held, MqttCallback {
  private interface Result {
    Object of(IMqttToken token) throws Exception;
  }

  private final String name;
  private MqttAsyncClient client;

  PahoFive(String name) {
    this.name = name;
  }

  /** Answers the command when the exchange is over; a refusal with reason codes is an answer too. */
  private static MqttActionListener answering(Agent.Command command, Result result) {
    return new MqttActionListener() {
      @Override
      public void onSuccess(IMqttToken token) {
        try {
          command.answer(result.of(token));
        } catch (Exception error) {
          command.refuse(error);
        }
      }

      @Override
      public void onFailure(IMqttToken token, Throwable error) {
        int[] codes = token == null ? null : token.getReasonCodes();
        int code = error instanceof MqttException refusal ? refusal.getReasonCode() : 0;
        if (codes != null && codes.length > 0) onSuccess(token);
        // Of a refusing PUBACK or PUBREC the exception alone knows the reason; Paho's own reasons are no such numbers.
        else if (code >= 0x80 && code <= 0xff) command.answer(Map.of("reasonCode", code));
        else command.refuse(error);
      }
    };
  }

  private static int[] codesOf(IMqttToken token) {
    return token.getReasonCodes();
  }

  @Override
  public void connect(Agent.Command command) throws Exception {
    client = new MqttAsyncClient(Places.uri(command), command.text("clientId", ""), new MemoryPersistence());
    client.setCallback(this);
    client.connect(
        optionsOf(command),
        null,
        new MqttActionListener() {
          @Override
          public void onSuccess(IMqttToken token) {
            Map<String, Object> properties = connackOf(token.getResponseProperties());
            command.answer(
                Map.of("sessionPresent", token.getSessionPresent(), "reasonCode", 0, "properties", properties));
          }

          @Override
          public void onFailure(IMqttToken token, Throwable error) {
            int code = error instanceof MqttException refusal ? refusal.getReasonCode() : 0;
            // Reason codes of CONNACK are 0x80 and more, Paho's own begin at 32,000 and below 0x80.
            if (code < 0x80 || code > 0xff) command.refuse(error);
            else command.answer(Map.of("sessionPresent", false, "reasonCode", code, "properties", Map.of()));
          }
        });
  }

  private static MqttConnectionOptions optionsOf(Agent.Command command) throws Exception {
    MqttConnectionOptions options = new MqttConnectionOptions();
    options.setCleanStart(command.flag("clean", true));
    options.setKeepAliveInterval(command.number("keepAliveS", 60));
    options.setAutomaticReconnect(false);
    // Seconds that its threads are given to end.
    options.setExecutorServiceTimeout(0);
    options.setUseSubscriptionIdentifiers(false);
    if (command.has("username")) options.setUserName(command.text("username", ""));
    if (command.has("password")) options.setPassword(command.text("password", "").getBytes(StandardCharsets.UTF_8));
    SSLContext context = Places.secureContext(command);
    if (context != null) options.setSocketFactory(context.getSocketFactory());
    Agent.Command properties = command.inner("properties");
    if (properties.has("SessionExpiryInterval")) {
      options.setSessionExpiryInterval(properties.whole("SessionExpiryInterval"));
    }
    if (properties.has("ReceiveMaximum")) options.setReceiveMaximum(properties.number("ReceiveMaximum", 0));
    if (properties.has("MaximumPacketSize")) options.setMaximumPacketSize(properties.whole("MaximumPacketSize"));
    if (properties.has("TopicAliasMaximum")) options.setTopicAliasMaximum(properties.number("TopicAliasMaximum", 0));
    if (properties.has("RequestResponseInformation")) {
      options.setRequestResponseInfo(properties.number("RequestResponseInformation", 0) == 1);
    }
    if (properties.has("RequestProblemInformation")) {
      options.setRequestProblemInfo(properties.number("RequestProblemInformation", 1) == 1);
    }
    if (command.has("will")) {
      Agent.Command will = command.inner("will");
      MqttMessage message = new MqttMessage(will.bytes("payload"));
      message.setQos(will.number("qos", 0));
      message.setRetained(will.flag("retain", false));
      options.setWill(will.text("topic", ""), message);
      options.setWillMessageProperties(propertiesOf(will.inner("properties")));
    }
    return options;
  }

  private static MqttProperties propertiesOf(Agent.Command given) {
    MqttProperties properties = new MqttProperties();
    if (given.has("PayloadFormatIndicator")) properties.setPayloadFormat(given.number("PayloadFormatIndicator", 0) == 1);
    if (given.has("MessageExpiryInterval")) properties.setMessageExpiryInterval(given.whole("MessageExpiryInterval"));
    if (given.has("ContentType")) properties.setContentType(given.text("ContentType", ""));
    if (given.has("ResponseTopic")) properties.setResponseTopic(given.text("ResponseTopic", ""));
    if (given.has("CorrelationData")) properties.setCorrelationData(given.bytes("CorrelationData"));
    if (given.has("TopicAlias")) properties.setTopicAlias(given.number("TopicAlias", 0));
    if (given.has("WillDelayInterval")) properties.setWillDelayInterval(given.whole("WillDelayInterval"));
    if (given.has("SessionExpiryInterval")) properties.setSessionExpiryInterval(given.whole("SessionExpiryInterval"));
    if (given.has("SubscriptionIdentifier")) {
      properties.setSubscriptionIdentifier(given.number("SubscriptionIdentifier", 0));
    }
    if (given.has("UserProperty")) {
      List<UserProperty> pairs = new ArrayList<>();
      for (Agent.Pair pair : given.pairs("UserProperty")) pairs.add(new UserProperty(pair.name(), pair.value()));
      properties.setUserProperties(pairs);
    }
    return properties;
  }

  private static Map<String, Object> connackOf(MqttProperties given) {
    Map<String, Object> properties = new HashMap<>();
    put(properties, "AssignedClientIdentifier", given.getAssignedClientIdentifier());
    put(properties, "ServerKeepAlive", given.getServerKeepAlive());
    put(properties, "ReceiveMaximum", given.getReceiveMaximum());
    put(properties, "MaximumPacketSize", given.getMaximumPacketSize());
    put(properties, "TopicAliasMaximum", given.getTopicAliasMaximum());
    put(properties, "SessionExpiryInterval", given.getSessionExpiryInterval());
    put(properties, "ResponseInformation", given.getResponseInfo());
    return properties;
  }

  private static Map<String, Object> messagePropertiesOf(MqttProperties given) {
    Map<String, Object> properties = new HashMap<>();
    if (given == null) return properties;
    // Paho cannot tell 0 from none.
    if (given.getPayloadFormat()) properties.put("PayloadFormatIndicator", 1);
    put(properties, "MessageExpiryInterval", given.getMessageExpiryInterval());
    put(properties, "ContentType", given.getContentType());
    put(properties, "ResponseTopic", given.getResponseTopic());
    put(properties, "TopicAlias", given.getTopicAlias());
    if (given.getCorrelationData() != null) {
      properties.put("CorrelationData", Base64.getEncoder().encodeToString(given.getCorrelationData()));
    }
    if (!given.getUserProperties().isEmpty()) {
      List<List<String>> pairs = new ArrayList<>();
      for (UserProperty pair : given.getUserProperties()) pairs.add(List.of(pair.getKey(), pair.getValue()));
      properties.put("UserProperty", pairs);
    }
    if (!given.getSubscriptionIdentifiers().isEmpty()) {
      properties.put("SubscriptionIdentifier", given.getSubscriptionIdentifiers());
    }
    return properties;
  }

  private static void put(Map<String, Object> properties, String name, Object value) {
    if (value != null) properties.put(name, value);
  }

  @Override
  public void subscribe(Agent.Command command) throws Exception {
    MqttSubscription[] subscriptions = command.filters().stream().map(PahoFive::subscriptionOf).toArray(MqttSubscription[]::new);
    MqttProperties properties = propertiesOf(command.inner("properties"));
    client.subscribe(subscriptions, null, answering(command, PahoFive::codesOf), properties);
  }

  private static MqttSubscription subscriptionOf(Agent.Filter filter) {
    MqttSubscription subscription = new MqttSubscription(filter.topic(), filter.qos());
    subscription.setNoLocal(filter.noLocal());
    subscription.setRetainAsPublished(filter.retainAsPublished());
    subscription.setRetainHandling(filter.retainHandling());
    return subscription;
  }

  @Override
  public void unsubscribe(Agent.Command command) throws Exception {
    String[] filters = command.texts("filters").toArray(String[]::new);
    client.unsubscribe(filters, null, answering(command, PahoFive::codesOf), new MqttProperties());
  }

  @Override
  public void publish(Agent.Command command) throws Exception {
    MqttMessage message = new MqttMessage(command.bytes("payload"));
    message.setQos(command.number("qos", 0));
    message.setRetained(command.flag("retain", false));
    message.setProperties(propertiesOf(command.inner("properties")));
    Result code =
        token -> {
          int[] codes = token.getReasonCodes();
          return Map.of("reasonCode", codes == null || codes.length == 0 ? 0 : codes[0]);
        };
    client.publish(command.text("topic", ""), message, null, answering(command, code));
  }

  @Override
  public void disconnect(Agent.Command command) throws Exception {
    MqttProperties properties = propertiesOf(command.inner("properties"));
    client.disconnect(0, null, answering(command, token -> null), command.number("reasonCode", 0), properties);
  }

  @Override
  public void drop() throws Exception {
    try {
      client.disconnectForcibly(0, 1, false);
    } finally {
      client.close(true);
    }
  }

  @Override
  public void disconnected(MqttDisconnectResponse response) {
    int code = response.getReturnCode();
    Agent.closed(name, code >= 0x80 && code <= 0xff ? code : null);
  }

  @Override
  public void mqttErrorOccurred(MqttException error) {
    System.err.println(name + ": " + error);
  }

  @Override
  public void messageArrived(String topic, MqttMessage message) {
    Agent.message(
        name,
        topic,
        message.getPayload(),
        message.getQos(),
        message.isRetained(),
        message.isDuplicate(),
        message.getId(),
        messagePropertiesOf(message.getProperties()));
  }

  @Override
  public void deliveryComplete(IMqttToken token) {}

  @Override
  public void connectComplete(boolean isReconnect, String uri) {}

  @Override
  public void authPacketArrived(int reasonCode, MqttProperties properties) {}
}
