# SPDX-License-Identifier: LGPL-2.1-or-later
"""What was begun on a file system is finished there, and nowhere else: not in
the empty directory that it was mounted on, not on another one at its place."""

import os
import re

import pytest

from snaplib import cli, file_disk, file_sets, filesystems, tools

KINDS = {"btrfs": lambda: filesystems.btrfs("256M"), "reflink": lambda: filesystems.xfs("320M")}


@pytest.fixture(scope="module", autouse=True)
def needs():
    file_sets.require()
    tools.require("btrfs", "mkfs.xfs")


@pytest.fixture(params=KINDS)
def bed(request):
    filesystem = KINDS[request.param]()
    bed = file_sets.Bed(filesystem, request.param, [filesystem.path] * 2)
    yield bed
    filesystem.unmount()


@pytest.fixture
def btrfs_root(tmp_path):
    """Another place of the same kind: where nothing is mounted, a mount point
    is a directory of the file system around it."""
    outer = filesystems.btrfs("256M")
    yield outer.path
    outer.unmount()


def unfinished(bed):
    return cli.answer("doctor", "--dry-run", state=str(bed.state))["unfinished"]


# By kind: its calls are numbered alike, whatever the bed.
after_last_clone = {}


def kill_with_leftovers(bed):
    """A create, killed when everything was cut and nothing was decided."""
    kind = bed.disks[0].kind
    if kind not in after_last_clone:
        calls = [call for _, call, _ in numbered(bed)]
        after_last_clone[kind] = 2 + max(i for i, call in enumerate(calls) if call == "ioctl")
    result, _ = bed.fault_at(after_last_clone[kind], "create", "-n", "s", *bed.references())
    assert result.returncode == -9
    assert any(bed.remains()) and len(unfinished(bed)) == 1 and bed.listed() == []


def numbered(bed):
    for n, call, result in bed.faults("create", "-n", "s", *bed.references()):
        bed.nbdsnap("doctor")
        bed.clear()
        yield n, call, result
    bed.clear()


def left_for_later(bed):
    """Nobody takes the set for finished, and it is in nobody's way."""
    before = unfinished(bed)
    assert len(before) == 1
    doctor = cli.nbdsnap("doctor", state=str(bed.state))
    assert doctor.returncode == 9 and len(doctor.stderr.splitlines()) == 1, doctor.stderr
    assert str(bed.filesystem.path) in doctor.stderr
    assert unfinished(bed) == before


def finished(bed):
    bed.nbdsnap("doctor")
    assert bed.is_clean(), (bed.remains(), bed.list_subvolumes(), bed.journal())


def test_a_set_waits_for_the_file_system_that_it_was_begun_on(bed, tmp_path):
    kill_with_leftovers(bed)
    left = bed.remains()
    bed.filesystem.unmount()
    left_for_later(bed)
    elsewhere = file_disk.FileDisk(bed.disks[0].kind, other_folder(bed), 4096, state=bed.state)
    made = elsewhere.nbdsnap("create", "-n", "x", elsewhere.reference())
    assert made.returncode == 0 and str(bed.filesystem.path) in made.stderr
    assert len(unfinished(bed)) == 1
    deleted = elsewhere.nbdsnap("delete", elsewhere.reference("x"))
    assert deleted.returncode == 0 and len(unfinished(bed)) == 1
    bed.filesystem.mount()
    assert bed.remains() == left
    finished(bed)


def other_folder(bed):
    """On a file system of the same kind; unmounted with this process."""
    return KINDS[bed.disks[0].kind]().path


def test_another_file_system_at_its_place_is_left_alone(bed):
    """Also one that has a snapshot of the very same name."""
    kill_with_leftovers(bed)
    bed.filesystem.unmount()
    other = other_folder(bed)
    tools.run(["mount", "--bind", other, bed.filesystem.path])
    for disk in bed.disks:
        disk.path.write_bytes(b"other")
    shelf = bed.filesystem.path / ".nbdsnap"
    file_disk.FileDisk(bed.disks[0].kind, bed.filesystem.path, 5, "0.raw",
                       bed.state.parent / "other-state").snapshot("t")
    before = sorted(shelf.rglob("*"))
    left_for_later(bed)
    assert sorted(shelf.rglob("*")) == before and before
    tools.run(["umount", bed.filesystem.path])
    bed.filesystem.mount()
    finished(bed)


