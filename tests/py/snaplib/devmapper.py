# SPDX-License-Identifier: LGPL-2.1-or-later
"""The kernel's device mapper, asked without a program in between: in the guest
of tests/lvm a dmsetup takes a hundred times as long as the request itself."""

import ctypes
import os

SUSPEND, RESUME, INFO, STATUS, TABLE, MESSAGE = 4, 5, 6, 10, 11, 17


class _Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("exists", "suspended", "live_table",
                                                  "inactive_table")] + [
        ("open_count", ctypes.c_int32), ("event_nr", ctypes.c_uint32),
        ("major", ctypes.c_uint32), ("minor", ctypes.c_uint32),
        ("read_only", ctypes.c_int), ("target_count", ctypes.c_int32),
        ("deferred_remove", ctypes.c_int), ("internal_suspend", ctypes.c_int)]


_library = None


def _libdevmapper():
    global _library
    if _library is None:
        _library = ctypes.CDLL("libdevmapper.so.1.02.1")
        _library.dm_task_create.restype = ctypes.c_void_p
        _library.dm_get_next_target.restype = ctypes.c_void_p
    return _library


class Task:
    """One request about one device; failure is an OSError with its errno."""

    def __init__(self, kind, device, message=None):
        self.dm = _libdevmapper()
        self.task = ctypes.c_void_p(self.dm.dm_task_create(kind))
        assert self.task.value and self.dm.dm_task_set_name(self.task, device.encode())
        if message is not None:
            assert self.dm.dm_task_set_sector(self.task, ctypes.c_uint64(0))
            assert self.dm.dm_task_set_message(self.task, message.encode())
        if not self.dm.dm_task_run(self.task):
            number = self.dm.dm_task_get_errno(self.task)
            self.end()
            raise OSError(number, os.strerror(number), device)

    def end(self):
        self.dm.dm_task_destroy(self.task)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def line(self):
        """The first target as dmsetup prints it, in words."""
        start, length = ctypes.c_uint64(), ctypes.c_uint64()
        kind, rest = ctypes.c_char_p(), ctypes.c_char_p()
        self.dm.dm_get_next_target(self.task, None, ctypes.byref(start),
                                   ctypes.byref(length), ctypes.byref(kind),
                                   ctypes.byref(rest))
        return [str(start.value), str(length.value), kind.value.decode(),
                *(rest.value or b"").decode().split()]

    def info(self):
        found = _Info()
        assert self.dm.dm_task_get_info(self.task, ctypes.byref(found))
        return found


def suspend(device):
    Task(SUSPEND, device).end()


def resume(device):
    Task(RESUME, device).end()


def message(device, text):
    Task(MESSAGE, device, text).end()


def status(device):
    with Task(STATUS, device) as task:
        return task.line()


def table(device):
    with Task(TABLE, device) as task:
        return task.line()


def exists(device):
    with Task(INFO, device) as task:
        return bool(task.info().exists)


def suspended(device):
    with Task(INFO, device) as task:
        return bool(task.info().suspended)
