# SPDX-License-Identifier: LGPL-2.1-or-later
"""A disk file for one trap: a change that metadata may hide.

A trap is a generator that is handed a new disk.  Wherever it yields a snapshot
is cut, and its content noted; what comes after the last one looks at what was
made of it.
"""

import concurrent.futures
import inspect
import json
import pathlib
import random
import shutil
import subprocess

from snaplib import file_disk, filesystem_history, files, oracle, tools
from snaplib.filesystem_history import Setup
from snaplib.qcow2_history import MIB, Point

BLOCK = 4096
LARGE_PAGE = 2 * MIB // BLOCK  # as large as the kernel makes one
SYNCED = 1  # FIEMAP_FLAG_SYNC
TOP_OF_SUBVOLUME = 256  # its inode number

# With the privilege to search a tree, and without: then FIEMAP tells.
BY_TREE, BY_MAP = "", " by map"
PREFIXES = {
    BY_TREE: (),
    BY_MAP: ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"),
}

PLACES = {setup.name: setup for setup in (
    Setup("btrfs", "btrfs"),
    Setup("hole items", "btrfs", mkfs=("-O", "^no-holes")),
    Setup("compressed", "btrfs", options=("compress-force=zstd",)),
    Setup("nodatacow", "btrfs", nodatacow=True),
    Setup("small leaves", "btrfs", mkfs=("-n", "4096")),
    Setup("XFS", "xfs"),
)}
BTRFS = ("btrfs", "hole items", "compressed", "nodatacow", "small leaves")
EVERYWHERE = (*BTRFS, "XFS")
WITH_LIVE = ("btrfs", "nodatacow", "XFS")  # where the live file is compared too


class Trap:
    def __init__(self, play, places, more, size):
        self.play, self.places, self.size = play, places, size
        self.more = more if isinstance(more, dict) else dict.fromkeys(places, more)
        self.name = play.__name__.replace("_", " ")


def trap(more=0, on=EVERYWHERE, size=2 * MIB):
    """`more` is how many blocks may be reported though they are the same: a
    number, or one for each place where it is not 0."""
    def make(play):
        assert inspect.isgeneratorfunction(play)
        return Trap(play, on, more, size)
    return make


def all_of(module):
    return [value for value in vars(module).values() if isinstance(value, Trap)]


class Judged:
    """One diff: what was reported, how many blocks of 512 bytes it missed, and
    what is wrong with it."""

    def __init__(self, a, b):
        self.a, self.b = a, b
        self.answer, self.missed, self.faults = None, 0, []

    def blame(self, fault):
        self.faults.append(f"{self.a}..{self.b}: {fault}")


