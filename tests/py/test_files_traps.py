# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every known way in which btrfs and XFS can hide a change, and how much more
than the change is reported."""

import collections
import tempfile

import pytest

from snaplib import tools, trap_disk, traps
from snaplib.trap_disk import BLOCK, BY_MAP, BY_TREE

# A map does not depend on how a tree is kept, but for these.
MAPPED = ("btrfs", "hole items", "compressed")
CASES = [pytest.param((trap, place), id=f"{trap.name}, {place}")
         for trap in traps.ALL for place in trap.places]


@pytest.fixture(scope="module")
def places():
    tools.require_root()
    tools.require("btrfs", "mkfs.btrfs", "mkfs.xfs", "setpriv")
    with tempfile.TemporaryDirectory(prefix="traps-", ignore_cleanup_errors=True) as folder:
        places = trap_disk.Places(folder)
        yield places
        places.unmount()


# ---- the table ----

class Row:
    """Sums over all snapshots that were compared forwards."""

    def __init__(self):
        self.changed = self.reported = self.missed = self.bound = 0

    def add(self, disk, judged):
        a, b = judged.a, judged.b
        changed = disk.changed_bytes(a, b)
        more = disk.allowed(b, judged.answer["source"]) * BLOCK
        self.changed += changed
        self.reported += judged.answer["dirty_bytes"]
        self.missed += judged.missed
        self.bound += min(changed + more, len(disk.truth[b]))

    def numbers(self):
        return self.changed, self.reported, self.missed, self.bound


class Table:
    def __init__(self):
        self.rows = collections.defaultdict(dict)  # of a trap: where, its row
        self.compressed = Row()  # by map: there all is doubtful, whatever changed
        self.sources = collections.Counter()

    def note(self, trap, where, disk, judged):
        self.sources[judged.answer["source"]] += 1
        if not disk.is_forwards(judged.a, judged.b):
            return
        if where == "compressed" + BY_MAP:
            self.compressed.add(disk, judged)
        else:
            self.rows[trap.name].setdefault(where, Row()).add(disk, judged)

    def print(self):
        print(f"\nTABLE {'trap':48} {'changed':>9} {'reported':>9}  ratio  missed  "
              f"{'at most':>9}  where")
        for name, of_trap in self.rows.items():
            # One line for all places where the numbers are the same.
            alike = collections.defaultdict(list)
            for where, row in of_trap.items():
                alike[row.numbers()].append(where)
            lines = sorted(alike.items(), key=lambda line: len(line[1]))
            for numbers, where in lines[:-1]:
                print_row(name, *numbers, ", ".join(where))
            print_row(name, *lines[-1][0], "elsewhere" if len(lines) > 1 else "all")
        print_row("(all of them)", *self.compressed.numbers(), "compressed" + BY_MAP)
        print("TABLE diffs: " + ", ".join(f"{k} {n}" for k, n in sorted(self.sources.items())))


def print_row(name, changed, reported, missed, bound, where):
    ratio = f"{reported / changed:6.2f}" if changed else "     -"
    print(f"TABLE {name:48} {changed:9} {reported:9} {ratio}  {missed:6}  {bound:9}  {where}")


@pytest.fixture(scope="module")
def table():
    table = Table()
    yield table
    table.print()


# ---- traps ----

@pytest.fixture
def disk(request, places):
    """Of one trap; gone before the next is made."""
    trap, place = request.param
    disk = places.disk(place, trap.size).play(trap)
    yield disk
    places.remove(disk)


def ways(place):
    return (BY_TREE, BY_MAP) if place in MAPPED else (BY_TREE,)


@pytest.mark.parametrize("disk", CASES, indirect=True)
def test_a_change_is_reported_and_no_more_than_must_be(request, disk, table):
    trap, place = request.node.callspec.params["disk"]
    faults = []
    for how in ways(place):
        for judged in disk.judge_all(how):
            faults += judged.faults
            if judged.answer:
                table.note(trap, place + how, disk, judged)
    for point in disk.points:
        assert disk.snapshot_path(point).read_bytes() == disk.truth[point]
    assert not faults, faults


def test_each_way_to_compare_was_taken(table):
    assert {"btrfs-leaves", "btrfs-tree", "fiemap"} <= set(table.sources)
