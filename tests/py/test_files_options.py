# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a user may choose for snapshots of files: the name of the directory they
are kept in, and to clone a file that is in very many pieces all the same."""

import os
import pathlib
import re

import pytest

from snaplib import cli, file_disk, file_sets, files, filesystems, nbd, tools
from snaplib.cli import refused

NAME = ".vault"
VAULT = ("--snapshot-dir", NAME)
KINDS = {"btrfs": file_disk.on_btrfs, "XFS": file_disk.on_xfs}


@pytest.fixture(scope="module", autouse=True)
def needs():
    tools.require_root()


@pytest.fixture(scope="module", params=KINDS)
def filesystem_of(request):
    """A disk, whose file system all tests of this module share."""
    disk = KINDS[request.param]()
    yield disk
    disk.filesystem.unmount()


@pytest.fixture
def disk(filesystem_of, tmp_path):
    """A new disk of 64 KiB in a place of its own."""
    at = filesystem_of.folder / tmp_path.name
    if filesystem_of.kind == "btrfs":
        filesystems.subvolume(at)
    else:
        at.mkdir()
    disk = file_disk.FileDisk(filesystem_of.kind, at, 64 << 10, state=tmp_path / "state")
    disk.write(0, b"first" * 1000)
    return disk


def names(disk, *options):
    listed = disk.answer("list", *options, disk.reference())
    return [entry["name"] for entry in listed["volumes"][0]["snapshots"]]


def entries(disk):
    """What lies beside the disk."""
    return sorted(set(os.listdir(disk.folder)) - {disk.path.name})


# ---- the path ----

def test_activating_prints_the_path_of_the_file_that_is_there_anyway(disk):
    truth = disk.path.read_bytes()
    disk.done("create", "-n", "a", disk.reference())
    disk.write(0, b"second" * 1000)
    path = disk.answer("activate", disk.reference("a"))["path"]
    assert pathlib.Path(path).read_bytes() == truth
    assert disk.answer("show", disk.reference("a"))["path"] == path
    disk.done("deactivate", disk.reference("a"))
    assert pathlib.Path(path).read_bytes() == truth


# ---- the directory of another name ----

def test_snapshots_lie_where_they_were_asked_for_and_nowhere_else(disk):
    disk.done("create", *VAULT, "-n", "a", disk.reference())
    assert entries(disk) == [NAME]
    assert names(disk, *VAULT) == ["a"]
    assert names(disk) == [] and names(disk, "--snapshot-dir=.other") == []
    refused(disk.nbdsnap("show", disk.reference("a")), 1, "no such snapshot")
    refused(disk.nbdsnap("delete", disk.reference("a")), 1, "no such snapshot")
    assert names(disk, *VAULT) == ["a"]
    disk.done("delete", *VAULT, disk.reference("a"))
    assert entries(disk) == []


def test_they_are_compared_shown_and_served_from_there(disk):
    tools.require("nbdkit", "nbdcopy")
    assert disk.answer("diff", "-q", *VAULT, disk.reference("empty..live"))["complete"]
    assert entries(disk) == []
    for name in "ab":
        disk.done("create", *VAULT, "-n", name, disk.reference())
        disk.truth[name] = disk.content()
        disk.write(8192, name.encode() * 4096)
    for range_, dirty in (("a..b", [(8192, 4096)]), ("b..live", [(8192, 4096)])):
        diff = disk.answer("diff", "-q", *VAULT, disk.reference(range_))
        assert [(e["offset"], e["length"]) for e in diff["extents"]] == dirty, range_
    assert disk.answer("show", *VAULT, disk.reference("b"))["comparable"] == ["a"]
    with nbd.Server(f"volume={disk.reference()}", f"snapshot-dir={NAME}") as server:
        for name in "ab":
            assert nbd.full_copy(server.uri(name), disk.state.parent) == disk.truth[name]
    assert "has no snapshot" in nbd.refused(f"volume={disk.reference()}")
    disk.done("delete", *VAULT, disk.reference("a"), disk.reference("b"))
    assert entries(disk) == []


def test_two_directories_do_not_know_of_each_other(disk):
    disk.done("create", "-n", "same", disk.reference())
    disk.write(0, b"later")
    disk.done("create", *VAULT, "-n", "same", disk.reference())
    ids = [disk.answer("show", *options, disk.reference("same"))["id"]
           for options in ((), VAULT)]
    assert ids[0] != ids[1]
    disk.done("delete", *VAULT, disk.reference("same"))
    assert entries(disk) == [".nbdsnap"] and names(disk) == ["same"]
    disk.done("delete", disk.reference("same"))
    assert entries(disk) == []


@pytest.mark.parametrize("name", [
    "plain", "a b", "-x", "new\nline", "%41@#", "é", "x" * 255, ".nbdsnap-old", "disk.raw.d"])
def test_any_name_of_a_directory_will_do(disk, name):
    option = f"--snapshot-dir={name}"
    disk.done("create", option, "-n", "a", disk.reference())
    assert entries(disk) == [name] and names(disk, option) == ["a"]
    disk.done("delete", option, disk.reference("a"))
    assert entries(disk) == []


@pytest.mark.parametrize("name", ["", ".", "..", "/", "a/b", "/tmp", "x" * 256, ".nbdsnap-new"])
def test_a_name_that_is_none_is_refused_before_anything_is_done(disk, name):
    option = f"--snapshot-dir={name}"
    for command in (["create", disk.reference()], ["list", disk.reference()], ["list"],
                    ["diff", disk.reference("empty..live")], ["doctor"], ["drivers"],
                    ["delete", disk.reference("a")]):
        refused(disk.nbdsnap(*command, option), 2, "snapshot directory")
    assert nbd.refused(f"volume={disk.reference()}", f"snapshot-dir={name}").count(
        "snapshot directory" if name else "empty value") == 1
    assert entries(disk) == []


def test_somebody_elses_file_or_directory_of_that_name_is_left_alone(disk):
    (disk.folder / "theirs").mkdir()
    (disk.folder / "theirs" / "precious").touch()
    (disk.folder / "link").symlink_to("theirs")
    for name in ("theirs", "link", disk.path.name):
        for verb in ("create", "list"):
            refused(disk.nbdsnap(verb, "--snapshot-dir", name, disk.reference()), 1,
                    name, "not a directory that nbdsnap made")
    assert (disk.folder / "theirs" / "precious").exists()
    assert entries(disk) == ["link", "theirs"]


# ---- recovery finds it ----

class VaultBed(file_sets.Bed):
    """Two disks, whose user always names the directory."""

    def nbdsnap(self, *arguments):
        return super().nbdsnap(*VAULT, *arguments)

    def fault_at(self, n, *arguments, errno=None):
        return super().fault_at(n, *VAULT, *arguments, errno=errno)

    def listed(self):
        both = [names(disk, *VAULT) for disk in self.disks]
        assert both[0] == both[1], f"half a set: {both}"
        return both[0]

    def remains(self):
        return [sorted(disk.folder.glob(f"{NAME}*")) + disk.remains() for disk in self.disks]

    def recover(self):
        """By one who does not know of the directory."""
        super().nbdsnap("doctor")
        assert not self.journal()


def btrfs_vaults():
    return VaultBed(filesystem := filesystems.btrfs("256M"), "btrfs", [filesystem.path] * 2)


def xfs_vaults():
    return VaultBed(filesystem := filesystems.xfs("320M"), "reflink", [filesystem.path] * 2)


@pytest.fixture(scope="module", params=[btrfs_vaults, xfs_vaults])
def bed(request):
    file_sets.require()
    bed = request.param()
    yield bed
    bed.filesystem.unmount()


def test_a_create_that_is_killed_is_undone_where_it_was(bed):
    outcomes = [0, 0]
    for _, call, _ in bed.faults("create", "-n", "s", *bed.references()):
        bed.recover()
        after = bed.listed()
        assert after in ([], ["s"]), call
        assert after or bed.is_clean(), (call, bed.remains())
        outcomes[len(after)] += 1
        bed.clear()
    bed.clear()
    assert outcomes[0] > 20 and outcomes[1] > 2, outcomes


def test_a_delete_that_is_killed_is_carried_through_where_it_was(bed):
    outcomes = [0, 0]
    bed.nbdsnap("create", "-n", "s", *bed.references())
    for _, call, _ in bed.faults("delete", *bed.references("s")):
        seen = bed.listed()
        bed.recover()
        after = bed.listed()
        assert after == seen, f"{call}: was away, and recovery brought it back"
        assert after or bed.is_clean(), (call, bed.remains())
        outcomes[len(after)] += 1
        bed.clear()
        bed.nbdsnap("create", "-n", "s", *bed.references())
    bed.clear()
    assert outcomes[0] > 5 and outcomes[1] > 2, outcomes


# ---- a file in very many pieces ----

PIECE = 1024  # the block size of that file system
WORTH_A_WORD, TOO_MANY = 60_000, 262_145


@pytest.fixture(scope="module")
def shredded():
    disk = file_disk.on_xfs("1G", mkfs=("-b", "size=1024"))
    fd = os.open(disk.path, os.O_RDWR)
    files.fallocate(fd, 0, 0, 2 * PIECE * TOO_MANY)
    disk.n_pieces = 0

    def cut_up(n_pieces):
        for i in range(disk.n_pieces, n_pieces):
            files.fallocate(fd, files.PUNCH_HOLE | files.KEEP_SIZE,
                            (2 * i + 1) * PIECE, PIECE)
        disk.n_pieces = n_pieces
        os.fsync(fd)

    disk.cut_up = cut_up
    yield disk
    os.close(fd)
    disk.filesystem.unmount()


def warning(result):
    """The one line on standard error of a run that was done."""
    assert result.returncode == 0, result.stderr
    lines = result.stderr.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_a_clone_that_keeps_writers_waiting_is_announced(shredded):
    disk = shredded
    disk.done("create", "-n", "whole", disk.reference())
    disk.cut_up(WORTH_A_WORD)
    result = disk.nbdsnap("create", "-n", "some", disk.reference())
    seconds = int(re.search(r"about (\d+) s", warning(result))[1])
    assert "extents" in warning(result) and str(disk.path) in warning(result)
    assert 1 <= seconds <= 3
    assert disk.done("-q", "create", "-n", "silent", disk.reference()) != ""
    assert "live" in disk.nbdsnap("diff", disk.reference("some..live")).stderr
    disk.delete("whole", "some", "silent")


def test_a_clone_that_takes_too_long_needs_force(shredded):
    disk = shredded
    disk.cut_up(TOO_MANY)
    refused(disk.nbdsnap("create", "-n", "a", disk.reference()), 1,
            "extents", "unless forced")
    assert entries(disk) == []
    refused(disk.nbdsnap("diff", disk.reference("empty..live")), 1, "unless forced")
    result = disk.nbdsnap("create", "--force", "-n", "a", disk.reference())
    assert "extents" in warning(result)
    assert result.stdout.startswith(disk.reference("a"))
    disk.delete("a")
    assert entries(disk) == []


# ---- cloning on btrfs ----

@pytest.fixture(scope="module")
def on_btrfs():
    disk = file_disk.on_btrfs("256M", size=64 << 10)
    yield disk
    disk.filesystem.unmount()


def test_a_file_on_btrfs_is_cloned_only_if_that_is_asked_for_by_name(on_btrfs):
    disk = on_btrfs
    path = file_disk.quote(disk.path)
    made = disk.done("-q", "create", "-n", "a", path)
    assert made == f"btrfs:{path}@a\n"
    disk.done("delete", f"{path}@a")
    before = filesystems.subvolumes(disk.filesystem.path)
    made = disk.done("-q", "create", "-n", "a", f"reflink:{path}")
    assert made == f"reflink:{path}@a\n"
    assert filesystems.subvolumes(disk.filesystem.path) == before
    assert (disk.folder / ".nbdsnap" / disk.path.name).is_dir()
    disk.done("delete", f"reflink:{path}@a")


def test_a_clone_of_a_few_pieces_says_nothing(on_btrfs):
    disk = on_btrfs
    reference = f"reflink:{file_disk.quote(disk.path)}"
    for options in ([], ["--force"]):
        assert cli.nbdsnap("create", *options, "-n", "a", reference,
                           state=str(disk.state)).stderr == ""
        disk.done("delete", f"{reference}@a")
