# SPDX-License-Identifier: LGPL-2.1-or-later
"""A scripted stand-in for whatever speaks JSON on a Unix socket: the ground of
fake_qmp.py and fake_agent.py.

What it does with a command is an action, a function of (client, request).  A
test says which, per command, call after call, the last one for all the rest:

    fake.on("guest-fsfreeze-thaw", error("GenericError", "no"), normally())

Commands are worked on one at a time, also those of a client that has gone
meanwhile; then comes the next client, as it is with the real ones.
"""

import collections
import json
import os
import socket
import threading
import time

# What a hanging action wakes up after, should its test have forgotten it.
LONGEST = 120


# ---- actions ----

def normally():
    """As the healthy peer would."""
    return lambda client, request: client.peer.act(client, request)


def answer(value):
    return lambda client, request: client.reply(request, {"return": value})


def error(kind, text):
    return lambda client, request: client.reply(
        request, {"error": {"class": kind, "desc": text}})


def not_found():
    def act(client, request):
        name = request["execute"]
        return error("CommandNotFound", f"The command {name} has not been found")(client, request)
    return act


def silence():
    return lambda client, request: None


def raw(data):
    """These bytes."""
    return lambda client, request: client.send(data)


def event(name, **data):
    """A QMP event."""
    return lambda client, request: client.send_event(name, data)


def half(action):
    """What the action would send, but only the first half of it."""
    def act(client, request):
        captured = _Captured(client)
        action(captured, request)
        client.send(captured.sent[:len(captured.sent) // 2])
    return act


def steps(*actions):
    """One after the other."""
    def act(client, request):
        for action in actions:
            action(client, request)
    return act


def after(seconds, *actions):
    """The peer hangs for so long, and then does it."""
    def act(client, request):
        client.peer.closing.wait(seconds)
        steps(*actions)(client, request)
    return act


def when(told, *actions):
    """The peer hangs until the test sets this threading.Event."""
    def act(client, request):
        end = time.monotonic() + LONGEST
        while not told.wait(0.01) and not client.peer.closing.is_set():
            assert time.monotonic() < end, f"{request} was never let go"
        steps(*actions)(client, request)
    return act


def later(seconds, *actions):
    """Done so much later, while the peer goes on."""
    def act(client, request):
        threading.Thread(target=after(seconds, *actions), args=(client, request),
                         daemon=True).start()
    return act


def quietly(action):
    """Done, and nothing is said about it."""
    return lambda client, request: action(_Captured(client), request)


def hang_up():
    return lambda client, request: client.hang_up()


def become(**state):
    """Attributes of the peer take these values."""
    def act(client, request):
        for name, value in state.items():
            assert hasattr(client.peer, name), name
            setattr(client.peer, name, value)
    return act


# ---- the peer ----

class _Captured:
    """A client whose messages go nowhere but into `sent`."""

    def __init__(self, client):
        self.client, self.peer, self.sent = client, client.peer, b""

    def send(self, data):
        self.sent += data

    def send_event(self, name, data):
        self.send(self.peer.encode_event(name, data))

    def reply(self, request, message):
        self.send(self.peer.encode_reply(request, message))

    def hang_up(self):
        self.client.hang_up()


class Client:
    def __init__(self, peer, connection):
        self.peer, self.connection = peer, connection

    def send(self, data):
        """One that has gone gets nothing; nobody minds."""
        try:
            self.connection.sendall(data)
        except OSError:
            pass

    def send_event(self, name, data):
        self.send(self.peer.encode_event(name, data))

    def reply(self, request, message):
        self.send(self.peer.encode_reply(request, message))

    def hang_up(self):
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


class FakePeer:
    """Serves `path` until it is closed.  `received` are the requests, in order,
    with the number of descriptors that came along as "fds"; `clients` counts
    who has been served, and `errors` is what could not be understood."""

    def __init__(self, path):
        self.path, self.rules, self.calls = str(path), {}, collections.Counter()
        self.received, self.errors, self.clients = [], [], 0
        self.closing, self.limit, self.left_behind = threading.Event(), None, b""
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(16)
        self.listener.settimeout(0.05)
        self.thread = threading.Thread(target=self._serve_all, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.closing.set()
        self.thread.join(LONGEST)
        self.listener.close()
        if os.path.exists(self.path):
            os.unlink(self.path)

    # ---- the script ----

    def on(self, command, *actions):
        """What the next calls of `command` meet, the last action for ever."""
        self.rules[command], self.calls[command] = actions, 0
        return self

    def hang_up_after(self, n):
        """Close the connection once so many more commands have been answered."""
        self.limit = len(self.received) + n
        return self

    def leave_behind(self, data):
        """What the next client finds waiting, as if it had been for another."""
        self.left_behind += data
        return self

    # ---- what came ----

    def commands(self):
        return [request["execute"] for request in self.received]

    def wait_for(self, command, n=1, timeout=60):
        """Until the command has come n times."""
        end = time.monotonic() + timeout
        while self.commands().count(command) < n:
            assert time.monotonic() < end, f"{self.path}: only {self.commands()}"
            time.sleep(0.005)

    # ---- what a kind of peer is ----

    def greet(self, client):
        """Say what is said first."""

    def act(self, client, request):
        """As the healthy peer would."""
        not_found()(client, request)

    def split(self, pending):
        """(message, rest) of these bytes, (None, rest) if none is complete;
        ValueError, after which they are thrown away, if none can be."""
        text = pending.decode("utf-8", "replace").lstrip()
        try:
            message, end = json.JSONDecoder().raw_decode(text)
        except ValueError:
            if "\n" in text:
                raise
            return None, pending
        if not isinstance(message, dict):
            raise ValueError(f"no object: {message}")
        return message, text[end:].encode()

    def complain(self, client):
        """Answer to what cannot be understood."""

    def encode_reply(self, request, message):
        return json.dumps(message).encode() + b"\n"

    def encode_event(self, name, data):
        now = time.time()
        return json.dumps({"timestamp": {"seconds": int(now), "microseconds": 0},
                           "event": name, "data": data}).encode() + b"\r\n"

    # ---- serving ----

    def _serve_all(self):
        while not self.closing.is_set():
            try:
                connection, _ = self.listener.accept()
            except socket.timeout:
                continue
            with connection:
                connection.settimeout(0.05)
                self.clients += 1
                self._serve(Client(self, connection))

    def _serve(self, client):
        left, self.left_behind = self.left_behind, b""
        client.send(left)
        self.greet(client)
        pending, n_fds = b"", 0
        while not self.closing.is_set():
            try:
                data, fds, _, _ = socket.recv_fds(client.connection, 1 << 16, 16)
            except socket.timeout:
                continue
            except OSError:
                return
            for fd in fds:
                os.close(fd)
            if not data:
                return
            n_fds += len(fds)
            pending, n_fds = self._work_off(client, pending + data, n_fds)

    def _work_off(self, client, pending, n_fds):
        """All complete messages; the rest of the bytes."""
        while pending:
            try:
                request, pending = self.split(pending)
            except ValueError:
                self.errors.append(pending)
                self.complain(client)
                return b"", n_fds
            if request is None:
                break
            self.received.append(dict(request, fds=n_fds))
            n_fds = 0
            self._choose(request)(client, request)
            if self.limit is not None and len(self.received) >= self.limit:
                self.limit = None
                client.hang_up()
        return pending, n_fds

    def _choose(self, request):
        command = request.get("execute")
        actions = self.rules.get(command)
        if not actions:
            return normally()
        self.calls[command] += 1
        return actions[min(self.calls[command], len(actions)) - 1]
