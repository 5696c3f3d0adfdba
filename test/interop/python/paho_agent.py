"""Holds paho-mqtt clients for a test: commands come on standard input, results and events leave on standard output.

One JSON object per line in both directions. A command is {"id", "op", "client", ...}; it is answered by
{"id", "ok": true, "result"} or {"id", "ok": false, "error"}. Events of a client, in the order in which they happen:
{"event": "message" | "closed", "client", ...}. Payloads are base64. Driven by test/interop/support/paho.ts.

Commands run one after the other; acknowledgements of the broker are awaited by the paho network thread of each client,
which calls back and answers, so that a slow client holds nobody up.
"""

import base64
import json
import os
import socket
import ssl
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

PROTOCOLS = {3: mqtt.MQTTv31, 4: mqtt.MQTTv311, 5: mqtt.MQTTv5}

output_lock = threading.Lock()
clients = {}


def emit(line):
    with output_lock:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def answer(command_id, result=None):
    emit({"id": command_id, "ok": True, "result": result})


def refuse(command_id, error):
    emit({"id": command_id, "ok": False, "error": str(error)})


def properties_of(packet_type, values):
    """Properties by their names in the specification without spaces; lists of user properties are lists of pairs."""
    if not values:
        return None
    properties = Properties(packet_type)
    for name, value in values.items():
        if name == "UserProperty":
            for key, text in value:
                properties.UserProperty = (key, text)
        elif name in ("CorrelationData", "AuthenticationData"):
            setattr(properties, name, base64.b64decode(value))
        else:
            setattr(properties, name, value)
    return properties


def values_of(properties):
    if properties is None:
        return {}
    values = {}
    for name, value in vars(properties).items():
        if name in ("packetType", "types", "names", "properties"):
            continue
        if isinstance(value, bytes):
            value = base64.b64encode(value).decode()
        values[name] = value
    return values


