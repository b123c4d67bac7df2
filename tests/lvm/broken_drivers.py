# SPDX-License-Identifier: LGPL-2.1-or-later
"""Judge programs whose LVM driver is broken.  tests/py/test_lvm_mutants.py
builds them, where that is quick, and has this run where LVM works, from the
folder they are in.  Each must be caught by the bytes of a short history.
"""

import os
import pathlib

import pytest

from snaplib import lvm, lvm_history, tools
from snaplib import lvm_judge as judge
from snaplib.lvm_history import KIB, MIB, SECTOR, Setup
from snaplib.lvm_sets import SIZE, stamps, Stamper, torn

PROGRAMS = sorted(pathlib.Path(__file__).parent.glob("nbdsnap-*"))
CHUNK = 256 * KIB
TRIES = 40  # at most, until a set is torn


def broken(kind):
    return {program.name: program for program in PROGRAMS
            if program.name.startswith(f"nbdsnap-{kind}-")}


class Thin(lvm_history.ThinBed):
    """Two disks over two bases; one loses what hid its base."""

    setup = Setup("thin", CHUNK, size=8 * CHUNK, disks=2, external=True)

    def play(self):
        self.make()
        disk, other = self.disks
        for at in (0, CHUNK, 6 * CHUNK):
            disk.write(at, b"a" * SECTOR)
            other.write(at, b"b" * SECTOR)
        self.cut_named("a")
        disk.write(3 * CHUNK, b"c" * SECTOR)
        disk.write(disk.size - SECTOR, b"c" * SECTOR)
        disk.ioctl(lvm.BLKDISCARD, 0, CHUNK)


class Classic(lvm_history.ClassicBed):
    """Cut by us and by somebody else in turn."""

    setup = Setup("classic", 4 * KIB, kind="classic", disks=1)

    def play(self):
        self.make()
        disk, = self.disks
        for name, chunks in (("a", (1, 2, 3)), ("b", (3, 4)), ("theirs", (9,)), ("c", (5, 1))):
            for at in chunks:
                disk.write(at * 32 * KIB, os.urandom(SECTOR))
            self.cut_by_other() if name == "theirs" else self.cut_named(name)
        disk.write(2 * MIB, os.urandom(4 * KIB))
        disk.write(0, os.urandom(SECTOR))


def faults(bed, pair, program=None):
    return judge.judge_pair(bed, *pair, program)[0].faults


@pytest.mark.parametrize("kind, name", [(Thin, "thin"), (Classic, "classic")])
def test_every_broken_diff_is_caught(kind, name, tmp_path):
    with kind(7, kind.setup, tmp_path, 0) as bed:
        bed.play()
        points = [(disk, p) for disk in bed.disks for p in [*disk.points, disk.live()]]
        pairs = [(a, b) for a in points for b in points if a is not b]
        assert not [fault for pair in pairs for fault in faults(bed, pair)]
        for program in broken(name):
            if any(faults(bed, pair, broken(name)[program]) for pair in pairs):
                print(f"CAUGHT {program}")


def test_without_the_suspend_a_set_is_torn(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (name, program), = broken("sets").items()
    with lvm.Group(tmp_path, size=400 * MIB) as group:
        pool = group.pool(size=128 * MIB)
        volumes = [pool.volume("first", SIZE), pool.volume("second-1", SIZE)]
        references = [f"lvm:{volume.reference}" for volume in volumes]
        with Stamper(volumes):
            for n in range(1, TRIES + 1):
                tools.run([program, "--state-dir", "state", "create", "-n", f"set{n}",
                           *references])
                pair, = stamps(group, [f"set{n}"], volumes).values()
                if torn(pair):
                    print(f"TABLE sets cut without the suspend: {n} until one was torn")
                    print(f"CAUGHT {name}")
                    return
