# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sets of files on btrfs and XFS are complete or absent, also after SIGKILL at
any step; and temporary snapshots do not outlive what was killed.

Every call that changes something is hit in turn: a preloaded library kills the
process there, and N goes up until a run survives.
"""

import collections

import pytest

from snaplib import file_sets


@pytest.fixture(scope="module", autouse=True)
def needs():
    file_sets.require()


@pytest.fixture(scope="module", params=file_sets.BEDS)
def bed(request):
    bed = file_sets.make(request.param)
    yield bed
    bed.filesystem.unmount()


def recover(bed, n):
    """As a user may: by doctor, by the next create, or by the next delete."""
    if n % 3 == 0:
        bed.nbdsnap("doctor")
    else:
        bed.nbdsnap("create", "-n", "next", *bed.references())
    if n % 3 == 1:
        bed.nbdsnap("delete", *bed.references("next"))


def check_recovery(bed, n):
    """1 if the set is complete after recovery, 0 if there is nothing of it."""
    recover(bed, n)
    after = [name for name in bed.listed() if name != "next"]
    assert after in ([], ["s"])
    if n % 3 == 0 and not after:
        assert bed.is_clean(), (bed.remains(), bed.list_subvolumes(), bed.journal())
    bed.clear()
    return len(after)


def summary(bed, verb, calls, outcomes):
    print(f"TABLE {bed.title}: {verb} of 2 killed at {sum(calls.values())} calls "
          f"({file_sets.describe(calls)}): {outcomes[0]} times absent, "
          f"{outcomes[1]} times complete")


def test_a_create_that_is_killed_is_complete_or_absent(bed):
    outcomes, calls = collections.Counter(), collections.Counter()
    for n, call, _ in bed.faults("create", "-n", "s", *bed.references()):
        seen = bed.listed()
        after = check_recovery(bed, n)
        assert after or not seen, "was there, and recovery took it away"
        outcomes[after] += 1
        calls[call] += 1
    bed.clear()
    summary(bed, "create", calls, outcomes)
    assert outcomes[0] > 20 and outcomes[1] > 2


def test_a_delete_that_is_killed_is_complete_or_absent(bed):
    outcomes, calls = collections.Counter(), collections.Counter()
    bed.nbdsnap("create", "-n", "s", *bed.references())
    for n, call, _ in bed.faults("delete", *bed.references("s")):
        seen = bed.listed()
        after = check_recovery(bed, n)
        assert seen or not after, "was away, and recovery brought it back"
        outcomes[after] += 1
        calls[call] += 1
        bed.nbdsnap("create", "-n", "s", *bed.references())
    bed.clear()
    summary(bed, "delete", calls, outcomes)
    assert outcomes[0] > 5 and outcomes[1] > 2


def test_a_live_diff_that_is_killed_leaves_nothing_for_long(bed):
    """Gone with the next live diff, create or delete; and in nobody's way until
    then."""
    calls, left = collections.Counter(), 0
    disk = bed.disks[0]
    live = disk.reference("s..live")
    bed.nbdsnap("create", "-n", "s", *bed.references())
    disk.write(8192, b"changed")
    before = bed.list_subvolumes()
    for n, call, _ in bed.faults("diff", live):
        calls[call] += 1
        left += bed.list_subvolumes() != before
        assert bed.listed() == ["s"]
        if n % 3 == 0:
            assert disk.diff("s", "live")["dirty_bytes"] == 4096
        elif n % 3 == 1:
            bed.nbdsnap("create", "-n", "next", *bed.references())
            bed.nbdsnap("delete", *bed.references("next"))
        if n % 3 != 2:
            assert bed.list_subvolumes() == before
            continue
        bed.clear()
        bed.nbdsnap("create", "-n", "s", *bed.references())
        disk.write(8192, b"changed")
        before = bed.list_subvolumes()
    bed.clear()
    print(f"TABLE {bed.title}: live diff killed at {sum(calls.values())} calls "
          f"({file_sets.describe(calls)}): a temporary snapshot was left {left} times, "
          "and removed by the next command")
    assert sum(calls.values()) > 5 and (left > 0) == (disk.kind == "btrfs")


def test_a_live_diff_that_is_killed_where_nothing_else_is_leaves_nothing_for_long(bed):
    """The reserved directory is made for it alone."""
    calls = collections.Counter()
    for _, call, _ in bed.faults("diff", bed.disks[0].reference("empty..live")):
        calls[call] += 1
        assert bed.listed() == []
        bed.nbdsnap("create", "-n", "next", *bed.references())
        bed.clear()
    assert bed.is_clean()
    print(f"TABLE {bed.title}: first live diff killed at {sum(calls.values())} calls "
          f"({file_sets.describe(calls)})")
    assert "mkdirat" in calls or bed.disks[0].kind == "reflink"
