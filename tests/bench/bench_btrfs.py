# SPDX-License-Identifier: LGPL-2.1-or-later
"""The changes between two snapshots of a fragmented file on btrfs, against what
else can tell them: `btrfs send`, FIEMAP of both sides, and the bytes."""

import benchlib
import files
from files import MIB, times

PIECE = 16 << 10


class Disk(files.Disk):
    def subvolume(self, name):
        return next(path for path in (self.filesystem.path / ".nbdsnap").iterdir()
                    if path.is_dir() and path.name.startswith(f"{name}."))

    def file(self, name):
        return self.subvolume(name) / self.path.name


class Pair:
    """Two snapshots, and every way to compare them."""

    def __init__(self, disk, older, newer):
        self.disk = disk
        self.ours = disk.diff(older, newer)
        both = [disk.file(older), disk.file(newer)]
        self.send = ("`btrfs send --no-data -p`",
                     ["btrfs", "send", "-q", "--no-data", "-p", disk.subvolume(older),
                      disk.subvolume(newer)])
        self.fiemap = ("FIEMAP of both", [benchlib.WALK, "fiemap", *both])
        self.bytes = ("all bytes of both", [benchlib.WALK, "bytes", *both])

    def against(self, what, peer, runs, wanted="≥ 1", cold=False):
        name, command = peer
        pairs = self.disk.alternate(self.ours, command, runs, cold)
        ratio = benchlib.median(b.seconds / a.seconds for a, b in pairs)
        benchlib.row(f"{what}, {'cold' if cold else 'warm'}", times(a for a, _ in pairs),
                     f"{times(b for _, b in pairs)}: {name}", f"{ratio:.3g}", wanted,
                     f"{runs} pairs" if runs > 1 else "1 pair")

    def against_all(self, what, runs, fiemap_wanted="≥ 1"):
        few = max(runs // 3, 3)
        self.against(what, self.send, runs)
        self.against(what, self.fiemap, few, fiemap_wanted)
        self.against(what, self.send, few, cold=True)
        self.against(what, self.fiemap, few, cold=True)
        self.against(what, self.bytes, 1, cold=True)


def make_history(disk, n_few, n_many, hole):
    """Snapshots with changes in between; what these were."""
    disk.snapshot("first")
    changed = {}
    for older, newer, change in (
            ("first", "few", lambda: files.change_blocks(disk.path, disk.size, n_few)),
            ("few", "many", lambda: files.change_blocks(disk.path, disk.size, n_many)),
            ("many", "hole", lambda: files.punch(disk.path, disk.size // 4, hole)),
            ("hole", "holes", lambda: files.punch(disk.path, disk.size * 3 // 4, hole))):
        changed[older, newer] = change()
        disk.snapshot(newer)
    return changed


def start_of_programs(folder, runs):
    """What each needs before it does anything."""
    ours, theirs = ([benchlib.measure([program, "--version"], folder) for _ in range(runs)]
                    for program in (benchlib.NBDSNAP, "btrfs"))
    benchlib.row("start of the programs, included above", times(ours),
                 f"{times(theirs)}: `btrfs`", "", "", runs)


def main():
    benchlib.need("btrfs", "mkfs.btrfs", "fallocate", "losetup")
    if not files.may_mount():
        return benchlib.skip("btrfs", "mounting needs root")
    size = benchlib.setting("FILE_MIB", 4096, short=1024) * MIB
    runs = benchlib.setting("FILE_RUNS", 15, short=5)
    n_many, hole = 60000 * size // (4096 * MIB), size // 16
    with benchlib.scratch() as folder, \
            files.mounted(folder, "btrfs", 2 * size + 2048 * MIB) as filesystem:
        disk = Disk(folder, filesystem, size, PIECE)
        changed = make_history(disk, 200, n_many, hole)
        for (older, newer), blocks in changed.items():
            disk.check(older, newer, blocks)
        about = f"{size // MIB} MiB on btrfs in {size // PIECE} extents"
        few, many, punched, again = (Pair(disk, *names) for names in changed)
        few.against_all(f"{about}, 200 changes", runs, "≥ 50")
        many.against_all(f"{about}, {n_many} changes", max(runs // 3, 3))
        punched.against_all(f"{about}, hole of {hole // MIB} MiB", runs)
        again.against_all(f"{about}, another such hole", runs)
        start_of_programs(folder, runs)


if __name__ == "__main__":
    main()
