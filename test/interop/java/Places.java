// Where a client of the Java agent connects to, over which transport; see Agent.java.

import javax.net.ssl.SSLContext;

final class Places {
  private Places() {}

  /** The address as Paho wants it. */
  static String uri(Agent.Command command) {
    Agent.Command transport = command.inner("transport");
    String scheme =
        switch (transport.text("kind", "tcp")) {
          case "tls" -> "ssl";
          case "ws" -> "ws";
          case "wss" -> "wss";
          default -> "tcp";
        };
    return scheme + "://" + command.text("host", "127.0.0.1") + ":" + command.number("port", 0) + transport.text("path", "");
  }

  static boolean isSecure(Agent.Command command) {
    return command.inner("transport").has("ca");
  }

  static boolean isWebSocket(Agent.Command command) {
    return command.inner("transport").has("path");
  }

  /** Null without TLS. */
  static SSLContext secureContext(Agent.Command command) throws Exception {
    if (!isSecure(command)) return null;
    SSLContext context = SSLContext.getInstance("TLS");
    context.init(null, Agent.trusting(command.inner("transport").text("ca", "")).getTrustManagers(), null);
    return context;
  }
}
