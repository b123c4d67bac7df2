# SPDX-License-Identifier: LGPL-2.1-or-later
"""LVM's commands without a program: by liblvm2cmd, which dmeventd uses, too.  In
the guest of tests/lvm a command takes a tenth of the time so."""

import atexit
import ctypes
import subprocess

NAMES = ("lvchange", "lvconvert", "lvcreate", "lvextend", "lvreduce", "lvremove", "lvresize",
         "lvs", "vgcreate", "vgremove", "vgrename")
SUCCEEDED = 1
FAILED = 5  # as the program ends
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
        code = self.library.lvm2_run(self.handle, " ".join(words).encode())
        text = {level: "".join(f"{said.decode()}\n" for at, said in self.said if at == level)
                for level in (PRINTED, ERROR)}
        return subprocess.CompletedProcess(words, 0 if code == SUCCEEDED else FAILED,
                                           text[PRINTED], text[ERROR])


_library = None


def attempt(words):
    """Run it: a finished process, as subprocess would tell of it."""
    global _library
    if _library is None:
        _library = Library()
    assert not any(blank in word for word in words for blank in " \t\"'"), words
    return _library.run(words)
