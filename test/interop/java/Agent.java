// Holds Java MQTT clients for a test: commands come on standard input, results and events leave on standard output, one JSON object
// per line, as in ../python/paho_agent.py. The argument names the library: "paho" or "hivemq". Driven by ../support/java.ts.

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import java.io.BufferedReader;
import java.io.FileInputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import javax.net.ssl.TrustManagerFactory;

public final class Agent {
  /** A client of one library; all methods answer or refuse the command sooner or later, on any thread. */
  interface Held {
    void connect(Command command) throws Exception;

    void subscribe(Command command) throws Exception;

    void unsubscribe(Command command) throws Exception;

    void publish(Command command) throws Exception;

    void disconnect(Command command) throws Exception;

    /** Ends it, however it stands, and leaves nothing behind. */
    void drop() throws Exception;
  }

  record Filter(String topic, int qos, boolean noLocal, boolean retainAsPublished, int retainHandling) {}

  record Pair(String name, String value) {}

  /** A command with its fields, and the way to answer it. */
  static final class Command {
    final int id;
    final String client;
    private final JsonObject fields;

    Command(JsonObject fields) {
      this.fields = fields;
      id = fields.get("id").getAsInt();
      client = fields.get("client").getAsString();
    }

    private Command(Command outer, JsonObject fields) {
      this.fields = fields;
      id = outer.id;
      client = outer.client;
    }

    boolean has(String name) {
      return fields.has(name) && !fields.get(name).isJsonNull();
    }

    String text(String name, String fallback) {
      return has(name) ? fields.get(name).getAsString() : fallback;
    }

    int number(String name, int fallback) {
      return has(name) ? fields.get(name).getAsInt() : fallback;
    }

    long whole(String name) {
      return fields.get(name).getAsLong();
    }

    boolean flag(String name, boolean fallback) {
      return has(name) ? fields.get(name).getAsBoolean() : fallback;
    }

    byte[] bytes(String name) {
      return Base64.getDecoder().decode(fields.get(name).getAsString());
    }

    /** An object within; an empty one when it is not there. */
    Command inner(String name) {
      return new Command(this, has(name) ? fields.getAsJsonObject(name) : new JsonObject());
    }

    List<Pair> pairs(String name) {
      List<Pair> pairs = new ArrayList<>();
      for (JsonElement each : fields.getAsJsonArray(name)) {
        pairs.add(new Pair(each.getAsJsonArray().get(0).getAsString(), each.getAsJsonArray().get(1).getAsString()));
      }
      return pairs;
    }

    List<String> texts(String name) {
      List<String> texts = new ArrayList<>();
      for (JsonElement each : fields.getAsJsonArray(name)) texts.add(each.getAsString());
      return texts;
    }

    List<Filter> filters() {
      List<Filter> filters = new ArrayList<>();
      for (JsonElement each : fields.getAsJsonArray("filters")) {
        Command filter = new Command(this, each.getAsJsonObject());
        filters.add(
            new Filter(
                filter.text("topic", ""),
                filter.number("qos", 0),
                filter.flag("noLocal", false),
                filter.flag("retainAsPublished", false),
                filter.number("retainHandling", 0)));
      }
      return filters;
    }

    void answer(Object result) {
      JsonObject line = new JsonObject();
      line.addProperty("id", id);
      line.addProperty("ok", true);
      line.add("result", gson.toJsonTree(result));
      emit(line);
    }

    void refuse(Throwable error) {
      JsonObject line = new JsonObject();
      line.addProperty("id", id);
      line.addProperty("ok", false);
      line.addProperty("error", String.valueOf(error));
      emit(line);
    }
  }

  private static final Gson gson = new GsonBuilder().serializeNulls().disableHtmlEscaping().create();
  private static final PrintStream output = new PrintStream(System.out, false, StandardCharsets.UTF_8);
  private static final ExecutorService dropping = Executors.newCachedThreadPool();
  private static final Map<String, Held> clients = new ConcurrentHashMap<>();

  private static synchronized void emit(JsonObject line) {
    output.println(gson.toJson(line));
    output.flush();
  }

  static void message(
      String client, String topic, byte[] payload, int qos, boolean retain, boolean dup, int id, Map<String, ?> properties) {
    JsonObject line = new JsonObject();
    line.addProperty("event", "message");
    line.addProperty("client", client);
    line.addProperty("topic", topic);
    line.addProperty("payload", Base64.getEncoder().encodeToString(payload));
    line.addProperty("qos", qos);
    line.addProperty("retain", retain);
    line.addProperty("dup", dup);
    line.addProperty("mid", id);
    line.add("properties", gson.toJsonTree(properties));
    emit(line);
  }

  /** With the reason code of a DISCONNECT of the broker, or null. */
  static void closed(String client, Integer reasonCode) {
    JsonObject line = new JsonObject();
    line.addProperty("event", "closed");
    line.addProperty("client", client);
    line.addProperty("reasonCode", reasonCode);
    emit(line);
  }

  /** Trusts the authority of the file alone. */
  static TrustManagerFactory trusting(String file) throws Exception {
    KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
    store.load(null, null);
    try (FileInputStream stream = new FileInputStream(file)) {
      store.setCertificateEntry("authority", CertificateFactory.getInstance("X.509").generateCertificate(stream));
    }
    TrustManagerFactory factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
    factory.init(store);
    return factory;
  }

  private static Held create(String library, Command command) {
    boolean isFive = command.number("version", 5) == 5;
    if (library.equals("paho")) return isFive ? new PahoFive(command.client) : new PahoThree(command.client);
    return isFive ? new HiveFive(command.client) : new HiveThree(command.client);
  }

  private static void run(String library, Command command, String op) throws Exception {
    if (op.equals("connect")) clients.put(command.client, create(library, command));
    Held held = clients.get(command.client);
    switch (op) {
      case "connect" -> held.connect(command);
      case "subscribe" -> held.subscribe(command);
      case "unsubscribe" -> held.unsubscribe(command);
      case "publish" -> held.publish(command);
      case "disconnect" -> held.disconnect(command);
      case "drop_all" -> {
        dropAll();
        command.answer(null);
      }
      default -> throw new IllegalArgumentException("There is no operation " + op);
    }
  }

  /** Their connections are cut already; the end of their threads, which some libraries take a second for, need not be awaited. */
  private static void dropAll() {
    for (Held held : clients.values()) {
      dropping.execute(
          () -> {
            try {
              held.drop();
            } catch (Exception error) {
              System.err.println("drop: " + error);
            }
          });
    }
    clients.clear();
  }

  public static void main(String[] args) throws Exception {
    BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String text = input.readLine(); text != null; text = input.readLine()) {
      JsonObject fields = gson.fromJson(text, JsonObject.class);
      Command command = new Command(fields);
      try {
        run(args[0], command, fields.get("op").getAsString());
      } catch (Throwable error) {
        // Whatever it is, the test that asked must hear of it.
        command.refuse(error);
      }
    }
    // Threads of the libraries would keep the process.
    System.exit(0);
  }
}
