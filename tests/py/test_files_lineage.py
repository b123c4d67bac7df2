# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is one file and what is another, whatever its name, its number and its
places say; and what becomes of it when data is moved or a machine stops."""

import json
import os
import re
import tempfile

import pytest

from snaplib import files, nbd, tools, trap_disk
from snaplib.cli import refused
from snaplib.qcow2_history import KIB, MIB
from snaplib.trap_disk import BLOCK, PREFIXES


def preload(name):
    """For a program that is to run with a library of tests/fakes."""
    library = tools.BUILD / ".libs" / f"{name}.so"
    if not library.exists():
        tools.missing(f"{library} is not built")
    return ":".join([*nbd.sanitizer_libraries(), str(library)])



@pytest.fixture(scope="module")
def places():
    tools.require_root()
    tools.require("btrfs", "mkfs.btrfs", "mkfs.xfs", "setpriv")
    with tempfile.TemporaryDirectory(prefix="lineage-", ignore_cleanup_errors=True) as folder:
        places = trap_disk.Places(folder)
        yield places
        places.unmount()


@pytest.fixture
def places_alone(tmp_path):
    """For a test that does things to a whole file system."""
    tools.require_root()
    tools.require("btrfs", "mkfs.btrfs", "mkfs.xfs", "setpriv")
    places = trap_disk.Places(tmp_path)
    yield places
    places.unmount()


# ---- another file of the same name ----

def test_an_inode_number_used_again_is_another_file(places):
    disk = places.disk("XFS", 64 * KIB)
    disk.snapshot("a")
    number = disk.path.stat().st_ino
    disk.path.unlink()
    for i in range(1000):
        path = disk.folder / f"new-{i}"
        path.write_bytes(b"")
        if path.stat().st_ino == number:
            break
    assert path.stat().st_ino == number, "no longer a trap"
    path.rename(disk.path)
    disk.noise(0, 64 * KIB)
    refused(disk.nbdsnap("diff", disk.reference("a..live")), 5, "replaced")
    disk.snapshot("b")
    refused(disk.nbdsnap("diff", disk.reference("a..b")), 5, "replaced")


@pytest.mark.parametrize("place", ["btrfs", "XFS"])
def test_a_file_that_was_moved_away_and_back_is_the_same(places, place):
    disk = places.disk(place, MIB)
    disk.snapshot("a")
    away = disk.folder / "away"
    disk.path.rename(away)
    disk.path.write_bytes(b"another")
    disk.noise(BLOCK)
    disk.snapshot("b")
    away.replace(disk.path)
    disk.noise(2 * BLOCK)
    disk.snapshot("c")
    for a, b in ("ab", "bc", "ba", "cb"):
        refused(disk.nbdsnap("diff", disk.reference(f"{a}..{b}")), 5, "replaced")
    assert disk.diff("a", "c")["extents"] == [
        {"offset": 2 * BLOCK, "length": BLOCK, "zero": False}]


def test_a_snapshot_of_a_branch_is_no_point_of_the_volume(places):
    """The older leaves of a branch are not those of what it left."""
    disk = places.disk("btrfs", MIB)
    disk.snapshot("a")
    disk.noise(0)
    disk.snapshot("b")
    branch = disk.folder.parent / "branch"
    tools.run(["btrfs", "subvolume", "snapshot", disk.snapshot_path("a").parent, branch])
    (branch / disk.path.name).write_bytes(disk.data(MIB))
    tools.run(["btrfs", "subvolume", "snapshot", "-r", branch, disk.folder / ".nbdsnap" / "c"])
    assert disk.names() == ["a", "b"]
    refused(disk.nbdsnap("diff", disk.reference("b..c")), 1, "no such snapshot")


# ---- moved meanwhile ----

class Meanwhile:
    """Has things happen between two searches of a diff."""

    def __init__(self, disk, log):
        self.disk, self.log = disk, log

    def diff(self, a, b, every=1, command=":"):
        """The result, and how often the command was run."""
        self.log.write_text("")
        environment = dict(
            os.environ, LD_PRELOAD=preload("run-at-search"), RUN_EVERY=str(every), LOG=self.log,
            RUN=f'unset LD_PRELOAD; echo >>"$LOG"; {command}')
        result = self.disk.nbdsnap("-q", "diff", "--json", self.disk.reference(f"{a}..{b}"),
                                   env=environment)
        return result, self.log.read_text().count("\n")

    def move(self, only_once=False):
        """A command after which all data lies elsewhere."""
        condition = '[ "$(wc -l <"$LOG")" -gt 1 ] || ' if only_once else ""
        return f"{condition}btrfs balance start --full-balance '{self.disk.folder}' >/dev/null"


@pytest.fixture
def meanwhile(places, tmp_path):
    disk = places.disk("small leaves", MIB)
    disk.shred()
    disk.cut("a")
    disk.noise(0, 4 * BLOCK)
    disk.punch(64 * BLOCK, 16 * BLOCK)
    disk.cut("b")
    return Meanwhile(disk, tmp_path / "log")


@pytest.mark.parametrize("a,b", ["ab", "ba", pytest.param("a", "live", id="a-live")])
def test_a_diff_during_which_data_was_moved_begins_anew(meanwhile, a, b):
    """One side's data may have been moved already and the other's not: then
    all is in another place."""
    before, n_searches = meanwhile.diff(a, b)
    after, n_moved = meanwhile.diff(a, b, n_searches - 1, meanwhile.move(only_once=True))
    assert n_moved > 0 and after.returncode == 0, after.stderr
    expected = json.loads(before.stdout)["extents"]
    assert json.loads(after.stdout)["extents"] == expected and len(expected) == 2


def test_a_diff_whose_data_is_moved_again_and_again_gives_up(meanwhile):
    result, n_moved = meanwhile.diff("a", "b", 4, meanwhile.move())
    refused(result, 3, "being moved")
    assert n_moved >= 8


def test_a_snapshot_that_was_deduplicated_is_compared_all_the_same(places):
    """The kernel lets even what is read-only share other blocks."""
    disk = places.disk("btrfs", MIB)
    disk.again(0, MIB)
    disk.snapshot("a")
    disk.noise(0)
    disk.again(64 * BLOCK, 64 * BLOCK)
    disk.snapshot("b")
    with open(disk.snapshot_path("a"), "rb") as old, open(disk.path, "rb") as live:
        assert files.dedupe(live.fileno(), 64 * BLOCK, 64 * BLOCK, old.fileno(), 64 * BLOCK)
    for a, b in ("ab", "ba"):
        answer = disk.diff(a, b)
        assert answer["extents"] == [{"offset": 0, "length": BLOCK, "zero": False}]
        assert answer["source"] == "btrfs-tree", "it is no longer what b descends from"


# ---- devices ----

def assert_found(disk, a, b, extent):
    for how in PREFIXES:
        answer = disk.judge(a, b, how=how).answer
        assert answer["extents"] == [extent]


@pytest.fixture
def second_device(tmp_path):
    """Named before a file system in a test's arguments, it outlives that."""
    tools.require_root()
    tools.require("losetup")
    image = tmp_path / "second"
    tools.run(["truncate", "-s", "1G", image])
    device = tools.run(["losetup", "--find", "--show", image]).strip()
    yield device
    tools.run(["losetup", "--detach", device])