class Agent:
    """One client and the commands that wait for an acknowledgement."""

    def __init__(self, name, command):
        self.name = name
        self.version = command["version"]
        self.acks = command.get("acks", True)
        self.waiting = {}
        self.early = {}
        self.lock = threading.Lock()
        self.connect_id = None
        transport = command.get("transport") or {}
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=command.get("clientId", ""),
            clean_session=None if self.version == 5 else command.get("clean", True),
            protocol=PROTOCOLS[self.version],
            reconnect_on_failure=False,
            manual_ack=not self.acks,
            transport="websockets" if "path" in transport else "tcp",
        )
        if "path" in transport:
            self.client.ws_set_options(path=transport["path"])
        if "ca" in transport:
            self.client.tls_set(ca_certs=transport["ca"], tls_version=ssl.PROTOCOL_TLS_CLIENT)
        self.client.max_inflight_messages_set(command.get("inflightMax", 100))
        self.client.on_connect = self.on_connect
        self.client.on_connect_fail = self.on_connect_fail
        self.client.on_disconnect = self.on_disconnect
        self.client.on_message = self.on_message
        self.client.on_publish = self.on_publish
        self.client.on_subscribe = self.on_subscribe
        self.client.on_unsubscribe = self.on_unsubscribe
        if command.get("username") is not None:
            self.client.username_pw_set(command["username"], command.get("password"))
        will = command.get("will")
        if will is not None:
            self.client.will_set(
                will["topic"],
                base64.b64decode(will["payload"]),
                will.get("qos", 0),
                will.get("retain", False),
                properties_of(PacketTypes.WILLMESSAGE, will.get("properties")),
            )

    def connect(self, command):
        self.connect_id = command["id"]
        options = {}
        if self.version == 5:
            options["clean_start"] = command.get("clean", True)
            options["properties"] = properties_of(PacketTypes.CONNECT, command.get("properties"))
        self.client.connect(command["host"], command["port"], command.get("keepAliveS", 60), **options)
        self.client.loop_start()

    # Acknowledgements can come before the command that waits for them knows its packet identifier.

    def expect(self, kind, mid, command_id):
        with self.lock:
            result = self.early.pop((kind, mid), None)
            if result is None:
                self.waiting[(kind, mid)] = command_id
                return
        answer(command_id, result)

    def acknowledged(self, kind, mid, result):
        with self.lock:
            command_id = self.waiting.pop((kind, mid), None)
            if command_id is None:
                self.early[(kind, mid)] = result
                return
        answer(command_id, result)

    def on_connect(self, _client, _data, flags, reason_code, properties):
        command_id, self.connect_id = self.connect_id, None
        if command_id is None:
            return
        result = {
            "sessionPresent": bool(flags.session_present),
            "reasonCode": reason_code.value,
            "properties": values_of(properties),
        }
        answer(command_id, result)

    def on_connect_fail(self, _client, _data):
        command_id, self.connect_id = self.connect_id, None
        if command_id is not None:
            refuse(command_id, "Cannot connect")

    def on_disconnect(self, _client, _data, flags, reason_code, _properties):
        command_id, self.connect_id = self.connect_id, None
        if command_id is not None:
            refuse(command_id, "Cannot connect: the connection ended before CONNACK")
        told = reason_code.value if flags.is_disconnect_packet_from_server else None
        emit({"event": "closed", "client": self.name, "reasonCode": told})
        with self.lock:
            waiting, self.waiting = self.waiting, {}
        for each in waiting.values():
            refuse(each, "Cannot finish: the connection ended")

    def on_message(self, _client, _data, message):
        emit(
            {
                "event": "message",
                "client": self.name,
                "topic": message.topic,
                "payload": base64.b64encode(message.payload).decode(),
                "qos": message.qos,
                "retain": message.retain,
                "dup": message.dup,
                "mid": message.mid,
                "properties": values_of(message.properties) if self.version == 5 else {},
            }
        )

    def on_publish(self, _client, _data, mid, reason_code, _properties):
        self.acknowledged("publish", mid, {"reasonCode": reason_code.value})

    def on_subscribe(self, _client, _data, mid, reason_codes, _properties):
        self.acknowledged("subscribe", mid, [code.value for code in reason_codes])

    def on_unsubscribe(self, _client, _data, mid, reason_codes, _properties):
        self.acknowledged("unsubscribe", mid, [code.value for code in reason_codes])

    def subscribe(self, command):
        if self.version < 5:
            filters = [(each["topic"], each.get("qos", 0)) for each in command["filters"]]
            code, mid = self.client.subscribe(filters)
        else:
            filters = [
                (
                    each["topic"],
                    SubscribeOptions(
                        qos=each.get("qos", 0),
                        noLocal=each.get("noLocal", False),
                        retainAsPublished=each.get("retainAsPublished", False),
                        retainHandling=each.get("retainHandling", 0),
                    ),
                )
                for each in command["filters"]
            ]
            properties = properties_of(PacketTypes.SUBSCRIBE, command.get("properties"))
            code, mid = self.client.subscribe(filters, properties=properties)
        self.sent("subscribe", code, mid, command)

    def unsubscribe(self, command):
        code, mid = self.client.unsubscribe(command["filters"])
        self.sent("unsubscribe", code, mid, command)

    def publish(self, command):
        options = {}
        if self.version == 5:
            options["properties"] = properties_of(PacketTypes.PUBLISH, command.get("properties"))
        info = self.client.publish(
            command["topic"],
            base64.b64decode(command["payload"]),
            command.get("qos", 0),
            command.get("retain", False),
            **options,
        )
        self.sent("publish", info.rc, info.mid, command)

    def sent(self, kind, code, mid, command):
        if code != mqtt.MQTT_ERR_SUCCESS:
            refuse(command["id"], mqtt.error_string(code))
        else:
            self.expect(kind, mid, command["id"])

    def ack(self, command):
        self.client.ack(command["mid"], command["qos"])
        answer(command["id"])

    def disconnect(self, command):
        options = {}
        if self.version == 5:
            options["properties"] = properties_of(PacketTypes.DISCONNECT, command.get("properties"))
            code = command.get("reasonCode", 0)
            if code != 0:
                options["reasoncode"] = ReasonCode(PacketTypes.DISCONNECT, identifier=code)
        self.client.disconnect(**options)
        self.client.loop_stop()
        answer(command["id"])

    def cut(self, command):
        """The connection ends without DISCONNECT."""
        sock = self.client.socket()
        if sock is not None:
            # Below TLS and WebSocket, which would say good-bye.
            with socket.socket(fileno=os.dup(sock.fileno())) as bare:
                bare.shutdown(socket.SHUT_RDWR)
        self.client.loop_stop()
        answer(command["id"])

    def fall_silent(self, command):
        """Neither reads nor sends from now on; the connection stays open."""
        self.client.loop_stop()
        answer(command["id"])

    def listen(self, command):
        """Ends a silence: reads what came meanwhile, the end of the connection among it."""
        self.client.loop_start()
        answer(command["id"])


def run(command):
    name = command["client"]
    op = command["op"]
    if op == "connect":
        clients[name] = Agent(name, command)
        clients[name].connect(command)
    else:
        getattr(clients[name], op)(command)


def main():
    emit({"event": "ready"})
    for line in sys.stdin:
        command = json.loads(line)
        try:
            run(command)
        except Exception as error:  # Whatever it is, the test that asked must hear of it.
            refuse(command["id"], f"{type(error).__name__}: {error}")


main()
