# SPDX-License-Identifier: LGPL-2.1-or-later
"""Random histories of a disk file on a real file system, with the truth taken
at every cut.

A history is a seed.  The truth of a point is the content of the file when it
was cut; nobody writes then.  As in qcow2_history every point also carries the
version of each block: what has one version in two points was not touched
between them, and what is reported there is more than had to be.
"""

import errno
import os
import random

from snaplib import files, filesystems, tools
from snaplib.qcow2_history import KIB, MIB, Point

BLOCK = 4 * KIB


class Setup:
    """One kind of file system, and what it can do."""

    def __init__(self, name, kind, mkfs=(), options=(), nodatacow=False, ghosts=False,
                 fragmented=False, extra=()):
        self.name, self.kind, self.mkfs, self.options = name, kind, mkfs, options
        self.nodatacow = nodatacow
        self.fragmented = fragmented  # large, and every block an extent of its own
        # Data is written that nobody touched: moved elsewhere, or because a
        # mapped page may be larger than a block.  Then more is reported.
        self.ghosts = ghosts
        self.extra = extra
        self.cluster = BLOCK

    def allowed(self, before, after):
        """How many blocks may be reported though nobody touched them."""
        if self.ghosts:
            return len(after.versions)
        # The last block may be written again to clear what is behind the end.
        return 1 if before.size % BLOCK or after.size % BLOCK else 0

    def __str__(self):
        return self.name


SETUPS = (
    Setup("btrfs", "btrfs", extra=("dedupe snapshot",)),
    Setup("btrfs, compressed", "btrfs", options=("compress=zstd",), ghosts=True),
    Setup("btrfs, all compressed", "btrfs", options=("compress-force=lzo",), ghosts=True),
    Setup("btrfs, nodatacow", "btrfs", nodatacow=True),
    Setup("btrfs, hole items", "btrfs", mkfs=("-O", "^no-holes")),
    Setup("btrfs, autodefrag", "btrfs", options=("autodefrag", "commit=1"), ghosts=True),
    Setup("btrfs, moved", "btrfs", ghosts=True,
          extra=("balance", "defragment", "dedupe", "dedupe snapshot", "write mapped")),
    # Small leaves, so that there are many: most of the tree is never touched.
    Setup("btrfs, many extents", "btrfs", mkfs=("-n", "4096"), fragmented=True,
          extra=("punch much",) * 8),
    Setup("btrfs, many, hole items", "btrfs", mkfs=("-n", "4096", "-O", "^no-holes"),
          fragmented=True, extra=("punch much", "clone much", "balance")),
    Setup("XFS, many extents", "xfs", fragmented=True, extra=("punch much", "clone much")),
    Setup("XFS", "xfs", extra=("insert", "collapse")),
    Setup("XFS, moved", "xfs", ghosts=True, extra=("insert", "collapse", "dedupe", "write mapped")),
)

OPERATIONS = (
    "write", "write", "write", "write", "write direct", "same", "same",
    "zeroes as data", "punch", "punch", "zero range", "preallocate", "write preallocated",
    "clone inside", "clone from other", "sync")


