"""
Paho under remote control, so that one Python serves all of a test's clients: a command a line comes in, an event a
line goes out, both JSON (test/kit/mqtt-clients.ts is the other end).
"""
import base64
import json
import socket
import sys
import threading

import paho.mqtt.client as mqtt

clients = {}
lock = threading.Lock()


def tell(name, event, **what):
    with lock:
        sys.stdout.write(json.dumps({"client": name, "event": event, **what}) + "\n")
        sys.stdout.flush()


def connect(name, port, id="", clean=True, protocol=4, keepalive=60, username=None, password=None, will=None,
            reconnect=False):
    session = {} if protocol == 5 else {"clean_session": clean}
    client = mqtt.Client(id, protocol=protocol, reconnect_on_failure=reconnect, **session)
    client.reconnect_delay_set(0.05, 0.2)
    if username is not None:
        client.username_pw_set(username, password)
    if will:
        client.will_set(**will)
    client.on_connect = lambda c, _, flags, code, *rest: tell(
        name, "connect", code=getattr(code, "value", code), sessionPresent=bool(flags["session present"]))
    client.on_disconnect = lambda c, _, code, *rest: tell(name, "disconnect", code=int(code))
    client.on_message = lambda c, _, m: tell(
        name, "message", topic=m.topic, payload=base64.b64encode(m.payload).decode(), qos=m.qos,
        retain=bool(m.retain), dup=bool(m.dup))
    client.on_publish = lambda c, _, mid, *rest: tell(name, "published", mid=mid)
    client.on_subscribe = lambda c, _, mid, granted, *rest: tell(name, "subscribed", granted=[int(g) for g in granted])
    client.on_unsubscribe = lambda c, _, mid, *rest: tell(name, "unsubscribed")
    clients[name] = client
    client.connect_async("127.0.0.1", port, keepalive)
    client.loop_start()


def publish(name, topic, payloads, qos=0, retain=False):
    for payload in payloads:
        clients[name].publish(topic, base64.b64decode(payload), qos, retain)


def subscribe(name, filters):
    clients[name].subscribe([(topic, qos) for topic, qos in filters])


def unsubscribe(name, filters):
    clients[name].unsubscribe(filters)


def disconnect(name):
    clients[name].disconnect()


def fall_silent(name):
    """Alive for TCP, but it says nothing any more: no ping, no acknowledgement."""
    clients[name]._thread_terminate = True


def die(name):
    """As a process that is killed: its connection ends without DISCONNECT, and it does not come back."""
    clients[name].socket().shutdown(socket.SHUT_RDWR)


DO = {f.__name__: f for f in (connect, publish, subscribe, unsubscribe, disconnect, fall_silent, die)}
for line in sys.stdin:
    command = json.loads(line)
    try:
        DO[command.pop("do")](**command)
    except Exception as error:
        tell(command["name"], "error", message=repr(error))
