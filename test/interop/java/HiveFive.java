// The HiveMQ client with MQTT 5; see Agent.java. It gives its own subscription identifiers and topic aliases, and tells neither them
// nor packet identifiers and the DUP flag.

import com.hivemq.client.mqtt.MqttClient;
import com.hivemq.client.mqtt.MqttClientSslConfig;
import com.hivemq.client.mqtt.MqttGlobalPublishFilter;
import com.hivemq.client.mqtt.MqttWebSocketConfig;
import com.hivemq.client.mqtt.datatypes.MqttQos;
import com.hivemq.client.mqtt.mqtt5.Mqtt5AsyncClient;
import com.hivemq.client.mqtt.mqtt5.datatypes.Mqtt5UserProperties;
import com.hivemq.client.mqtt.mqtt5.datatypes.Mqtt5UserProperty;
import com.hivemq.client.mqtt.mqtt5.exceptions.Mqtt5MessageException;
import com.hivemq.client.mqtt.mqtt5.message.Mqtt5Message;
import com.hivemq.client.mqtt.mqtt5.message.Mqtt5ReasonCode;
import com.hivemq.client.mqtt.mqtt5.message.connect.Mqtt5Connect;
import com.hivemq.client.mqtt.mqtt5.message.connect.Mqtt5ConnectRestrictions;
import com.hivemq.client.mqtt.mqtt5.message.connect.connack.Mqtt5ConnAck;
import com.hivemq.client.mqtt.mqtt5.message.connect.connack.Mqtt5ConnAckRestrictions;
import com.hivemq.client.mqtt.mqtt5.message.disconnect.Mqtt5Disconnect;
import com.hivemq.client.mqtt.mqtt5.message.disconnect.Mqtt5DisconnectReasonCode;
import com.hivemq.client.mqtt.mqtt5.message.publish.Mqtt5PayloadFormatIndicator;
import com.hivemq.client.mqtt.mqtt5.message.publish.Mqtt5Publish;
import com.hivemq.client.mqtt.mqtt5.message.publish.Mqtt5PublishResult;
import com.hivemq.client.mqtt.mqtt5.message.publish.Mqtt5WillPublish;
import com.hivemq.client.mqtt.mqtt5.message.publish.puback.Mqtt5PubAck;
import com.hivemq.client.mqtt.mqtt5.message.publish.pubrec.Mqtt5PubRec;
import com.hivemq.client.mqtt.mqtt5.message.subscribe.Mqtt5RetainHandling;
import com.hivemq.client.mqtt.mqtt5.message.subscribe.Mqtt5Subscribe;
import com.hivemq.client.mqtt.mqtt5.message.subscribe.Mqtt5SubscribeBuilder;
import com.hivemq.client.mqtt.mqtt5.message.subscribe.Mqtt5Subscription;
import com.hivemq.client.mqtt.mqtt5.message.subscribe.suback.Mqtt5SubAck;
import com.hivemq.client.mqtt.mqtt5.message.unsubscribe.Mqtt5Unsubscribe;
import com.hivemq.client.mqtt.mqtt5.message.unsubscribe.unsuback.Mqtt5UnsubAck;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

final class HiveFive implements Agent.Held {
  private final String name;
  private Mqtt5AsyncClient client;

  HiveFive(String name) {
    this.name = name;
  }

  /** The packet that an exception is about, or null. */
  private static Mqtt5Message packetOf(Throwable error) {
    for (Throwable each = error; each != null; each = each.getCause()) {
      if (each instanceof Mqtt5MessageException found) return found.getMqttMessage();
    }
    return null;
  }

  @Override
  public void connect(Agent.Command command) throws Exception {
    var builder =
        MqttClient.builder()
            .useMqttVersion5()
            .serverHost(command.text("host", "127.0.0.1"))
            .serverPort(command.number("port", 0));
    if (!command.text("clientId", "").isEmpty()) builder = builder.identifier(command.text("clientId", ""));
    if (Places.isSecure(command)) builder = builder.sslConfig(secure(command));
    if (Places.isWebSocket(command)) builder = builder.webSocketConfig(webSocket(command));
    builder =
        builder.addDisconnectedListener(
            context ->
                Agent.closed(
                    name,
                    packetOf(context.getCause()) instanceof Mqtt5Disconnect packet ? packet.getReasonCode().getCode() : null));
    client = builder.buildAsync();
    client.publishes(MqttGlobalPublishFilter.ALL, this::arrived);
    client
        .connect(connectOf(command))
        .whenComplete(
            (connack, error) -> {
              if (error == null) command.answer(connackOf(connack));
              else if (packetOf(error) instanceof Mqtt5ConnAck refusal) command.answer(connackOf(refusal));
              else command.refuse(error);
            });
  }

