# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fragmented disk files on file systems on loop devices, and their snapshots."""

import contextlib
import ctypes
import json
import os
import random
import subprocess
import threading

import benchlib

BLOCK = 4096
MIB = 1 << 20
CLONE_NEWNS = 0x00020000


def may_mount():
    return os.geteuid() == 0


def _own_mounts():
    """Mounts made from here on are seen by nobody else, and the kernel undoes
    them when this process ends, however it ends."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
        raise SystemExit("bench: no mount namespace")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


class FileSystem:
    """The image is read with direct I/O: what the file system itself has not
    cached comes from the disk."""

    def __init__(self, folder, kind, size):
        self.image, self.path = folder / f"{kind}.image", folder / kind
        self.path.mkdir()
        with open(self.image, "wb") as image:
            image.truncate(size)
        subprocess.run([f"mkfs.{kind}", "-q", "-f", self.image], check=True,
                       stdout=subprocess.DEVNULL)

    def mount(self):
        device = subprocess.run(
            ["losetup", "--find", "--show", "--direct-io=on", self.image], check=True,
            stdout=subprocess.PIPE, text=True).stdout.strip()
        subprocess.run(["mount", "-o", "noatime", device, self.path], check=True)
        # It goes with the mount.
        subprocess.run(["losetup", "--detach", device], check=True)

    def unmount(self):
        subprocess.run(["umount", self.path], check=True)

    def forget(self):
        """Nothing of it is cached any more."""
        self.unmount()
        self.mount()


@contextlib.contextmanager
def mounted(folder, kind, size):
    _own_mounts()
    filesystem = FileSystem(folder, kind, size)
    filesystem.mount()
    try:
        yield filesystem
    finally:
        filesystem.unmount()


class Disk:
    """A fragmented file on a mounted file system."""

    def __init__(self, folder, filesystem, size, piece):
        self.folder, self.filesystem, self.size = folder, filesystem, size
        self.path = filesystem.path / f"{piece}.raw"
        write_fragmented(self.path, size, piece)

    def nbdsnap(self, *arguments):
        return [benchlib.NBDSNAP, f"--state-dir={self.folder / 'state'}", *arguments]

    def snapshot(self, name, *options):
        benchlib.measure(self.nbdsnap("create", "-q", *options, "-n", name, self.path),
                         self.folder)

    def diff(self, older, newer):
        return self.nbdsnap("diff", "--format=json", f"{self.path}@{older}..{newer}")

    def check(self, older, newer, changed):
        """The answer is exactly what was changed: the offsets of blocks."""
        answer = self.folder / "answer.json"
        benchlib.measure(self.diff(older, newer), self.folder, answer)
        found = [at for extent in json.loads(answer.read_text())["extents"]
                 for at in range(extent["offset"], extent["offset"] + extent["length"],
                                 BLOCK)]
        if found != list(changed):
            raise SystemExit(f"bench: {older}..{newer}: the diff is not what was changed")

    def run(self, command, cold=False):
        if cold:
            self.filesystem.forget()
        return benchlib.measure(command, self.folder)

    def alternate(self, first, second, runs, cold=False):
        return benchlib.alternate(lambda: self.run(first, cold),
                                  lambda: self.run(second, cold), runs)


def times(usages):
    """Medians: time that passed, and time of the CPU."""
    usages = list(usages)
    seconds = benchlib.median(usage.seconds for usage in usages)
    cpu = benchlib.median(usage.cpu for usage in usages)
    return f"{seconds * 1000:.1f} ms ({cpu * 1000:.0f} CPU)"


def _rounds(n_pieces, n_rounds, dice):
    """Each piece once; of n_rounds neighbours each is in another round."""
    rounds = [[] for _ in range(n_rounds)]
    for first in range(0, n_pieces, n_rounds):
        order = dice.sample(range(n_rounds), n_rounds)
        for index in range(min(n_rounds, n_pieces - first)):
            rounds[order[index]].append(first + index)
    return rounds


def write_fragmented(path, size, piece, n_rounds=16):
    """A file that grew the way a guest fills its disk: pieces in no order, each
    an extent of its own."""
    dice = random.Random(size)
    content = dice.randbytes(MIB)
    syncing = None
    with open(path, "wb") as file:
        file.truncate(size)
        for pieces in _rounds(size // piece, n_rounds, dice):
            for index in pieces:
                start = index * 4567 % (MIB - piece)
                os.pwrite(file.fileno(), content[start:start + piece], index * piece)
            if syncing:
                syncing.join()
            syncing = threading.Thread(target=os.fdatasync, args=(file.fileno(),))
            syncing.start()
        syncing.join()


def change_blocks(path, size, n_changes):
    """Write to so many blocks anywhere; their offsets."""
    dice = random.Random(n_changes)
    offsets = [block * BLOCK for block in sorted(dice.sample(range(size // BLOCK), n_changes))]
    content = dice.randbytes(BLOCK)
    with open(path, "r+b") as file:
        for offset in offsets:
            os.pwrite(file.fileno(), content, offset)
        os.fsync(file.fileno())
    return offsets


def punch(path, offset, length):
    subprocess.run(["fallocate", "--punch-hole", "--offset", str(offset), "--length",
                    str(length), path], check=True)
    return range(offset, offset + length, BLOCK)
