# SPDX-License-Identifier: LGPL-2.1-or-later
"""Random histories of logical volumes, with the truth taken at every cut.

A program costs far more than a write where these run.  So several disks live
in one pool side by side, each a history of its own, and are cut by one command
as one set.  The truth of a point is what the disk held when it was cut, or,
where somebody wrote meanwhile, what its snapshot holds.

As in qcow2_history every point also carries the version of each chunk: what
has one version in two points was not touched between them.
"""

import fcntl
import os
import random
import struct

from snaplib import lvm, lvm2, ordered_writer, tools

KIB, MIB = 1 << 10, 1 << 20
SECTOR = 512
EXTENT = 64 * KIB
BLKZEROOUT = 0x127F

# The first blocks of a disk belong to who writes while it is cut.
WRITER_BLOCKS = 32
WRITER_SIZE = WRITER_BLOCKS * ordered_writer.BLOCK


class Setup:
    def __init__(self, name, chunk, options=(), size=4 * MIB, disks=3, kind="thin",
                 external=False, scattered=0, steps=None):
        self.name, self.chunk, self.options = name, chunk, options
        self.size, self.disks, self.kind = size, disks, kind
        self.external = external  # over a volume outside of the pool
        self.scattered = scattered  # chunks mapped at first: several leaves
        self.steps = steps

    def __str__(self):
        return self.name


THIN_SETUPS = (
    Setup("thin, 64 KiB", 64 * KIB),
    Setup("thin, 64 KiB, many chunks", 64 * KIB, size=40 * MIB, disks=1, scattered=500),
    Setup("thin, 128 KiB, not zeroed", 128 * KIB, options=("-Zn",)),
    Setup("thin, 192 KiB", 192 * KIB, options=("--discards", "nopassdown")),
    Setup("thin, 256 KiB, over a base", 256 * KIB, external=True),
    Setup("thin, 64 KiB, over a base", 64 * KIB, external=True),
    Setup("thin, 512 KiB", 512 * KIB, size=6 * MIB),
    Setup("thin, 1 MiB", 1 * MIB, size=10 * MIB),
)
CLASSIC_SETUPS = (Setup("classic", 4 * KIB, kind="classic", disks=2),)


class Point:
    """What a disk was when it was cut."""

    def __init__(self, name, size, content, versions):
        self.name, self.size, self.content, self.versions = name, size, content, versions
        self.volume = None  # the name of its own logical volume
        self.thin_id = None
        self.moments = None  # (writer, fewest, most writes that were done)


