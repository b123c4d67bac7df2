# SPDX-License-Identifier: LGPL-2.1-or-later
"""Two disk files, what must be true of sets that are cut of them, and faults at
every step."""

import os
import re
import subprocess

import pytest

from snaplib import cli, file_disk, filesystems, nbd, tools

SHIM = tools.BUILD / ".libs" / "fault-at-change.so"
# Far above what a run needs: a run that never survives is a failure.
LIMIT = 1000


def require():
    tools.require_root()
    if not SHIM.exists():
        tools.missing(f"{SHIM} is not built")


class Bed:
    def __init__(self, filesystem, kind, folders):
        self.filesystem, self.state = filesystem, filesystem.image.parent / "state"
        self.disks = [file_disk.FileDisk(kind, folder, 64 << 10, f"{i}.raw", self.state)
                      for i, folder in enumerate(folders)]
        for disk in self.disks:
            disk.write(0, b"x" * 10000)
        self.subvolumes = self.list_subvolumes()
        # Made beforehand, so that only the operation itself is enumerated.
        self.nbdsnap("create", "-n", "first", *self.references())
        self.nbdsnap("delete", *self.references("first"))
        assert self.is_clean()

    def references(self, point=None):
        return [disk.reference(point) for disk in self.disks]

    def nbdsnap(self, *arguments):
        """Done, perhaps with weaker consistency; a word about leftovers is fine."""
        result = cli.nbdsnap(*arguments, state=str(self.state))
        assert result.returncode in (0, 4), result.stderr
        return result

    # ---- faults ----

    def fault_at(self, n, *arguments, errno=None):
        """The result, and the call that was hit, if one was."""
        preload = ":".join([*nbd.sanitizer_libraries(), str(SHIM)])
        environment = dict(os.environ, LD_PRELOAD=preload, FAULT_AT=str(n))
        if errno is not None:
            environment["FAULT_ERRNO"] = str(errno)
        result = subprocess.run(
            cli.command(*arguments, state=str(self.state)), capture_output=True, text=True,
            timeout=60, env=environment)
        hit = re.search("^fault at (.*)$", result.stdout, re.MULTILINE)
        return result, hit and hit[1]

    def faults(self, *arguments, errno=None):
        """(N, call, result) for every fault there can be; the caller puts
        things right after each."""
        for n in range(1, LIMIT):
            result, call = self.fault_at(n, *arguments, errno=errno)
            if call is None:
                assert result.returncode in (0, 4), result.stderr
                return
            assert errno is not None or result.returncode == -9
            yield n, call, result
        pytest.fail("never survived")

    # ---- what must be true ----

    def list_subvolumes(self):
        if self.disks[0].kind != "btrfs":
            return []
        return sorted(filesystems.subvolumes(self.filesystem.path))

    def remains(self):
        return [disk.remains() for disk in self.disks]

    def journal(self):
        return os.listdir(self.state / "journal")

    def is_clean(self):
        return (not any(self.remains()) and self.list_subvolumes() == self.subvolumes
                and not self.journal() and not list((self.state / "sets").glob("*.json")))

    def listed(self):
        """The names, the same for both; half a set is never seen."""
        names = [disk.names() for disk in self.disks]
        assert names[0] == names[1], f"half a set: {names}"
        return names[0]

    def half_made(self):
        """What is in the journal (an empty lock file may stay), or a name that
        one disk has and the other has not."""
        names = [set(disk.names()) for disk in self.disks]
        return [e for e in self.journal() if not e.endswith(".lock")] + list(names[0] ^ names[1])

    def clear(self):
        """Delete what is listed: then nothing at all may be left."""
        for name in self.listed():
            self.nbdsnap("delete", *self.references(name))
        assert self.is_clean(), (self.remains(), self.list_subvolumes(), self.journal())


# ---- kinds ----

def btrfs_one():
    filesystem = filesystems.btrfs("256M")
    return Bed(filesystem, "btrfs", [filesystem.path] * 2)


def btrfs_two():
    filesystem = filesystems.btrfs("256M")
    return Bed(filesystem, "btrfs",
               [filesystems.subvolume(filesystem.path / name) for name in "ab"])


def xfs_one():
    filesystem = filesystems.xfs("320M")
    return Bed(filesystem, "reflink", [filesystem.path] * 2)


def xfs_two():
    filesystem = filesystems.xfs("320M")
    folders = [filesystem.path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    return Bed(filesystem, "reflink", folders)


BEDS = {"btrfs, one subvolume": btrfs_one, "btrfs, two subvolumes": btrfs_two,
        "XFS, one directory": xfs_one, "XFS, two directories": xfs_two}


def make(title):
    bed = BEDS[title]()
    bed.title = title
    return bed


def describe(calls):
    """A Counter of calls, as text."""
    return ", ".join(f"{n} {call}" for call, n in sorted(calls.items()))
