# SPDX-License-Identifier: LGPL-2.1-or-later
"""Run `nbdsnap serve` as a user would, on a socket of its own."""

import functools
import os
import pathlib
import signal
import socket
import struct
import subprocess
import tempfile

import pytest

from snaplib import nbd, tools

GO, OPTION, REQUEST, READ = 7, b"IHAVEOPT", 0x25609513, 0
GREETING = 18


@functools.cache
def sanitizer():
    """"address", "thread" or None: what the program is built with."""
    libraries = subprocess.run(["ldd", tools.nbdsnap()], capture_output=True,
                               text=True).stdout
    return next((kind for kind, name in (("address", "libasan"), ("thread", "libtsan"))
                 if name in libraries), None)


def not_sanitized():
    """Sanitizers take memory of their own, and one of them traces the program
    as strace does."""
    if sanitizer() is not None:
        pytest.skip("the program is built with sanitizers")


def environment(given):
    """GLib gives memory from thread to thread without telling anybody."""
    if sanitizer() != "thread":
        return given
    library = tools.BUILD / ".libs" / "tell-tsan.so"
    return {**(os.environ if given is None else given),
            "LD_PRELOAD": str(library.resolve()), "G_SLICE": "always-malloc"}


class Serving:
    """It is ready when it has printed its addresses."""

    def __init__(self, *arguments, socket=True, state=None, prefix=(), env=None, **options):
        self.folder = tempfile.TemporaryDirectory(prefix="nbdsnap-")
        folder = pathlib.Path(self.folder.name)
        self.socket = folder / "socket"
        self.log = folder / "log"
        listen = [f"--socket={self.socket}"] if socket else []
        command = [*prefix, tools.nbdsnap(), f"--state-dir={state or folder / 'state'}",
                   "serve", *listen, *arguments]
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=log, text=True, env=environment(env),
                **options)
        self.first = self.process.stdout.readline().rstrip("\n")
        if not self.first:
            self.process.wait(nbd.DEADLINE)
            raise RuntimeError(self.messages())

    def messages(self):
        return self.log.read_text(errors="surrogateescape")

    def uri(self, export=""):
        return nbd.uri(self.socket, export)

    def connect(self, export="", contexts=()):
        """A libnbd handle that sends what it is told, sensible or not."""
        handle = nbd.libnbd.NBD()
        for context in contexts:
            handle.add_meta_context(context)
        handle.set_export_name(export)
        handle.set_strict_mode(0)
        handle.set_full_info(True)
        handle.connect_unix(str(self.socket))
        return handle

    def program(self):
        """The process itself, also behind a prefix that stays."""
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int((children.read_text().split() or [self.process.pid])[0])

    def threads(self):
        return len(os.listdir(f"/proc/{self.process.pid}/task"))

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def stop(self, number=signal.SIGTERM):
        """End it: it must neither crash nor hang nor leave a socket."""
        self.process.send_signal(number)
        try:
            status = self.process.wait(nbd.DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        messages = self.messages()
        left = self.socket.exists()
        self.rest = self.process.stdout.read()
        self.process.stdout.close()
        self.folder.cleanup()
        assert (status, left) == (0, False), (status, left, messages)
        return messages

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self.process.returncode is not None:
            return
        if kind is None:
            self.stop()
        else:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            self.folder.cleanup()


def refused(*arguments, **options):
    """What it says when it does not start with these."""
    try:
        with Serving(*arguments, **options):
            pass
    except RuntimeError as error:
        return str(error)
    raise AssertionError("the server started")


class Peer:
    """A plain socket that speaks as little of the protocol as it must."""

    def __init__(self, server):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(nbd.DEADLINE)
        self.socket.connect(str(server.socket))

    def take(self, length):
        data = b""
        while len(data) < length:
            more = self.socket.recv(length - len(data))
            if not more:
                raise EOFError(len(data))
            data += more
        return data

    def ended(self):
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def go(self):
        """Begin with simple replies."""
        self.take(GREETING)
        self.socket.sendall(struct.pack(">I", 3) + OPTION
                            + struct.pack(">IIIH", GO, 6, 0, 0))
        while True:
            _magic, _option, kind, length = struct.unpack(">QIII", self.take(20))
            self.take(length)
            if kind == 1:
                return self
            assert kind == 3

    def request(self, cookie, offset, length):
        return struct.pack(">IHHQQI", REQUEST, 0, READ, cookie, offset, length)

    def ask(self, cookie, offset, length):
        self.socket.sendall(self.request(cookie, offset, length))

    def reply(self, length):
        magic, error, cookie = struct.unpack(">IIQ", self.take(16))
        assert magic == 0x67446698
        return cookie, error, b"" if error else self.take(length)