class History:
    def __init__(self, seed, setup, folder, steps, state):
        """`folder` is new, on the file system; a subvolume on btrfs."""
        self.rng = random.Random(seed)
        self.setup, self.folder, self.steps, self.state = setup, folder, steps, state
        self.size = 0
        self.disk = folder / "disk.raw"
        self.other = folder / "other.raw"
        self.clock = self.n_names = 0
        self.points, self.events, self.refused = [], {}, {}
        self.preallocated = []
        self.make()

    def make(self):
        self.disk.touch()
        self.other.touch()
        if self.setup.nodatacow:
            files.set_nodatacow(self.disk)
            files.set_nodatacow(self.other)
        self.other.write_bytes(self.rng.randbytes(MIB))
        self.versions = []
        self.set_size(self.rng.choice((1000, 3 * KIB, 64 * KIB, MIB, 2 * MIB, 4 * MIB)))
        if self.setup.fragmented:
            self.fragment()
        for _ in range(3):
            self.operation("write")

    def fragment(self):
        """Blocks of the other file in random order, with a hole now and then."""
        self.set_size(16 * MIB)
        to = os.open(self.disk, os.O_RDWR)
        source = os.open(self.other, os.O_RDONLY)
        for offset in range(0, self.size, BLOCK):
            if self.rng.random() < 0.97:
                at = self.rng.randrange(MIB // BLOCK) * BLOCK
                files.clone_range(to, offset, source, at, BLOCK)
        os.close(source)
        os.close(to)

    def note(self, event):
        self.events[event] = self.events.get(event, 0) + 1

    # ---- versions ----

    def granules(self, size):
        return -(-size // BLOCK)

    def touch(self, offset, end):
        self.clock += 1
        first, last = offset // BLOCK, self.granules(min(end, self.size))
        self.versions[first:last] = [self.clock] * max(0, last - first)

    def set_size(self, size):
        os.truncate(self.disk, size)
        self.clock += 1
        keep = min(self.size, size) // BLOCK
        self.size = size
        del self.versions[keep:]
        self.versions += [self.clock] * (self.granules(size) - keep)

    # ---- operations ----

    def place(self):
        unit = self.rng.choice((1, 512, BLOCK, BLOCK, 4 * BLOCK, 64 * KIB))
        offset = self.rng.randrange(max(1, self.size)) // unit * unit
        length = unit * self.rng.choice((1, 1, 2, 5)) if unit > 1 else self.rng.randrange(1, 9000)
        return offset, length

    def noise(self, length):
        """Compressible now and then."""
        if self.rng.random() < 0.4:
            return (self.rng.randbytes(16) * (length // 16 + 1))[:length]
        return self.rng.randbytes(length)

    def blocks(self, offset, length):
        """The range in whole blocks, inside the size; perhaps empty."""
        start = offset // BLOCK * BLOCK
        end = min(-(-(offset + length) // BLOCK) * BLOCK, self.size // BLOCK * BLOCK)
        return start, max(0, end - start)

    def write(self, offset, data):
        end = offset + len(data)
        if end > self.size:
            self.set_size(end)
        with open(self.disk, "r+b") as file:
            file.seek(offset)
            file.write(data)
        self.touch(offset, end)

    def read(self, offset, length):
        with open(self.disk, "rb") as file:
            file.seek(offset)
            return file.read(length)

    def operation(self, kind):
        offset, length = self.place()
        fd = os.open(self.disk, os.O_RDWR)
        try:
            getattr(self, "do_" + kind.replace(" ", "_"))(fd, offset, length)
            self.note(kind)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
            key = f"{kind}: {os.strerror(error.errno)}"
            self.refused[key] = self.refused.get(key, 0) + 1
        finally:
            os.close(fd)

    def do_write(self, fd, offset, length):
        self.write(offset, self.noise(length))

    def do_write_direct(self, fd, offset, length):
        start, length = self.blocks(offset, length)
        if length:
            files.write_direct(self.disk, start, self.noise(length))
            self.touch(start, start + length)

    def do_write_mapped(self, fd, offset, length):
        length = min(length, self.size - offset)
        if length > 0:
            files.write_mapped(self.disk, offset, self.noise(length))
            self.touch(offset, offset + length)

    def do_same(self, fd, offset, length):
        self.write(offset, self.read(offset, min(length, max(0, self.size - offset))))

    def do_zeroes_as_data(self, fd, offset, length):
        self.write(offset, bytes(length))

    def do_punch(self, fd, offset, length):
        files.fallocate(fd, files.PUNCH_HOLE | files.KEEP_SIZE, offset, length)
        self.touch(offset, offset + length)

    def do_zero_range(self, fd, offset, length):
        files.fallocate(fd, files.ZERO_RANGE | files.KEEP_SIZE, offset, length)
        self.touch(offset, offset + length)

    def do_preallocate(self, fd, offset, length):
        """Reads as it did; may turn a hole into blocks, also past the end."""
        files.fallocate(fd, files.KEEP_SIZE, offset, length)
        self.preallocated.append((offset, length))

    def do_write_preallocated(self, fd, offset, length):
        if self.preallocated:
            offset, length = self.rng.choice(self.preallocated)
            offset += self.rng.randrange(max(1, length))
            self.write(offset, self.noise(self.rng.randrange(1, 5000)))

    def do_clone_inside(self, fd, offset, length):
        start, length = self.blocks(offset, length)
        to = self.rng.randrange(max(1, self.size)) // BLOCK * BLOCK
        length = min(length, (self.size - to) // BLOCK * BLOCK, abs(to - start))
        if length > 0:
            files.clone_range(fd, to, fd, start, length)
            self.touch(to, to + length)

    def do_clone_from_other(self, fd, offset, length):
        to = offset // BLOCK * BLOCK
        length = max(BLOCK, min(length // BLOCK * BLOCK, 512 * KIB))
        if to + length > self.size:
            self.set_size(to + length)
        source = os.open(self.other, os.O_RDONLY)
        try:
            files.clone_range(fd, to, source,
                              self.rng.randrange(MIB // 2) // BLOCK * BLOCK, length)
        finally:
            os.close(source)
        self.touch(to, to + length)

    def do_punch_much(self, fd, offset, length):
        """Also all of a leaf, whose borders nobody knows from here."""
        self.do_punch(fd, offset // BLOCK * BLOCK, self.rng.randrange(1, 500) * BLOCK)

    def do_clone_much(self, fd, offset, length):
        for _ in range(self.rng.randrange(1, 60)):
            self.do_clone_from_other(fd, self.rng.randrange(self.size), BLOCK)

    def do_sync(self, fd, offset, length):
        os.fsync(fd) if self.rng.random() < 0.5 else os.sync()

    def do_insert(self, fd, offset, length):
        start, length = self.blocks(offset, max(length, BLOCK))
        if length and start < self.size and self.size + length < 16 * MIB:
            files.fallocate(fd, files.INSERT_RANGE, start, length)
            self.size += length
            self.clock += 1
            first = start // BLOCK
            self.versions[first:] = [self.clock] * (self.granules(self.size) - first)

    def do_collapse(self, fd, offset, length):
        start, length = self.blocks(offset, max(length, BLOCK))
        if length and start + length < self.size:
            files.fallocate(fd, files.COLLAPSE_RANGE, start, length)
            self.size -= length
            self.clock += 1
            first = start // BLOCK
            self.versions[first:] = [self.clock] * (self.granules(self.size) - first)

    def do_defragment(self, fd, offset, length):
        tools.run(["btrfs", "filesystem", "defragment", self.disk])

    def do_balance(self, fd, offset, length):
        tools.run(["btrfs", "balance", "start", "--full-balance", self.folder])

    def do_dedupe(self, fd, offset, length):
        """Write what is somewhere else, and share it."""
        start, length = self.blocks(offset, max(length, 2 * BLOCK))
        to = self.rng.randrange(max(1, self.size)) // BLOCK * BLOCK
        length = min(length, (self.size - to) // BLOCK * BLOCK, abs(to - start))
        if length > 0:
            self.write(to, self.read(start, length))
            files.dedupe(fd, start, length, fd, to)

    def do_dedupe_snapshot(self, fd, offset, length):
        """A snapshot shares what the live file has: its lineage tells nothing any more."""
        if not self.points:
            return
        point = self.rng.choice(self.points)
        start, length = self.blocks(offset, max(length, BLOCK))
        length = max(0, min(length, (point.size - start) // BLOCK * BLOCK))
        if self.read(start, length) == point.content[start:start + length]:
            with open(self.snapshot_path(point.name), "rb") as snapshot:
                files.dedupe(fd, start, length, snapshot.fileno(), start)
            self.clock += 1
            first = start // BLOCK
            point.versions[first:first + length // BLOCK] = [self.clock] * (length // BLOCK)

    # ---- what happens between bursts ----

    def reference(self):
        path = str(self.disk).replace("%", "%25").replace("@", "%40").replace("#", "%23")
        return f"{'btrfs' if self.setup.kind == 'btrfs' else 'reflink'}:{path}"

    def nbdsnap(self, *arguments):
        return tools.run([tools.nbdsnap(), "--state-dir", self.state, "-q", *arguments])

    def cut(self, name):
        return Point(name, self.size, self.disk.read_bytes(), list(self.versions))

    def snapshot(self):
        self.n_names += 1
        name = f"s{self.n_names}"
        self.nbdsnap("create", "-n", name, self.reference())
        self.points.append(self.cut(name))
        self.note("snapshot")

    def delete(self):
        if self.points:
            point = self.points.pop(self.rng.randrange(len(self.points)))
            self.nbdsnap("delete", f"{self.reference()}@{point.name}")
            self.note("delete")

    def resize(self):
        size = self.rng.choice((
            self.size // 2, self.size * 3 // 4, self.size - 1, self.size + 1, self.size * 5 // 4,
            self.size + BLOCK, self.rng.randrange(6 * MIB), self.rng.randrange(3000)))
        size = max(1, min(size, 8 * MIB))
        self.note("grow" if size > self.size else "shrink")
        self.set_size(size)

    def run(self):
        kinds = OPERATIONS + self.setup.extra
        for _ in range(self.steps):
            for _ in range(self.rng.randrange(1, 6)):
                self.operation(self.rng.choice(kinds))
            what = self.rng.random()
            if what < 0.5 and len(self.points) < 6:
                self.snapshot()
            elif what < 0.6:
                self.delete()
            elif what < 0.75:
                self.resize()
        return self

    def all_points(self):
        points = {p.name: p for p in self.points}
        points["live"] = self.cut("live")
        points["empty"] = Point("empty", 0, b"", [])
        return points

    def snapshot_path(self, name):
        """Where the bytes of a snapshot lie."""
        shelf = self.folder / ".nbdsnap"
        if self.setup.kind == "btrfs":
            return next(p for p in shelf.glob(f"{name}.nbdsnap-*") if p.is_dir()) / "disk.raw"
        return next((shelf / "disk.raw").glob(f"{name}.nbdsnap-*"))


def make_filesystem(setup, folder=None):
    if setup.kind == "btrfs":
        return filesystems.btrfs("2G", setup.mkfs, setup.options, folder=folder)
    return filesystems.xfs("512M", setup.mkfs, setup.options, folder=folder)


def make_folder(setup, filesystem, name):
    if setup.kind == "btrfs":
        return filesystems.subvolume(filesystem.path / name)
    (filesystem.path / name).mkdir()
    return filesystem.path / name
