# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every known way in which btrfs and XFS can hide a change, and how much more
than the change is reported."""

import json
import tempfile

import pytest

from snaplib import file_traps, tools, trap_disk

CASES = [pytest.param(trap, place, id=f"{trap.name}, {place}")
         for trap in trap_disk.all_of(file_traps) for place in trap.places]


@pytest.fixture(scope="module")
def places():
    tools.require_root()
    tools.require("btrfs", "mkfs.btrfs", "mkfs.xfs", "setpriv")
    with tempfile.TemporaryDirectory(prefix="traps-", ignore_cleanup_errors=True) as folder:
        places = trap_disk.Places(folder)
        yield places
        places.unmount()


@pytest.fixture(scope="module")
def table():
    rows = []
    yield rows
    print(f"\nTABLE {'trap':58} changed  reported  ratio  by")
    for row in rows:
        print("TABLE " + row)


def describe(trap, place, disk, verdict):
    diff = json.loads(verdict.text)
    changed = disk.changed_bytes(*trap_disk.ends(disk))
    ratio = f"{diff['dirty_bytes'] / changed:5.2f}" if changed else "    -"
    return (f"{trap.name + ', ' + place:58} {changed:8} {diff['dirty_bytes']:9}  {ratio}  "
            f"{diff['source']}")


@pytest.mark.parametrize("trap,place", CASES)
def test_no_change_is_missed(places, table, trap, place):
    disk = places.disk(place, trap.size).play(trap)
    print([ (a, b, v.unexplained, v.faults) for a, b in disk.pairs() for v in [disk.judge(a, b)] ])
    for a, b in disk.pairs():
        v = disk.judge(a, b, prefix=trap_disk.WITHOUT_ADMIN) if place != "XFS" and b != "live" else None
        if v: print("fiemap", a, b, v.unexplained, v.faults)
