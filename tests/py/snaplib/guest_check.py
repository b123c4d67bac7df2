# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a snapshot of a guest's disks must look like while its writer
(tests/guest/writer.c) runs.

The writer has each record on one disk before the next disk gets it.  So disks
that were cut at one instant show, in their order, the newest record n on some
of them and n - 1 on the rest; and none of the last N_SLOTS records is missing
on any.
"""

import pathlib
import subprocess
import tempfile

from snaplib import tools
from snaplib.guest_disks import N_SLOTS, RECORD_SIZE, record


class Torn(AssertionError):
    """The disks do not show one instant, or one of them is damaged."""


def _repair(image):
    """Replay the journal: 1 says that something was put right, as after any
    cut of a mounted file system."""
    checked = subprocess.run(["e2fsck", "-p", "-f", image], capture_output=True,
                             text=True, timeout=120)
    if checked.returncode not in (0, 1):
        raise Torn(f"e2fsck: {checked.returncode}: {checked.stdout}{checked.stderr}")


def _read_log(image):
    read = subprocess.run(["debugfs", "-R", "cat /log", image], capture_output=True,
                          timeout=120)
    if len(read.stdout) != N_SLOTS * RECORD_SIZE:
        raise Torn(f"/log has {len(read.stdout)} bytes: {read.stderr.decode()}")
    return read.stdout


def log_of(image):
    """The writer's file on a raw image, a file or a device, which stays as it
    is: all happens to a copy."""
    tools.require("e2fsck", "debugfs")
    with tempfile.TemporaryDirectory(prefix="check-") as folder:
        copy = pathlib.Path(folder) / "image"
        tools.run(["cp", "--sparse=always", image, copy])
        _repair(copy)
        return _read_log(copy)


def newest_in(log):
    """The number of the newest record in the writer's file, of which no slot
    may hold anything but the record that belongs there."""
    slots = [log[at:at + RECORD_SIZE] for at in range(0, len(log), RECORD_SIZE)]
    numbers = [int.from_bytes(slot[:8], "little") for slot in slots]
    newest = max(numbers)
    for slot, (n, content) in enumerate(zip(numbers, slots)):
        expected = newest - (newest - slot) % N_SLOTS
        if n != expected:
            raise Torn(f"slot {slot} holds record {n}, not {expected}; the newest is {newest}")
        if content != record(n):
            raise Torn(f"record {n} in slot {slot} is damaged")
    return newest


def check_order(newest):
    """That the newest records of the disks, in their order, are of one instant."""
    if sorted(newest, reverse=True) != list(newest) or newest[0] - newest[-1] > 1:
        raise Torn(f"not of one instant: the newest records are {newest}")


def check(images, at_least=0):
    """The newest record on each of these raw images, which must be of one
    instant, not before record `at_least` was written."""
    newest = [newest_in(log_of(image)) for image in images]
    check_order(newest)
    if newest[-1] < at_least:
        raise Torn(f"record {at_least} was written before, and the newest are {newest}")
    return newest