def test_a_copy_mounted_from_another_device_is_the_same_file_system(bed):
    """Device numbers are given anew with each mount."""
    kill_with_leftovers(bed)
    before = os.stat(bed.filesystem.path).st_dev
    bed.filesystem.unmount()
    taken = [filesystems.xfs("320M") for _ in range(2)]
    bed.filesystem.mount()
    if bed.disks[0].kind == "reflink":
        assert os.stat(bed.filesystem.path).st_dev != before
    finished(bed)
    for filesystem in taken:
        filesystem.unmount()


def test_another_subvolume_of_the_same_file_system_is_left_alone():
    """As after a roll-back to a snapshot, which has everything that it has."""
    filesystem = filesystems.btrfs("256M")
    folder = filesystems.subvolume(filesystem.path / "vm")
    bed = file_sets.Bed(filesystem, "btrfs", [folder] * 2)
    kill_with_leftovers(bed)
    folder.rename(filesystem.path / "away")
    tools.run(["btrfs", "subvolume", "snapshot", filesystem.path / "away", folder])
    left_for_later(bed)
    assert file_disk.remains(folder) and file_disk.remains(filesystem.path / "away")
    tools.run(["btrfs", "subvolume", "delete", folder])
    (filesystem.path / "away").rename(folder)
    finished(bed)
    filesystem.unmount()


def test_another_directory_of_the_same_file_system_is_left_alone():
    filesystem = filesystems.xfs("320M")
    folder = filesystem.path / "vm"
    folder.mkdir()
    bed = file_sets.Bed(filesystem, "reflink", [folder] * 2)
    kill_with_leftovers(bed)
    folder.rename(filesystem.path / "away")
    folder.mkdir()
    left_for_later(bed)
    folder.rmdir()
    left_for_later(bed)
    (filesystem.path / "away").rename(folder)
    finished(bed)
    filesystem.unmount()


@pytest.mark.parametrize("kind", KINDS)
def test_a_set_in_a_folder_of_an_odd_name_is_finished(kind):
    """Records are words between blanks, and their entry is text."""
    filesystem = KINDS[kind]()
    folder = filesystem.path / "a b@c#d%20\n\udcff\"\\"
    if kind == "btrfs":
        filesystems.subvolume(folder)
    else:
        folder.mkdir()
    bed = file_sets.Bed(filesystem, kind, [folder] * 2)
    kill_with_leftovers(bed)
    finished(bed)
    filesystem.unmount()


def test_a_record_without_an_identity_is_finished(bed):
    """As older releases wrote them."""
    kill_with_leftovers(bed)
    entry, = (e for e in (bed.state / "journal").iterdir() if e.suffix == ".json")
    old, n = re.subn(r'("record":"[^" ]*(?: [^" ]*){4}) [^" ]*"', r'\1"', entry.read_text())
    assert n == 2
    entry.write_text(old)
    finished(bed)


# ---- deletions ----

def kill_deletion(bed):
    """A delete, killed when it was begun and the snapshots are still there."""
    bed.nbdsnap("create", "-n", "s", *bed.references())
    for _ in bed.faults("delete", *bed.references("s")):
        if unfinished(bed) and any(bed.remains()):
            return
        bed.nbdsnap("doctor")
        bed.clear()
        bed.nbdsnap("create", "-n", "s", *bed.references())
    pytest.fail("never left half-way")


@pytest.mark.parametrize("place", ["nothing", "outside", "other"])
def test_a_deletion_waits_for_the_file_system_that_it_was_begun_on(bed, btrfs_root, place):
    kill_deletion(bed)
    bed.filesystem.unmount()
    if place != "nothing":
        at = btrfs_root if place == "outside" else other_folder(bed)
        tools.run(["mount", "--bind", at, bed.filesystem.path])
        if place == "other":
            for disk in bed.disks:
                disk.path.write_bytes(b"other")
    left_for_later(bed)
    if place != "nothing":
        tools.run(["umount", bed.filesystem.path])
    bed.filesystem.mount()
    finished(bed)


def test_a_deletion_of_what_is_left_of_a_file_is_finished(bed):
    """Its last snapshots are gone, and then there is nothing that tells of it."""
    bed.nbdsnap("create", "-n", "s", *bed.references())
    content = [disk.content() for disk in bed.disks]
    for n in range(1, file_sets.LIMIT):
        for disk in bed.disks:
            disk.path.unlink()
        result, call = bed.fault_at(n, "delete", *bed.references("s"))
        bed.nbdsnap("doctor")
        assert unfinished(bed) == []
        for disk, data in zip(bed.disks, content):
            disk.path.write_bytes(data)
        if call is None:
            break
        assert bed.listed() in ([], ["s"])
        bed.clear()
        bed.nbdsnap("create", "-n", "s", *bed.references())
    assert n > 5 and result.returncode == 0, result.stderr
    assert bed.is_clean()