  static MqttClientSslConfig secure(Agent.Command command) throws Exception {
    return MqttClientSslConfig.builder()
        .trustManagerFactory(Agent.trusting(command.inner("transport").text("ca", "")))
        .build();
  }

  static MqttWebSocketConfig webSocket(Agent.Command command) {
    return MqttWebSocketConfig.builder().serverPath(command.inner("transport").text("path", "")).build();
  }

  private static Mqtt5Connect connectOf(Agent.Command command) {
    Agent.Command properties = command.inner("properties");
    var builder =
        Mqtt5Connect.builder()
            .cleanStart(command.flag("clean", true))
            .keepAlive(command.number("keepAliveS", 60))
            .restrictions(restrictionsOf(properties));
    if (properties.has("SessionExpiryInterval")) builder.sessionExpiryInterval(properties.whole("SessionExpiryInterval"));
    if (command.has("username")) {
      builder
          .simpleAuth()
          .username(command.text("username", ""))
          .password(command.text("password", "").getBytes(StandardCharsets.UTF_8))
          .applySimpleAuth();
    }
    if (command.has("will")) builder.willPublish(willOf(command.inner("will")));
    return builder.build();
  }

  private static Mqtt5ConnectRestrictions restrictionsOf(Agent.Command properties) {
    var builder = Mqtt5ConnectRestrictions.builder();
    if (properties.has("ReceiveMaximum")) builder.receiveMaximum(properties.number("ReceiveMaximum", 0));
    if (properties.has("MaximumPacketSize")) builder.maximumPacketSize(properties.number("MaximumPacketSize", 0));
    if (properties.has("TopicAliasMaximum")) builder.topicAliasMaximum(properties.number("TopicAliasMaximum", 0));
    if (properties.has("RequestResponseInformation")) {
      builder.requestResponseInformation(properties.number("RequestResponseInformation", 0) == 1);
    }
    if (properties.has("RequestProblemInformation")) {
      builder.requestProblemInformation(properties.number("RequestProblemInformation", 1) == 1);
    }
    return builder.build();
  }

  private static Mqtt5WillPublish willOf(Agent.Command will) {
    long delayS = will.inner("properties").has("WillDelayInterval") ? will.inner("properties").whole("WillDelayInterval") : 0;
    return publishOf(will).asWill().extendAsWill().delayInterval(delayS).build();
  }

  private static Mqtt5Publish publishOf(Agent.Command given) {
    Agent.Command properties = given.inner("properties");
    var builder =
        Mqtt5Publish.builder()
            .topic(given.text("topic", ""))
            .payload(given.bytes("payload"))
            .qos(MqttQos.fromCode(given.number("qos", 0)))
            .retain(given.flag("retain", false));
    if (properties.has("PayloadFormatIndicator")) {
      builder.payloadFormatIndicator(Mqtt5PayloadFormatIndicator.fromCode(properties.number("PayloadFormatIndicator", 0)));
    }
    if (properties.has("MessageExpiryInterval")) builder.messageExpiryInterval(properties.whole("MessageExpiryInterval"));
    if (properties.has("ContentType")) builder.contentType(properties.text("ContentType", ""));
    if (properties.has("ResponseTopic")) builder.responseTopic(properties.text("ResponseTopic", ""));
    if (properties.has("CorrelationData")) builder.correlationData(properties.bytes("CorrelationData"));
    if (properties.has("UserProperty")) {
      List<Mqtt5UserProperty> pairs = new ArrayList<>();
      for (Agent.Pair pair : properties.pairs("UserProperty")) pairs.add(Mqtt5UserProperty.of(pair.name(), pair.value()));
      builder.userProperties(Mqtt5UserProperties.of(pairs));
    }
    return builder.build();
  }

  private static Map<String, Object> connackOf(Mqtt5ConnAck connack) {
    Map<String, Object> properties = new HashMap<>();
    connack.getAssignedClientIdentifier().ifPresent(id -> properties.put("AssignedClientIdentifier", id.toString()));
    connack.getServerKeepAlive().ifPresent(seconds -> properties.put("ServerKeepAlive", seconds));
    connack.getSessionExpiryInterval().ifPresent(seconds -> properties.put("SessionExpiryInterval", seconds));
    connack.getResponseInformation().ifPresent(text -> properties.put("ResponseInformation", text.toString()));
    Mqtt5ConnAckRestrictions restrictions = connack.getRestrictions();
    properties.put("ReceiveMaximum", restrictions.getReceiveMaximum());
    properties.put("MaximumPacketSize", restrictions.getMaximumPacketSize());
    properties.put("TopicAliasMaximum", restrictions.getTopicAliasMaximum());
    int code = connack.getReasonCode().getCode();
    return Map.of("sessionPresent", connack.isSessionPresent(), "reasonCode", code, "properties", properties);
  }

