# SPDX-License-Identifier: LGPL-2.1-or-later
"""LVM's commands without a program: by liblvm2cmd, which dmeventd uses, too.  In
the guest of tests/lvm a command takes a sixth of the time so.

A test itself asks LVM by this (snaplib.lvm).  For tests with very many commands
a Server has nbdsnap's run by it as well: nbdsnap starts a small program called
lvm, and what it says and how it ends is what LVM's library said.
"""

import atexit
import ctypes
import os
import pathlib
import socket
import struct
import subprocess
import threading

from snaplib import tools

NAMES = ("lvchange", "lvconvert", "lvcreate", "lvextend", "lvreduce", "lvremove", "lvresize",
         "lvs", "vgcreate", "vgremove", "vgrename")
SUCCEEDED, INVALID, FAILED = 1, 3, 5  # of lvm2_run(); the program ends as with 0, 3, 5
MOST_WORDS = 60  # takes the library
PRINTED, ERROR = 4, 3  # of lvm's levels of logging; warnings are printed, too

_LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_int,
                        ctypes.c_char_p)


class Library:
    def __init__(self):
        self.library = ctypes.CDLL("liblvm2cmd.so.2.03")
        self.library.lvm2_init.restype = ctypes.c_void_p
        self.said = []
        self.log = _LOG(lambda level, file, line, errno, text: self.said.append((level, text)))
        self.library.lvm2_log_fn(self.log)
        self.handle = ctypes.c_void_p(self.library.lvm2_init())
        assert self.handle.value
        # It has something to say at the very end, when nobody listens any more.
        atexit.register(self.library.lvm2_log_fn, None)

    def run(self, words):
        self.said.clear()
        code = self.library.lvm2_run(self.handle, " ".join(map(_quoted, words)).encode())
        text = {level: "".join(f"  {said.decode()}\n" for at, said in self.said if at == level)
                for level in (PRINTED, ERROR)}
        return subprocess.CompletedProcess(words, 0 if code == SUCCEEDED else code,
                                           text[PRINTED], text[ERROR])


def _quoted(word):
    assert "'" not in word, word
    return f"'{word}'" if any(c in word for c in " \t\"") else word


_library = None
_lock = threading.Lock()


def attempt(words):
    """Run it: a finished process, as subprocess would tell of it."""
    global _library
    with _lock:
        if _library is None:
            _library = Library()
        return _library.run(words)


class Server(threading.Thread):
    """While this lasts, the lvm that programs find is a client of ours."""

    def __init__(self, folder):
        super().__init__(daemon=True)
        client = tools.BUILD / "tests" / "fakes" / "lvm-client"
        if not client.exists():
            tools.missing(f"{client} is not built")
        self.bin = pathlib.Path(folder) / "lvm-client"
        self.bin.mkdir()
        (self.bin / "lvm").symlink_to(client)
        self.socket = socket.socket(socket.AF_UNIX)
        self.path = os.environ["PATH"]

    def __enter__(self):
        address = f"/run/lvm-server-{os.getpid()}-{id(self)}"
        self.socket.bind(address)
        self.socket.listen()
        os.environ.update(LVM_SERVER=address, PATH=f"{self.bin}:{self.path}")
        self.start()
        return self

    def __exit__(self, *_):
        os.environ["PATH"] = self.path
        os.unlink(os.environ.pop("LVM_SERVER"))

    def run(self):
        while True:
            client, _ = self.socket.accept()
            with client:
                self.serve(client)

    def serve(self, client):
        words = b"".join(iter(lambda: client.recv(1 << 16), b"")).decode().split("\0")[:-1]
        result = attempt(words)
        out, err = result.stdout.encode(), result.stderr.encode()
        client.sendall(struct.pack("=III", result.returncode, len(out), len(err)) + out + err)
