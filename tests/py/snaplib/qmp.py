# SPDX-License-Identifier: LGPL-2.1-or-later
"""Plain clients of a QEMU monitor and of a guest agent, for what a test asserts.

Not the ones under test: these do one thing at a time, and whatever takes
longer than its deadline is a failure."""

import itertools
import json
import socket
import time

TIMEOUT = 60


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, command, error):
        super().__init__(f"{command}: {error['class']}: {error['desc']}")
        self.kind, self.text = error["class"], error["desc"]


class _Lines:
    """A Unix socket, read line by line against a deadline."""

    def __init__(self, path, timeout):
        self.socket = socket.socket(socket.AF_UNIX)
        self.path, self.pending = str(path), b""
        self.socket.settimeout(timeout)
        self.socket.connect(self.path)

    def send(self, data):
        self.socket.sendall(data)

    def line(self, deadline):
        while b"\n" not in self.pending:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"{self.path}: silent, after {self.pending!r}")
            self.socket.settimeout(left)
            try:
                received = self.socket.recv(1 << 16)
            except socket.timeout:
                continue
            if not received:
                raise EOFError(f"{self.path}: closed")
            self.pending += received
        line, self.pending = self.pending.split(b"\n", 1)
        return line

    def close(self):
        self.socket.close()


def _message(command, arguments, **more):
    """Names of arguments may be written with _ in place of -."""
    given = {name.replace("_", "-"): value for name, value in arguments.items()}
    message = dict(more, execute=command)
    if given:
        message["arguments"] = given
    return json.dumps(message).encode() + b"\n"


class Monitor:
    """A negotiated QMP connection.  `events` are all that came, in order."""

    def __init__(self, path, timeout=TIMEOUT):
        self.lines, self.events, self.ids = _Lines(path, timeout), [], itertools.count(1)
        greeting = json.loads(self.lines.line(time.monotonic() + timeout))
        self.version = greeting["QMP"]["version"]["qemu"]
        self.execute("qmp_capabilities")

    def execute(self, command, timeout=TIMEOUT, /, **arguments):
        """What the command returns; Refused if it is an error."""
        number, deadline = next(self.ids), time.monotonic() + timeout
        self.lines.send(_message(command, arguments, id=number))
        while True:
            reply = json.loads(self.lines.line(deadline))
            if "event" in reply:
                self.events.append(reply)
            elif "error" in reply:
                raise Refused(command, reply["error"])
            elif reply.get("id") == number:
                return reply["return"]

    def wait_event(self, name, since=0, timeout=TIMEOUT):
        """The first such event from place `since` of `events` on."""
        deadline = time.monotonic() + timeout
        while True:
            for event in self.events[since:]:
                if event["event"] == name:
                    return event
            reply = json.loads(self.lines.line(deadline))
            if "event" in reply:
                self.events.append(reply)

    def close(self):
        self.lines.close()


class Agent:
    """A synchronised connection to a guest agent, of which there can be one."""

    ids = itertools.count(int(time.time()))

    def __init__(self, path, timeout=TIMEOUT):
        self.lines = _Lines(path, timeout)
        try:
            self.sync(timeout)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def sync(self, timeout=TIMEOUT):
        number, deadline = next(self.ids), time.monotonic() + timeout
        self.lines.send(b"\xff" + _message("guest-sync-delimited", {"id": number}))
        while True:
            line = self.lines.line(deadline).rpartition(b"\xff")[2]
            try:
                if json.loads(line).get("return") == number:
                    return
            except ValueError:
                pass

    def execute(self, command, timeout=TIMEOUT, /, **arguments):
        self.lines.send(_message(command, arguments))
        reply = json.loads(self.lines.line(time.monotonic() + timeout))
        if "error" in reply:
            raise Refused(command, reply["error"])
        return reply["return"]

    def close(self):
        self.lines.close()