class Disk:
    """One logical volume through its history, and what became of its points."""

    def __init__(self, bed, name):
        self.bed, self.setup, self.rng = bed, bed.setup, bed.rng
        self.name, self.size = name, bed.setup.size
        self.points, self.orphans = [], []
        self.versions = [0] * self.n_chunks()
        self.base = None

    @property
    def path(self):
        return f"/dev/{self.bed.group.name}/{self.name}"

    @property
    def location(self):
        return f"{self.bed.group.name}/{self.name}"

    def n_chunks(self):
        return -(-self.size // self.setup.chunk)

    def read(self, offset, length):
        return lvm.read_direct(self.path, offset, length)

    def content(self):
        return lvm.content(self.path)

    # ---- versions ----

    def touch(self, offset, end):
        now, chunk = self.bed.tick(), self.setup.chunk
        for index in range(offset // chunk, -(-end // chunk)):
            self.versions[index] = now

    def set_size(self, size):
        """What is after the smaller end is as good as written."""
        keep = min(size, self.size) // self.setup.chunk
        self.size = size
        self.versions = self.versions[:keep] + [self.bed.tick()] * (self.n_chunks() - keep)

    # ---- operations ----

    def place(self, most=None):
        """Whole sectors, out of the writer's way: small, or chunks and more."""
        chunk = self.setup.chunk
        offset = self.rng.randrange(WRITER_SIZE, self.size) // SECTOR * SECTOR
        length = self.rng.choice((SECTOR, SECTOR, 4 * KIB, chunk // 2, chunk, 2 * chunk + SECTOR))
        if self.rng.random() < 0.3:
            offset = max(offset // chunk * chunk, WRITER_SIZE)
        return offset, min(length, most or length, self.size - offset)

    def operation(self, kind):
        getattr(self, "do_" + kind.replace(" ", "_"))()
        self.bed.note(kind)

    def write(self, offset, data):
        lvm.write_direct(self.path, offset, data)
        self.touch(offset, offset + len(data))

    def ioctl(self, request, offset, length):
        fd = os.open(self.path, os.O_WRONLY)
        try:
            fcntl.ioctl(fd, request, struct.pack("=QQ", offset, length))
        finally:
            os.close(fd)
        self.touch(offset, offset + length)

    def do_write(self):
        offset, length = self.place()
        self.write(offset, self.rng.randbytes(length))

    def do_scatter(self):
        for _ in range(self.rng.randrange(2, 30)):
            offset, length = self.place(SECTOR)
            self.write(offset, self.rng.randbytes(length))

    def do_scatter_much(self):
        """More than one area of an exception store holds."""
        for _ in range(300):
            offset, length = self.place(SECTOR)
            self.write(offset, self.rng.randbytes(length))

    def do_same(self):
        offset, length = self.place()
        self.write(offset, self.read(offset, length))

    def do_zeroes_as_data(self):
        offset, length = self.place()
        self.write(offset, bytes(length))

    def do_zero_out(self):
        self.ioctl(BLKZEROOUT, *self.place())

    def do_discard(self):
        """Whole chunks, or what is not: of that the pool drops what it can."""
        offset, length = self.place()
        if self.rng.random() < 0.7:
            chunk = self.setup.chunk
            offset = -(-max(offset, WRITER_SIZE) // chunk) * chunk
            length = min(self.rng.randrange(1, 6) * chunk, self.size - offset)
        if length > 0:
            self.ioctl(lvm.BLKDISCARD, offset, length)

    def do_discard_and_write(self):
        chunk = self.setup.chunk
        offset = -(-self.rng.randrange(WRITER_SIZE, self.size) // chunk) * chunk
        if offset + chunk <= self.size:
            self.ioctl(lvm.BLKDISCARD, offset, chunk)
            at = offset + self.rng.randrange(chunk // SECTOR) * SECTOR
            self.write(at, self.rng.randbytes(SECTOR))

    # ---- points ----

    def add_point(self, name):
        point = Point(name, self.size, self.content(), list(self.versions))
        self.points.append(point)
        return point

    def live(self):
        point = Point("live", self.size, self.content(), list(self.versions))
        point.volume = self.name
        return point

    def reference(self, point):
        """How to say it: the points of a disk that is gone are volumes."""
        if point in self.orphans:
            return f"lvm:{self.bed.group.name}/{point.volume}@live"
        return f"lvm:{self.location}@{point.name}"


class Bed:
    """A volume group with disks of one setup in it."""

    most_points = 3  # then some are deleted

    operations = ("write", "write", "write", "scatter", "same", "zeroes as data",
                  "zero out", "discard", "discard", "discard and write")

    def __init__(self, seed, setup, folder, steps):
        self.rng = random.Random(seed)
        self.setup, self.folder, self.steps = setup, folder, setup.steps or steps
        self.events, self.clock, self.n_names, self.n_lost = {}, 0, 0, 0
        self.server = lvm2.Server(folder).__enter__()
        self.group = lvm.Group(folder, size=700 * MIB, name=f"hist-{seed}", extent=EXTENT)
        self.free_names, self.thin_ids = [], set()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.__exit__()
        self.group.close()

    def note(self, event, n=1):
        self.events[event] = self.events.get(event, 0) + n

    def tick(self):
        self.clock += 1
        return self.clock

    def lvm(self, command, *arguments):
        lvm.command(command, "-q", "-q", "-y", *arguments)

    def nbdsnap(self, *arguments, program=None, code=0):
        result = lvm.attempt(program or tools.nbdsnap(), "--state-dir", self.folder / "state",
                             "-q", *arguments)
        assert result.returncode == code, (arguments, result.returncode, result.stderr)
        return result.stdout

    def names(self, points):
        return [f"{self.group.name}/{point.volume}" for point in points]

    # ---- cutting ----

    def new_name(self):
        if self.free_names and self.rng.random() < 0.6:
            self.note("name used again")
            return self.free_names.pop()
        self.n_names += 1
        return f"s{self.n_names}"

    def cut(self):
        """One set of all disks; some are written to meanwhile."""
        name, busy = self.new_name(), {}
        try:
            for disk in self.disks:
                if self.rng.random() < 0.4:
                    busy[disk] = self.start_writer(disk)
            before = {disk: writer.n_done() for disk, writer in busy.items()}
            self.create(name)
            after = {disk: writer.n_done() for disk, writer in busy.items()}
        finally:
            for writer in busy.values():
                writer.stop()
        for disk in self.disks:
            self.add_point(disk, name, busy.get(disk), before.get(disk), after.get(disk))
        self.find_volumes()
        self.note("set cut")
        self.note("cut while written to", len(busy))
        self.note("writes meanwhile", sum(after.values()) - sum(before.values()))

    def cut_named(self, name):
        self.create(name)
        for disk in self.disks:
            disk.add_point(name)
        self.find_volumes()

    def create(self, name):
        """Several classic ones cannot be cut at one instant, and that is said."""
        weaker = self.setup.kind == "classic" and len(self.disks) > 1
        self.nbdsnap("create", "-n", name, *(f"lvm:{disk.location}" for disk in self.disks),
                     code=4 if weaker else 0)

    def add_point(self, disk, name, writer, before, after):
        """A disk that was written to is not what it was, neither before the
        cut nor after it."""
        if writer:
            disk.touch(0, WRITER_SIZE)
        point = disk.add_point(name)
        if writer:
            point.moments = (writer, before, after)
            disk.touch(0, WRITER_SIZE)

    def start_writer(self, disk):
        writer = ordered_writer.Writer("direct", disk.path, 0, WRITER_BLOCKS,
                                       self.folder / f"counter-{disk.name}",
                                       disk.read(0, WRITER_SIZE),
                                       # There may be one processor.
                                       rest=0.01)
        writer.wait_for(3)
        return writer

    def cut_by_other(self):
        """As any other program would."""
        disk = self.rng.choice(self.disks)
        self.n_names += 1
        point = disk.add_point(f"theirs{self.n_names}")
        point.volume = point.name
        self.snapshot_by_other(disk, point.name)
        self.find_volumes()
        self.note("snapshot by other")

    def find_volumes(self):
        """Which logical volume each point of a disk that is there is."""
        rows = self.group.lvs("lv_name,lv_uuid,thin_id,lv_tags,lv_size")
        by_tags = {}
        for row in rows.values():
            tags = dict(t.split("=", 1) for t in row["lv_tags"].split(",") if "=" in t)
            by_tags[tags.get("nbdsnap.origin"), tags.get("nbdsnap.name")] = row
        for disk in self.disks:
            uuid = rows[disk.name]["lv_uuid"]
            for point in disk.points:
                row = (rows[point.volume] if point.volume else by_tags[uuid, point.name])
                self.remember(point, row)

    def remember(self, point, row):
        point.volume = row["lv_name"]
        if point.thin_id is None and row["thin_id"]:
            point.thin_id = int(row["thin_id"])
            self.note("id used again", point.thin_id in self.thin_ids)
            self.thin_ids.add(point.thin_id)

    # ---- forgetting ----

    def delete(self):
        doomed = []
        for disk in self.disks:
            if len(disk.points) > 1:
                point = self.rng.choice(disk.points)
                doomed.append((disk, point))
        ours = [(d, p) for d, p in doomed if not p.name.startswith("theirs")]
        refs = [d.reference(p) for d, p in ours]
        if refs:
            self.nbdsnap("delete", *refs)
        others = [p for d, p in doomed if (d, p) not in ours]
        if others:
            self.lvm("lvremove", "-f", *self.names(others))
        for disk, point in doomed:
            disk.points.remove(point)
            self.note("delete")
        names = {p.name for d in self.disks for p in d.points}
        self.free_names = sorted({p.name for _, p in ours} - names)

    def resize(self):
        for disk in self.disks:
            if self.rng.random() < 0.5:
                continue
            change = self.rng.choice((-7, -3, -1, 1, 2, 5)) * EXTENT
            size = max(disk.size + change, 1 * MIB)
            if size != disk.size:
                self.lvm("lvresize", "-f", "-L", f"{size}b", disk.location)
                self.note("grow" if size > disk.size else "shrink")
                disk.set_size(size)

    def rollback(self):
        disk = self.rng.choice(self.disks)
        if not disk.points:
            return
        point = self.rng.choice(disk.points)
        self.merge(disk, point)
        disk.points.remove(point)
        disk.size, disk.versions = point.size, self.merged(disk.versions, point.versions)
        self.note("rollback")

    # ---- all of it ----

    def step(self):
        for disk in self.disks:
            for _ in range(self.rng.randrange(1, 6)):
                disk.operation(self.rng.choice(self.operations))
        self.event()

    def event(self):
        happened = self.rng.random()
        for share, what in self.happenings:
            if happened < share:
                what(self)
                return
            happened -= share

    def run(self):
        self.make()
        for _ in range(self.steps):
            if max(len(disk.points) for disk in self.disks) >= self.most_points:
                self.delete()
            self.step()
        if not any(disk.points for disk in self.disks):
            self.cut()
        return self


class ThinBed(Bed):
    def make(self):
        setup = self.setup
        self.pool = self.group.pool(size=300 * MIB, chunk=setup.chunk, metadata=2 * MIB,
                                    options=setup.options)
        self.disks = [self.make_disk(f"disk-{n}") for n in range(setup.disks)]
        for disk in self.disks:
            for _ in range(setup.scattered):
                disk.write(disk.rng.randrange(disk.size // SECTOR) * SECTOR, bytes([7]) * SECTOR)

    def make_disk(self, name):
        disk = Disk(self, name)
        if self.setup.external:
            base = self.group.volume(f"base-{name}-{self.n_lost}",
                                     disk.size - self.rng.randrange(3) * EXTENT)
            for at in range(0, base.size, MIB):
                base.write(at, self.rng.randbytes(8 * KIB))
            self.pool.over(base, name)
            disk.base = base
            disk.size = base.size
            disk.versions = [0] * disk.n_chunks()
        else:
            self.pool.volume(name, disk.size)
        return disk

    def snapshot_by_other(self, disk, name):
        self.lvm("lvcreate", "-s", "-n", name, disk.location)

    def merged(self, now, then):
        """The very mappings of then."""
        return list(then)

    def merge(self, disk, point):
        """LVM swaps the two: the disk has another thin id afterwards."""
        self.lvm("lvchange", "-an", disk.location)
        self.lvm("lvconvert", "--merge", f"{self.group.name}/{point.volume}")
        self.lvm("lvchange", "-ay", "-K", disk.location)

    def lose(self):
        """The disk goes, its snapshots stay, and a new one has its name."""
        disk = self.rng.choice(self.disks)
        if not disk.points or disk.orphans:
            return
        self.lvm("lvremove", "-f", disk.location)
        self.n_lost += 1
        fresh = self.make_disk(disk.name)
        fresh.orphans = disk.points
        self.disks[self.disks.index(disk)] = fresh
        self.note("origin deleted, name used again")

    happenings = ((0.3, Bed.cut), (0.22, Bed.cut_by_other), (0.1, Bed.delete),
                  (0.16, Bed.resize), (0.12, Bed.rollback), (0.08, lose))


class ClassicBed(Bed):
    operations = ("write", "write", "scatter", "scatter", "scatter much", "same",
                  "zeroes as data", "zero out")

    def make(self):
        self.disks = [Disk(self, f"disk-{n}") for n in range(self.setup.disks)]
        for disk in self.disks:
            self.group.volume(disk.name, disk.size)

    def snapshot_by_other(self, disk, name):
        chunk = self.rng.choice(("4k", "4k", "64k"))
        self.note("chunk size of other: " + chunk)
        self.lvm("lvcreate", "-s", "-pr", "-L", "8m", "-c", chunk, "-n", name, disk.location)

    def merge(self, disk, point):
        self.lvm("lvconvert", "-i", "1", "--merge", f"{self.group.name}/{point.volume}")
        assert point.volume not in self.group.lvs("lv_name")

    def merged(self, now, then):
        """What had changed is written once more."""
        return [old if old == new else self.tick() for old, new in zip(then, now)]

    happenings = ((0.55, Bed.cut), (0.2, Bed.cut_by_other), (0.16, Bed.rollback))