class TrapDisk(file_disk.FileDisk):
    """Full of data, unless it is of no size."""

    def __init__(self, setup, folder, state, size):
        super().__init__("btrfs" if setup.kind == "btrfs" else "reflink", folder, 0,
                         state=state)
        self.setup, self.size = setup, size
        self.rng = random.Random(size)
        self.more, self.points = 0, []
        self.other = folder / "other.raw"
        self.other.touch()
        if setup.nodatacow:
            files.set_nodatacow(self.path)
            files.set_nodatacow(self.other)
        self.resize(size)
        self.noise(0, size)
        self.other.write_bytes(self.data(MIB))
        self.sync()

    def data(self, length):
        """No two blocks are alike, and all can be compressed."""
        blocks = [self.rng.randbytes(16).hex().encode() * (BLOCK // 32)
                  for _ in range(-(-length // BLOCK))]
        return b"".join(blocks)[:length]

    def noise(self, offset, length=BLOCK):
        self.write(offset, self.data(length))

    def again(self, offset, length):
        """Write what is there."""
        self.write(offset, self.content()[offset:offset + length])

    def sync(self):
        tools.run(["sync", "--file-system", self.folder])

    def preallocate(self, offset, length):
        self.fallocate(files.KEEP_SIZE, offset, length)

    def zero_range(self, offset, length):
        self.fallocate(files.ZERO_RANGE | files.KEEP_SIZE, offset, length)

    def clone(self, to, source, offset, length):
        """Share the blocks of another file, or of this one."""
        with open(source, "rb") as giver, open(self.path, "r+b") as taker:
            files.clone_range(taker.fileno(), to, giver.fileno(), offset, length)

    def shred(self, odd_first=False):
        """Make an extent of every block."""
        for odd in (1, 0) if odd_first else (0, 1):
            for block in range(odd, self.size // BLOCK, 2):
                self.noise(block * BLOCK)
            self.sync()

    def flags(self, point=None):
        """All FIEMAP flags that any extent has; a set of bits."""
        found = 0
        path = self.path if point is None else self.snapshot_path(point)
        for extent in files.fiemap(path, SYNCED):
            found |= extent[3]
        return found

    # ---- cutting and judging ----

    def cut(self, name):
        self.snapshot(name)
        self.points.append(name)

    def play(self, trap):
        self.more = trap.more.get(self.setup.name, 0)
        for _ in trap.play(self):
            self.cut(f"s{len(self.points) + 1}")
        live, last = self.content(), self.truth[self.points[-1]]
        self.truth["live"] = last if live == last else live
        return self

    def pairs(self, how=BY_TREE):
        """What is compared: every two snapshots forwards; backwards too, but by
        a map only all the way; and the live file, which takes privileges."""
        forwards = [(a, b) for i, b in enumerate(self.points) for a in self.points[:i]]
        if how == BY_MAP:
            return [*forwards, (self.points[-1], self.points[0])]
        live = [(self.points[0], "live")] if self.setup.name in WITH_LIVE else []
        return [*forwards, *((b, a) for a, b in forwards), *live]

    def is_forwards(self, a, b):
        """And says something new: the live file is the last snapshot's again,
        unless it was written to after that."""
        if b == "live":
            return self.truth[b] is not self.truth[self.points[-1]]
        return self.points.index(a) < self.points.index(b)

    def point(self, name):
        content = self.truth[name]
        # As if nothing had been touched: what is reported and the same is more.
        return Point(name, len(content), content, [0] * -(-len(content) // BLOCK))

    def ask(self, a, b, program=None, how=BY_TREE):
        command = [*PREFIXES[how], program or tools.nbdsnap(), "--state-dir", self.state, "-q",
                   "diff", "--json", self.reference(f"{a}..{b}")]
        return subprocess.run([str(word) for word in command], capture_output=True, text=True,
                              timeout=60)

    def allowed(self, to, source):
        """How many blocks may be reported that are the same.  Of what is
        compressed a map gives one place for all parts: that proves nothing, and
        all of it is reported."""
        if source == "fiemap" and self.setup.name == "compressed":
            return -(-len(self.truth[to]) // BLOCK)
        return self.more

    def judge(self, a, b, program=None, how=BY_TREE):
        judged = Judged(a, b)
        result = self.ask(a, b, program, how)
        if result.returncode != 0:
            judged.blame(f"{result.returncode}: {result.stderr}")
            return judged
        judged.answer = json.loads(result.stdout)
        verdict = oracle.judge(result.stdout, self.point(a), self.point(b), BLOCK)
        judged.missed = verdict.missed
        for fault in verdict.faults:
            judged.blame(fault)
        if verdict.missed:
            judged.blame(f"missed {verdict.missed} blocks of {oracle.BLOCK}")
        if verdict.unexplained > self.allowed(b, judged.answer["source"]):
            judged.blame(f"{verdict.unexplained} blocks too many")
        return judged

    def judge_all(self, how=BY_TREE):
        """Two at a time: they do not wait for each other."""
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            return list(pool.map(lambda pair: self.judge(*pair, how=how), self.pairs(how)))

    def changed_bytes(self, a, b):
        """In whole blocks, but for the end."""
        return sum(min(BLOCK, len(self.truth[b]) - at) for at in self.changed(a, b))


class Places:
    """The file systems, each made when it is first asked for."""

    def __init__(self, folder):
        self.folder, self.made, self.n = pathlib.Path(folder), {}, 0

    def filesystem(self, name):
        if name not in self.made:
            self.made[name] = filesystem_history.make_filesystem(PLACES[name], self.folder)
        return self.made[name]

    def disk(self, name, size=2 * MIB):
        self.n += 1
        folder = filesystem_history.make_folder(
            PLACES[name], self.filesystem(name), f"disk-{self.n}")
        disk = TrapDisk(PLACES[name], folder, self.folder / "state", size)
        disk.filesystem = self.filesystem(name)
        return disk

    def remove(self, disk):
        if disk.kind == "reflink":
            shutil.rmtree(disk.folder)
            return
        inner = [p for p in (*disk.folder.iterdir(), *disk.folder.glob(".nbdsnap/*"))
                 if p.is_dir() and p.stat().st_ino == TOP_OF_SUBVOLUME]
        tools.run(["btrfs", "subvolume", "delete", *inner, disk.folder])

    def unmount(self):
        for filesystem in self.made.values():
            filesystem.unmount()
