# SPDX-License-Identifier: LGPL-2.1-or-later
"""The disks of a test guest: ext4 file systems called disk0, disk1, … that hold
the file the guest's writer (tests/guest/writer.c) works on, and its records."""

import collections
import pathlib
import tempfile

from snaplib import tools

MIB = 1 << 20
SIZE = 64 * MIB
RECORD_SIZE = 4096
N_SLOTS = 2048

_WORDS = RECORD_SIZE // 8
_NUMBERS = int.from_bytes(b"".join(j.to_bytes(8, "little") for j in range(_WORDS)), "little")
_EVERY_WORD = sum(1 << 64 * j for j in range(_WORDS))


def record(n):
    """Record n, as the writer makes it: word 0 is n, word j is hash(n) ^ j."""
    mixed = n * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    words = (mixed * _EVERY_WORD ^ _NUMBERS).to_bytes(RECORD_SIZE, "little")
    return n.to_bytes(8, "little") + words[8:]


def log_at(newest):
    """The writer's file when record `newest` was the last one written."""
    first = newest - N_SLOTS + 1
    records = [record(n) for n in range(first, newest + 1)]
    at = first % N_SLOTS
    return b"".join(records[-at:] + records[:-at] if at else records)


# `device` is what the guest sees: virtio-blk, virtio-scsi, or drive, which is a
# virtio disk given by the old -drive option and its id alone.
Disk = collections.namedtuple("Disk", "path format device", defaults=("raw", "virtio-blk"))


def format_disk(path, number, size=SIZE, log=None):
    """Make a raw disk number `number` of `path`, a file or a device.  Only what
    the file system needs is written."""
    tools.require("mkfs.ext4")
    path = pathlib.Path(path)
    if not path.is_block_device():
        with open(path, "wb") as file:
            file.truncate(size)
    with tempfile.TemporaryDirectory(prefix="disk-") as folder:
        (pathlib.Path(folder) / "log").write_bytes(log or log_at(N_SLOTS - 1))
        tools.run(["mkfs.ext4", "-q", "-F", "-b", RECORD_SIZE, "-L", f"disk{number}",
                   "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard",
                   "-d", folder, path])


def raw(path, number, device="virtio-blk", **more):
    """A raw disk in a file, wherever that lies, or on a device."""
    format_disk(path, number, **more)
    return Disk(str(path), "raw", device)


def qcow2(path, number, device="virtio-blk", options=(), **more):
    tools.require("qemu-img")
    with tempfile.TemporaryDirectory(prefix="disk-") as folder:
        plain = pathlib.Path(folder) / "raw"
        format_disk(plain, number, **more)
        tools.run(["qemu-img", "convert", "-O", "qcow2", *options, plain, path])
    return Disk(str(path), "qcow2", device)
