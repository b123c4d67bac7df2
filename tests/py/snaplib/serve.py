# SPDX-License-Identifier: LGPL-2.1-or-later
"""Run `nbdsnap serve` as a user would, on a socket of its own."""

import os
import pathlib
import signal
import subprocess
import tempfile

from snaplib import nbd, tools


class Serving:
    """It is ready when it has printed its addresses."""

    def __init__(self, *arguments, socket=True, state=None, prefix=(), **options):
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
                stdout=subprocess.PIPE, stderr=log, text=True, **options)
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
