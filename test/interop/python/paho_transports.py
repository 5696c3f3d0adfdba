"""One round of paho-mqtt over a transport: subscribe, publish, receive. Arguments: transport (tcp, tls, ws, wss, unix),
port or path, CA file, certificate, key ('' for none), version (3, 4, 5). Prints the payloads that came back."""

import ssl
import sys
import threading

import paho.mqtt.client as mqtt

transport, place, ca, certificate, key, version = sys.argv[1:]
kind = {"ws": "websockets", "wss": "websockets", "unix": "unix"}.get(transport, "tcp")
client = mqtt.Client(
    mqtt.CallbackAPIVersion.VERSION2, client_id=f"paho-{transport}-{version}", transport=kind, protocol=int(version)
)
if kind == "websockets":
    client.ws_set_options(path="/mqtt")
if transport in ("tls", "wss"):
    client.tls_set(ca_certs=ca, certfile=certificate or None, keyfile=key or None, tls_version=ssl.PROTOCOL_TLS_CLIENT)

topic = f"paho/{transport}/{version}"
payloads = [f"{index}:" + "x" * (index * 1000) for index in range(30)]
received = []
done = threading.Event()


def on_connect(client, userdata, flags, reason_code, properties):
    if reason_code.is_failure:
        print(f"refused: {reason_code}")
        done.set()
    else:
        client.subscribe(topic, qos=2)


def on_subscribe(client, userdata, mid, reason_codes, properties):
    for index, payload in enumerate(payloads):
        client.publish(topic, payload, qos=index % 3)


def on_message(client, userdata, message):
    received.append(message.payload.decode())
    if len(received) == len(payloads):
        done.set()


client.on_connect = on_connect
client.on_subscribe = on_subscribe
client.on_message = on_message
client.connect(place if transport == "unix" else "127.0.0.1", 1 if transport == "unix" else int(place))
client.loop_start()
ok = done.wait(20)
client.disconnect()
client.loop_stop()
print("complete" if ok and sorted(received) == sorted(payloads) else f"incomplete: {len(received)}")