  private void arrived(Mqtt5Publish message) {
    Map<String, Object> properties = new HashMap<>();
    message.getPayloadFormatIndicator().ifPresent(format -> properties.put("PayloadFormatIndicator", format.getCode()));
    message.getMessageExpiryInterval().ifPresent(seconds -> properties.put("MessageExpiryInterval", seconds));
    message.getContentType().ifPresent(type -> properties.put("ContentType", type.toString()));
    message.getResponseTopic().ifPresent(topic -> properties.put("ResponseTopic", topic.toString()));
    message.getCorrelationData().ifPresent(data -> properties.put("CorrelationData", base64(data)));
    List<List<String>> pairs = new ArrayList<>();
    for (Mqtt5UserProperty pair : message.getUserProperties().asList()) {
      pairs.add(List.of(pair.getName().toString(), pair.getValue().toString()));
    }
    if (!pairs.isEmpty()) properties.put("UserProperty", pairs);
    Agent.message(
        name,
        message.getTopic().toString(),
        message.getPayloadAsBytes(),
        message.getQos().getCode(),
        message.isRetain(),
        false,
        0,
        properties);
  }

  private static String base64(ByteBuffer data) {
    byte[] bytes = new byte[data.remaining()];
    data.get(bytes);
    return Base64.getEncoder().encodeToString(bytes);
  }

  private static List<Integer> codesOf(List<? extends Mqtt5ReasonCode> codes) {
    return codes.stream().map(Mqtt5ReasonCode::getCode).toList();
  }

  @Override
  public void subscribe(Agent.Command command) {
    Mqtt5SubscribeBuilder.Start start = Mqtt5Subscribe.builder();
    List<Mqtt5Subscription> subscriptions = command.filters().stream().map(HiveFive::subscriptionOf).toList();
    client
        .subscribe(start.addSubscriptions(subscriptions).build())
        .whenComplete(
            (suback, error) -> {
              if (error == null) command.answer(codesOf(suback.getReasonCodes()));
              else if (packetOf(error) instanceof Mqtt5SubAck packet) command.answer(codesOf(packet.getReasonCodes()));
              else command.refuse(error);
            });
  }

  private static Mqtt5Subscription subscriptionOf(Agent.Filter filter) {
    return Mqtt5Subscription.builder()
        .topicFilter(filter.topic())
        .qos(MqttQos.fromCode(filter.qos()))
        .noLocal(filter.noLocal())
        .retainAsPublished(filter.retainAsPublished())
        .retainHandling(Mqtt5RetainHandling.fromCode(filter.retainHandling()))
        .build();
  }

  @Override
  public void unsubscribe(Agent.Command command) {
    var start = Mqtt5Unsubscribe.builder();
    List<String> filters = command.texts("filters");
    var builder = start.topicFilter(filters.get(0));
    for (String filter : filters.subList(1, filters.size())) builder = builder.addTopicFilter(filter);
    client
        .unsubscribe(builder.build())
        .whenComplete(
            (unsuback, error) -> {
              if (error == null) command.answer(codesOf(unsuback.getReasonCodes()));
              else if (packetOf(error) instanceof Mqtt5UnsubAck packet) command.answer(codesOf(packet.getReasonCodes()));
              else command.refuse(error);
            });
  }

  @Override
  public void publish(Agent.Command command) {
    client.publish(publishOf(command)).whenComplete((result, error) -> published(command, result, error));
  }

  private static void published(Agent.Command command, Mqtt5PublishResult result, Throwable thrown) {
    Throwable error = thrown == null ? result.getError().orElse(null) : thrown;
    Mqtt5Message packet = packetOf(error);
    if (error == null) command.answer(Map.of("reasonCode", 0));
    else if (packet instanceof Mqtt5PubAck refusal) command.answer(Map.of("reasonCode", refusal.getReasonCode().getCode()));
    else if (packet instanceof Mqtt5PubRec refusal) command.answer(Map.of("reasonCode", refusal.getReasonCode().getCode()));
    else command.refuse(error);
  }

  @Override
  public void disconnect(Agent.Command command) {
    var builder = Mqtt5Disconnect.builder().reasonCode(Mqtt5DisconnectReasonCode.fromCode(command.number("reasonCode", 0)));
    Agent.Command properties = command.inner("properties");
    if (properties.has("SessionExpiryInterval")) builder.sessionExpiryInterval(properties.whole("SessionExpiryInterval"));
    client
        .disconnect(builder.build())
        .whenComplete(
            (nothing, error) -> {
              if (error == null) command.answer(null);
              else command.refuse(error);
            });
  }

  @Override
  public void drop() {
    client.disconnect();
  }
}
