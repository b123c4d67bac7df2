# SPDX-License-Identifier: LGPL-2.1-or-later
"""Snapshots of a file that is there no more; and where their bytes are."""

import errno
import os
import pathlib
import stat
import subprocess

import pytest

from snaplib import cli, file_disk, nbd, tools
from snaplib.cli import refused

MAKERS = {"btrfs": lambda: file_disk.on_btrfs("256M", size=64 << 10),
          "reflink": lambda: file_disk.on_xfs("320M", size=64 << 10)}


@pytest.fixture(scope="module", autouse=True)
def needs():
    tools.require_root()
    tools.require("btrfs", "mkfs.xfs", "setpriv")


@pytest.fixture(params=MAKERS)
def disk(request):
    disk = MAKERS[request.param]()
    disk.write(0, b"first" * 1000)
    yield disk
    disk.filesystem.unmount()


@pytest.fixture
def gone(disk):
    """Snapshots a and b are all that is left of it."""
    disk.snapshot("a")
    disk.write(8192, b"second" * 1000)
    disk.snapshot("b")
    disk.path.unlink()
    return disk


# ---- what can be done with them ----

def test_snapshots_of_a_file_that_is_gone_are_listed_compared_and_served(gone, tmp_path):
    assert gone.names() == ["a", "b"]
    assert gone.diff("a", "b")["extents"] == [{"offset": 8192, "length": 8192, "zero": False}]
    assert gone.diff("empty", "a")["dirty_bytes"] > 0
    assert gone.answer("show", gone.reference("b"))["comparable"] == ["a"]
    with nbd.Server(gone.reference()) as server:
        assert {"a", "b", "a..b"} <= set(nbd.exports(server))
        for name in "ab":
            assert nbd.full_copy(server.uri(name), tmp_path) == gone.truth[name]


def test_a_plain_path_finds_them_too(gone):
    """No driver is named: that a file was there, only its snapshots can tell."""
    listed = gone.answer("list", gone.path)["volumes"][0]
    assert listed["volume"] == gone.reference()
    assert [s["name"] for s in listed["snapshots"]] == ["a", "b"]


def test_references_that_are_printed_work_from_everywhere(gone):
    (gone.folder / "sub").mkdir()
    result = cli.nbdsnap("list", "--json", "sub/../disk.raw", state=str(gone.state),
                         cwd=gone.folder)
    assert result.returncode == 0, result.stderr
    assert str(gone.folder) in result.stdout
    made = cli.nbdsnap("delete", f"{gone.kind}:disk.raw@a", state=str(gone.state),
                       cwd=gone.folder)
    assert made.returncode == 0, made.stderr
    assert gone.names() == ["b"]


def test_there_is_no_live_file_and_nothing_to_cut(gone):
    before = gone.remains()
    for verb, point in (("diff", "a..live"), ("show", "live")):
        refused(gone.nbdsnap(verb, gone.reference(point)), 1, "the file is gone")
    refused(gone.nbdsnap("create", gone.reference()), 1, "No such file")
    with nbd.Server(gone.reference()) as server:
        assert not [name for name in nbd.exports(server) if "live" in name]
    assert gone.remains() == before


def test_after_the_last_one_there_is_nothing(gone):
    gone.delete("a", "b")
    assert gone.remains() == []
    for verb in ("list", "create"):
        for reference in (gone.reference(), gone.path):  # each says so in its way
            refused(gone.nbdsnap(verb, reference), 1, "o such file")


def test_where_there_never_was_a_file_there_is_none(gone):
    """Beside one that has snapshots."""
    other = gone.folder / "other.raw"
    for reference in (f"{gone.kind}:{other}", other,
                      f"{gone.kind}:{gone.folder}/none/disk.raw"):
        refused(gone.nbdsnap("list", reference), 1, "o such file")


def test_the_snapshots_are_those_of_a_file_that_comes_back(gone):
    """But it is another one."""
    gone.path.write_bytes(gone.truth["a"])
    assert gone.names() == ["a", "b"]
    refused(gone.nbdsnap("diff", gone.reference("a..live")), 5, "replaced")
    gone.snapshot("c")
    assert gone.names() == ["a", "b", "c"]
    assert gone.diff("a", "b")["dirty_bytes"] == 8192


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda at: os.symlink("nowhere", at)])
def test_something_else_in_its_place_is_refused(gone, make):
    make(gone.path)
    before = gone.remains()
    for verb in ("list", "create"):
        refused(gone.nbdsnap(verb, gone.reference()), 1, "disk.raw")
    assert gone.remains() == before


# ---- the path of the bytes ----

def test_show_tells_where_a_snapshot_s_bytes_are(gone):
    for name in "ab":
        path = gone.answer("show", gone.reference(name))["path"]
        assert path == str(gone.snapshot_path(name))
        assert pathlib.Path(path).read_bytes() == gone.truth[name]
        assert f"path:        {path}\n" in gone.done("show", gone.reference(name))


def test_nobody_writes_there_by_mistake(disk):
    disk.snapshot("a")
    path = disk.answer("show", disk.reference("a"))["path"]
    if disk.kind == "btrfs":
        with pytest.raises(OSError) as refusal:
            open(path, "r+b")
        assert refusal.value.errno == errno.EROFS
        return
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o400
    os.chmod(disk.folder.parent.parent, 0o755)
    as_owner = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    result = subprocess.run([*as_owner, "dd", "conv=notrunc", "if=/dev/zero", f"of={path}"],
                            capture_output=True, text=True)
    assert result.returncode != 0 and "Permission denied" in result.stderr


def test_the_live_file_has_no_such_path(disk):
    """Its own would be no snapshot of it: it changes."""
    assert disk.answer("show", disk.reference("live"))["path"] is None
    assert "path:        -\n" in disk.done("show", disk.reference("live"))


def test_the_path_of_a_volume_that_is_mounted_elsewhere_is_there(disk, tmp_path):
    disk.snapshot("a")
    tools.run(["mount", "--bind", disk.folder, tmp_path])
    path = disk.answer("show", f"{disk.kind}:{tmp_path}/disk.raw@a")["path"]
    assert path.startswith(f"{tmp_path}/.nbdsnap/")
    assert pathlib.Path(path).read_bytes() == disk.truth["a"]
    tools.run(["umount", tmp_path])
