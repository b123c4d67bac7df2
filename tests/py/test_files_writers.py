# SPDX-License-Identifier: LGPL-2.1-or-later
"""Snapshots that are cut while others write to the file, past the page cache
and through it: each holds what a machine that lost its power then could have
on its disk, and no change between two is missed."""

import json
import tempfile

import pytest

from snaplib import oracle, tools, trap_disk
from snaplib.ordered_writer import Writer, block_of
from snaplib.qcow2_history import MIB
from snaplib.trap_disk import BLOCK

SIZE = 16 * MIB
HALF = SIZE // BLOCK // 2
N_SNAPSHOTS = 10
N_BETWEEN = 100  # writes of each writer, at least


@pytest.fixture(scope="module")
def places():
    tools.require_root()
    tools.require("btrfs", "mkfs.btrfs", "mkfs.xfs")
    with tempfile.TemporaryDirectory(prefix="writers-", ignore_cleanup_errors=True) as folder:
        places = trap_disk.Places(folder)
        yield places
        places.unmount()


class Cuts:
    """Snapshots of a disk that is written to, and how many writes of each
    writer were done when a cut began, and at most when it ended."""

    def __init__(self, disk):
        self.disk = disk
        initial, folder = disk.content(), disk.state.parent
        self.earliest, self.latest, self.faults = {}, {}, []
        self.n_live = 0  # blocks that a diff to the live file had to report
        self.writers = [
            Writer("direct", disk.path, 0, HALF, folder / "direct", initial),
            Writer("buffered", disk.path, HALF, HALF, folder / "buffered", initial)]

    def numbers(self):
        return [writer.n_done() for writer in self.writers]

    def wait(self):
        for writer in self.writers:
            writer.wait_for(writer.n_done() + N_BETWEEN)

    def cut(self, name):
        self.earliest[name] = self.numbers()
        self.disk.done("-q", "create", "-n", name, self.disk.reference())
        # One more may be under way that is not counted yet.
        self.latest[name] = [n + 1 for n in self.numbers()]
        self.disk.truth[name] = self.disk.snapshot_path(name).read_bytes()
        self.disk.points.append(name)

    def compare_with_live(self, name):
        """What was written after that cut and before now is in it."""
        now = self.numbers()
        result = self.disk.ask(name, "live")
        if result.returncode != 0:
            self.faults.append(f"{name}..live: {result.stderr}")
            return
        dirty = oracle.dirty_map(json.loads(result.stdout), SIZE)
        for writer, first, last in zip(self.writers, self.latest[name], now):
            blocks = {writer.first + block_of(n, HALF) for n in range(first + 1, last + 1)}
            self.n_live += len(blocks)
            self.faults += [f"{name}..live: missed block {block}" for block in blocks
                            if not dirty[block * BLOCK // oracle.BLOCK]]

    def run(self):
        """Compare at once, too, while it goes on."""
        try:
            for i in range(N_SNAPSHOTS):
                self.wait()
                self.cut(f"s{i}")
                if i > 0:
                    self.faults += self.disk.judge(f"s{i - 1}", f"s{i}").faults
                if i % 3 == 0:
                    self.wait()
                    self.compare_with_live(f"s{i}")
        finally:
            for writer in self.writers:
                writer.stop()
        return self

    # ---- what was cut ----

    def out_of_order(self):
        """Of each writer and snapshot."""
        return [(name, writer.how, blocks) for name in self.disk.points
                for i, writer in enumerate(self.writers)
                if (blocks := writer.out_of_order(
                    self.disk.truth[name], self.earliest[name][i], self.latest[name][i]))]

    def n_of_one_moment(self):
        return sum(all(writer.is_of_one_moment(self.disk.truth[name], n)
                       for writer, n in zip(self.writers, self.earliest[name]))
                   for name in self.disk.points)

    def moved(self):
        return [name for name in self.disk.points
                if self.disk.snapshot_path(name).read_bytes() != self.disk.truth[name]]


class Diffs:
    """Of consecutive snapshots, and of the first and the last; both ways."""

    def __init__(self, disk):
        points = disk.points
        self.n = self.changed = self.reported = self.missed = 0
        self.faults = []
        for a, b in [*zip(points, points[1:]), (points[0], points[-1])]:
            self.add(disk, disk.judge(a, b))
            self.add(disk, disk.judge(b, a))

    def add(self, disk, judged):
        self.n += 1
        self.faults += judged.faults
        self.missed += judged.missed
        self.changed += disk.changed_bytes(judged.a, judged.b)
        self.reported += judged.answer["dirty_bytes"] if judged.answer else 0


@pytest.mark.parametrize("place", ["btrfs", "compressed", "nodatacow", "XFS"])
def test_snapshots_keep_the_order_of_writes_and_diffs_miss_none(places, place):
    disk = places.disk(place, SIZE)
    cuts = Cuts(disk).run()
    done, exact = cuts.numbers(), cuts.n_of_one_moment()
    diffs = Diffs(disk)
    print(f"\nTABLE {place:13} {len(disk.points)} snapshots, {exact} of one moment, during "
          f"{done[0]} direct and {done[1]} buffered writes; {diffs.n} diffs: "
          f"{diffs.changed} bytes changed, {diffs.reported} reported, {diffs.missed} missed; "
          f"{cuts.n_live} blocks in diffs to live")
    assert not cuts.out_of_order()
    assert not cuts.moved()
    assert not cuts.faults + diffs.faults
    assert diffs.changed > 0 and cuts.n_live > 0
    # A clone of a file keeps out all who write to it.
    assert place != "XFS" or exact == len(disk.points)