def test_data_that_moves_to_another_device_is_the_same(second_device, places_alone):
    """A place is unique over all devices of btrfs."""
    disk = places_alone.disk("small leaves", 8 * MIB)
    disk.shred()
    disk.cut("a")
    tools.run(["btrfs", "device", "add", "-f", second_device, disk.folder])
    tools.run(["btrfs", "balance", "start", "--full-balance", disk.folder])
    disk.noise(MIB, 300 * BLOCK)
    disk.cut("b")
    first = tools.run(["findmnt", "-n", "-o", "SOURCE", disk.filesystem.path]).strip()
    tools.run(["btrfs", "device", "remove", first.split("[")[0], disk.folder])
    extent = {"offset": MIB, "length": 300 * BLOCK, "zero": False}
    assert_found(disk, "a", "b", extent)
    assert_found(disk, "b", "a", extent)


@pytest.mark.parametrize("a,b", ["ab", "ba"])
def test_equal_places_on_two_devices_are_not_compared(places, a, b):
    """XFS counts those of its realtime device from 0 again."""
    disk = places.disk("XFS", MIB)
    disk.cut("a")
    disk.cut("b")
    environment = dict(os.environ, LD_PRELOAD=preload("other-device"),
                       ON_REALTIME_DEVICE="/a.nbdsnap-")
    refused(disk.nbdsnap("diff", disk.reference(f"{a}..{b}"), env=environment), 5,
            "two devices")
    environment["ON_REALTIME_DEVICE"] = ".nbdsnap-"
    assert disk.done("-q", "diff", disk.reference(f"{a}..{b}"), env=environment)


# ---- a crash ----

def fsync(disk):
    with open(disk.path) as file:
        os.fsync(file.fileno())


def uses_log(disk):
    if disk.kind != "btrfs":
        return True
    dumped = tools.run(["btrfs", "inspect-internal", "dump-super", disk.filesystem.image])
    return not re.search(r"^log_root\s+0$", dumped, re.MULTILINE)


def warm_up(disk):
    """Right after a snapshot, or where room is made first, an fsync is a full
    commit."""
    for _ in range(10):
        disk.noise(0)
        fsync(disk)
        if uses_log(disk):
            return


def crash(disk):
    """Mount what is on the device as if the machine had stopped now."""
    filesystem = disk.filesystem
    copy = filesystem.image.with_name("after")
    tools.run(["cp", "--sparse=always", filesystem.image, copy])
    filesystem.unmount()
    filesystem.image.unlink()
    filesystem.image = copy
    filesystem.mount()


@pytest.mark.parametrize("place", ["btrfs", "hole items", "nodatacow", "XFS"])
def test_a_change_that_a_log_brings_back_after_a_crash_is_reported(places_alone, place):
    disk = places_alone.disk(place, 8 * MIB)
    disk.cut("a")
    warm_up(disk)
    disk.noise(MIB, 8 * BLOCK)
    disk.punch(2 * MIB, 64 * BLOCK)
    disk.clone(3 * MIB, disk.path, 0, 64 * BLOCK)
    disk.resize(7 * MIB)
    disk.preallocate(7 * MIB, MIB)
    fsync(disk)
    expected = disk.content()
    assert uses_log(disk), "no longer a trap"
    crash(disk)
    assert disk.content() == expected
    disk.cut("b")
    disk.noise(4 * MIB)
    disk.cut("c")
    disk.truth["live"] = disk.truth["c"]
    faults = [fault for how in PREFIXES for judged in disk.judge_all(how)
              for fault in judged.faults]
    assert not faults
