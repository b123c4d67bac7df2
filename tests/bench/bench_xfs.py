# SPDX-License-Identifier: LGPL-2.1-or-later
"""The changes between two clones of a fragmented file on XFS: time against
asking for the extents of both and doing nothing with them, and memory as the
number of extents grows."""

import subprocess

import benchlib
import files
from files import MIB, times

N_CHANGES = 200
PIECE = 4 << 10
# MiB of file: some 25 000 extents, 250 000, a million.
SMALL, MIDDLE, LARGE = 100, 1024, 4096


class Disk(files.Disk):
    """With two snapshots and changes in between."""

    def __init__(self, folder, filesystem, size_mib):
        # A piece may become one extent with its neighbour, if there is room.
        super().__init__(folder, filesystem, size_mib * 11 // 10 * MIB, PIECE)
        # --force: its writers would stand still for seconds, and it has none.
        self.snapshot("a", "--force")
        changed = files.change_blocks(self.path, self.size, N_CHANGES)
        self.snapshot("b", "--force")
        self.check("a", "b", changed)

    def clone(self, name):
        shelf = self.filesystem.path / ".nbdsnap" / self.path.name
        return next(path for path in shelf.iterdir() if path.name.startswith(f"{name}."))

    def walk(self):
        return [benchlib.WALK, "fiemap", self.clone("a"), self.clone("b")]

    def n_extents(self):
        counts = subprocess.run(benchlib.words(self.walk()), check=True, text=True,
                                stdout=subprocess.PIPE).stdout
        return int(counts.split()[0])


def compare(disk, runs):
    about = f"{disk.size // MIB} MiB on XFS in {disk.n_extents()} extents, {N_CHANGES} changes"
    for cold, n in ((False, runs), (True, max(runs // 3, 1))):
        pairs = disk.alternate(disk.diff("a", "b"), disk.walk(), n, cold)
        ratio = benchlib.median(a.seconds / b.seconds for a, b in pairs)
        benchlib.row(f"{about}, {'cold' if cold else 'warm'}", times(a for a, _ in pairs),
                     f"{times(b for _, b in pairs)}: FIEMAP of both", f"{ratio:.2f}",
                     "≤ 1.2", f"{n} pairs" if n > 1 else "1 pair")


def memory(disk):
    return disk.n_extents(), disk.run(disk.diff("a", "b")).rss_kib / 1024


def show_memory(measured):
    (few, base), *more = measured
    for n_extents, mib in more:
        benchlib.row(f"peak memory, {n_extents} extents", f"{mib:.1f} MiB",
                     f"{base:.1f} MiB: with {few} extents", f"{mib / base:.2f}", "≤ 1.1", 1)


def main():
    benchlib.need("mkfs.xfs", "losetup")
    if not files.may_mount():
        return benchlib.skip("XFS", "mounting needs root")
    runs = benchlib.setting("XFS_RUNS", 9, short=3)
    sizes = [SMALL, MIDDLE, LARGE][:benchlib.setting("XFS_FILES", 3, short=2)]
    with benchlib.scratch() as folder:
        measured = []
        for size in sizes:
            below = folder / str(size)
            below.mkdir()
            with files.mounted(below, "xfs", (2 * size + 1024) * MIB) as filesystem:
                disk = Disk(below, filesystem, size)
                measured.append(memory(disk))
                if size == MIDDLE:
                    compare(disk, runs)
        show_memory(measured)


if __name__ == "__main__":
    main()
