// Eclipse Paho for Java with MQTT 3.1 and 3.1.1; see Agent.java.

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import javax.net.ssl.SSLContext;
import org.eclipse.paho.client.mqttv3.IMqttActionListener;
import org.eclipse.paho.client.mqttv3.IMqttDeliveryToken;
import org.eclipse.paho.client.mqttv3.IMqttToken;
import org.eclipse.paho.client.mqttv3.MqttAsyncClient;
import org.eclipse.paho.client.mqttv3.MqttCallback;
import org.eclipse.paho.client.mqttv3.MqttConnectOptions;
import org.eclipse.paho.client.mqttv3.MqttException;
import org.eclipse.paho.client.mqttv3.MqttMessage;
import org.eclipse.paho.client.mqttv3.persist.MemoryPersistence;

final class PahoThree implements Agent.Held, MqttCallback {
  private interface Result {
    Object of(IMqttToken token) throws Exception;
  }

  private final String name;
  private MqttAsyncClient client;

  PahoThree(String name) {
    this.name = name;
  }

  /** Answers the command when the exchange is over. */
  private static IMqttActionListener answering(Agent.Command command, Result result) {
    return new IMqttActionListener() {
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
        command.refuse(error);
      }
    };
  }

  @Override
  public void connect(Agent.Command command) throws Exception {
    client = new MqttAsyncClient(Places.uri(command), command.text("clientId", ""), new MemoryPersistence());
    client.setCallback(this);
    MqttConnectOptions options = new MqttConnectOptions();
    options.setMqttVersion(command.number("version", 4));
    options.setCleanSession(command.flag("clean", true));
    options.setKeepAliveInterval(command.number("keepAliveS", 60));
    options.setAutomaticReconnect(false);
    // Seconds that its threads are given to end.
    options.setExecutorServiceTimeout(0);
    options.setMaxInflight(1_000);
    if (command.has("username")) options.setUserName(command.text("username", ""));
    if (command.has("password")) options.setPassword(command.text("password", "").toCharArray());
    SSLContext context = Places.secureContext(command);
    if (context != null) options.setSocketFactory(context.getSocketFactory());
    if (command.has("will")) {
      Agent.Command will = command.inner("will");
      options.setWill(will.text("topic", ""), will.bytes("payload"), will.number("qos", 0), will.flag("retain", false));
    }
    Result connack =
        token -> Map.of("sessionPresent", token.getSessionPresent(), "reasonCode", 0, "properties", Map.of());
    client.connect(
        options,
        null,
        new IMqttActionListener() {
          @Override
          public void onSuccess(IMqttToken token) {
            answering(command, connack).onSuccess(token);
          }

          @Override
          public void onFailure(IMqttToken token, Throwable error) {
            int code = error instanceof MqttException refusal ? refusal.getReasonCode() : 0;
            // 1 to 5 are the return codes of CONNACK, the others are Paho's own.
            if (code < 1 || code > 5) command.refuse(error);
            else command.answer(Map.of("sessionPresent", false, "reasonCode", code, "properties", Map.of()));
          }
        });
  }

  @Override
  public void subscribe(Agent.Command command) throws Exception {
    List<Agent.Filter> filters = command.filters();
    String[] topics = filters.stream().map(Agent.Filter::topic).toArray(String[]::new);
    int[] levels = filters.stream().mapToInt(Agent.Filter::qos).toArray();
    client.subscribe(topics, levels, null, answering(command, IMqttToken::getGrantedQos));
  }

  @Override
  public void unsubscribe(Agent.Command command) throws Exception {
    client.unsubscribe(command.texts("filters").toArray(String[]::new), null, answering(command, token -> new ArrayList<>()));
  }

  @Override
  public void publish(Agent.Command command) throws Exception {
    MqttMessage message = new MqttMessage(command.bytes("payload"));
    message.setQos(command.number("qos", 0));
    message.setRetained(command.flag("retain", false));
    client.publish(command.text("topic", ""), message, null, answering(command, token -> Map.of("reasonCode", 0)));
  }

  @Override
  public void disconnect(Agent.Command command) throws Exception {
    client.disconnect(0, null, answering(command, token -> null));
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
  public void connectionLost(Throwable cause) {
    Agent.closed(name, null);
  }

  @Override
  public void messageArrived(String topic, MqttMessage message) {
    Agent.message(
        name, topic, message.getPayload(), message.getQos(), message.isRetained(), message.isDuplicate(), message.getId(), Map.of());
  }

  @Override
  public void deliveryComplete(IMqttDeliveryToken token) {}
}
