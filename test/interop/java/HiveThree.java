// The HiveMQ client with MQTT 3.1.1; see Agent.java. It tells neither packet identifiers nor the DUP flag.

import com.hivemq.client.mqtt.MqttClient;
import com.hivemq.client.mqtt.MqttGlobalPublishFilter;
import com.hivemq.client.mqtt.datatypes.MqttQos;
import com.hivemq.client.mqtt.mqtt3.Mqtt3AsyncClient;
import com.hivemq.client.mqtt.mqtt3.exceptions.Mqtt3MessageException;
import com.hivemq.client.mqtt.mqtt3.message.Mqtt3Message;
import com.hivemq.client.mqtt.mqtt3.message.connect.Mqtt3Connect;
import com.hivemq.client.mqtt.mqtt3.message.connect.connack.Mqtt3ConnAck;
import com.hivemq.client.mqtt.mqtt3.message.publish.Mqtt3Publish;
import com.hivemq.client.mqtt.mqtt3.message.subscribe.Mqtt3Subscribe;
import com.hivemq.client.mqtt.mqtt3.message.subscribe.Mqtt3Subscription;
import com.hivemq.client.mqtt.mqtt3.message.subscribe.suback.Mqtt3SubAck;
import com.hivemq.client.mqtt.mqtt3.message.unsubscribe.Mqtt3Unsubscribe;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;

final class HiveThree implements Agent.Held {
  private final String name;
  private Mqtt3AsyncClient client;

  HiveThree(String name) {
    this.name = name;
  }

  /** The packet that an exception is about, or null. */
  private static Mqtt3Message packetOf(Throwable error) {
    for (Throwable each = error; each != null; each = each.getCause()) {
      if (each instanceof Mqtt3MessageException found) return found.getMqttMessage();
    }
    return null;
  }

  @Override
  public void connect(Agent.Command command) throws Exception {
    var builder =
        MqttClient.builder()
            .useMqttVersion3()
            .identifier(command.text("clientId", ""))
            .serverHost(command.text("host", "127.0.0.1"))
            .serverPort(command.number("port", 0));
    if (Places.isSecure(command)) builder = builder.sslConfig(HiveFive.secure(command));
    if (Places.isWebSocket(command)) builder = builder.webSocketConfig(HiveFive.webSocket(command));
    client = builder.addDisconnectedListener(context -> Agent.closed(name, null)).buildAsync();
    client.publishes(MqttGlobalPublishFilter.ALL, this::arrived);
    client
        .connect(connectOf(command))
        .whenComplete(
            (connack, error) -> {
              if (error == null) command.answer(connackOf(connack));
              else if (packetOf(error) instanceof Mqtt3ConnAck refusal) command.answer(connackOf(refusal));
              else command.refuse(error);
            });
  }

  private static Mqtt3Connect connectOf(Agent.Command command) {
    var builder =
        Mqtt3Connect.builder().cleanSession(command.flag("clean", true)).keepAlive(command.number("keepAliveS", 60));
    if (command.has("username")) {
      builder
          .simpleAuth()
          .username(command.text("username", ""))
          .password(command.text("password", "").getBytes(StandardCharsets.UTF_8))
          .applySimpleAuth();
    }
    if (command.has("will")) builder.willPublish(publishOf(command.inner("will")));
    return builder.build();
  }

  private static Mqtt3Publish publishOf(Agent.Command given) {
    return Mqtt3Publish.builder()
        .topic(given.text("topic", ""))
        .payload(given.bytes("payload"))
        .qos(MqttQos.fromCode(given.number("qos", 0)))
        .retain(given.flag("retain", false))
        .build();
  }

  private static Map<String, Object> connackOf(Mqtt3ConnAck connack) {
    int code = connack.getReturnCode().getCode();
    return Map.of("sessionPresent", connack.isSessionPresent(), "reasonCode", code, "properties", Map.of());
  }

  private void arrived(Mqtt3Publish message) {
    Agent.message(
        name,
        message.getTopic().toString(),
        message.getPayloadAsBytes(),
        message.getQos().getCode(),
        message.isRetain(),
        false,
        0,
        Map.of());
  }

  private static List<Integer> codesOf(Mqtt3SubAck suback) {
    return suback.getReturnCodes().stream().map(code -> code.getCode()).toList();
  }

  @Override
  public void subscribe(Agent.Command command) {
    List<Mqtt3Subscription> subscriptions =
        command.filters().stream()
            .map(
                filter ->
                    Mqtt3Subscription.builder().topicFilter(filter.topic()).qos(MqttQos.fromCode(filter.qos())).build())
            .toList();
    client
        .subscribe(Mqtt3Subscribe.builder().addSubscriptions(subscriptions).build())
        .whenComplete(
            (suback, error) -> {
              if (error == null) command.answer(codesOf(suback));
              else if (packetOf(error) instanceof Mqtt3SubAck packet) command.answer(codesOf(packet));
              else command.refuse(error);
            });
  }

  @Override
  public void unsubscribe(Agent.Command command) {
    List<String> filters = command.texts("filters");
    var builder = Mqtt3Unsubscribe.builder().topicFilter(filters.get(0));
    for (String filter : filters.subList(1, filters.size())) builder = builder.addTopicFilter(filter);
    client.unsubscribe(builder.build()).whenComplete((nothing, error) -> finished(command, List.of(), error));
  }

  @Override
  public void publish(Agent.Command command) {
    client
        .publish(publishOf(command))
        .whenComplete((message, error) -> finished(command, Map.of("reasonCode", 0), error));
  }

  @Override
  public void disconnect(Agent.Command command) {
    client.disconnect().whenComplete((nothing, error) -> finished(command, null, error));
  }

  private static void finished(Agent.Command command, Object result, Throwable error) {
    if (error == null) command.answer(result);
    else command.refuse(error);
  }

  @Override
  public void drop() {
    client.disconnect();
  }
}
