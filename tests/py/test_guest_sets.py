# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sets of a running guest's disks on mixed storage, while its writer writes:
every one is of one instant, its file systems are whole, and the guest goes on."""

import os
import pathlib

import pytest

from snaplib import cli, guest_check, guest_sets, tools

COUNT = int(os.environ.get("NBDSNAP_GUEST_SETS", 50))


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    with guest_sets.running(tmp_path_factory.mktemp("guest"), "btrfs", "xfs",
                            delay_us=0) as made:
        yield made


def cut_and_check(sets, name, quiesce):
    before = sets.guest.records()
    made = sets.create(name, quiesce=quiesce)
    assert made["consistency"] == "atomic" and made["quiesce"] == quiesce
    sets.guest.assert_runs()
    try:
        return sets.check(made, at_least=before), made
    finally:
        sets.delete(made)


def test_sets_in_a_row_are_of_one_instant(sets):
    windows = []
    for number in range(COUNT):
        quiesce = ("agent", "pause")[number % 2]
        _, made = cut_and_check(sets, f"s{number}", quiesce)
        windows.append(made["stopped_us"])
    sets.guest.assert_runs_and_thawed()
    windows.sort()
    print(f"TABLE {COUNT} sets of a writing guest on btrfs and XFS: all of one instant; "
          f"it stood still for {windows[COUNT // 2] / 1000:.1f} ms (median)")


def test_the_guest_tells_of_freeze_and_thaw(sets):
    since = len(sets.guest.log())
    made = sets.create("hooks", quiesce="agent")
    sets.guest.wait_serial("HOOK thaw", since)
    said = sets.guest.log()[since:]
    assert said.index("HOOK freeze") < said.index("HOOK thaw")
    assert made["frozen_us"] >= made["stopped_us"] > 0
    shown = cli.answer("show", sets.references(made)[0], state=sets.state)
    assert (shown["quiesce"], shown["frozen_us"]) == ("agent", made["frozen_us"])
    sets.delete(made)


def test_a_disk_alone(sets):
    made = sets.create("one", "--disk", "vb", quiesce="pause")
    assert [r.split(":")[0] for r in sets.references(made)] == ["reflink"]
    sets.delete(made)


def test_a_guest_that_was_paused_stays_so(sets):
    sets.guest.qmp("stop")
    made = sets.create("paused", quiesce="pause")
    assert sets.guest.status() == "paused" and made["stopped_us"] == 0
    weaker = sets.create("weaker", quiesce="agent", code=4)
    assert weaker["quiesce"] == "pause"
    sets.check(weaker)
    assert sets.guest.status() == "paused"
    sets.guest.qmp("cont")
    sets.delete(made)
    sets.delete(weaker)
    sets.guest.assert_runs()


def make_slow(path):
    """A file in very many pieces, whose clone takes long."""
    path.write_bytes(os.urandom(1 << 20) * 64)
    tools.run(["cp", "--reflink=always", path, f"{path}.whole"])
    with open(path, "r+b") as file:
        for at in range(0, 1 << 26, 8192):
            file.seek(at)
            file.write(bytes(4096))
        os.fsync(file.fileno())
    return path


def is_torn(sets, made):
    with sets.images(made) as images:
        newest = [guest_check.newest_in(guest_check.log_of(image)) for image in images[:2]]
    try:
        guest_check.check_order(newest)
    except guest_check.Torn:
        return True
    return False


def test_without_quiet_some_sets_are_torn(sets):
    """So the check can fail.  A slow volume is cut between the guest's two."""
    slow = make_slow(pathlib.Path(sets.guest.disks[1].path).with_name("slow"))
    for number in range(20):
        made = sets.create(f"t{number}", slow, quiesce="none", code=4)
        assert (made["consistency"], made["quiesce"]) == ("sequential", "none")
        torn = is_torn(sets, made)
        sets.delete(made)
        if torn:
            return
    raise AssertionError("20 sets without quiet, and none of them torn")
