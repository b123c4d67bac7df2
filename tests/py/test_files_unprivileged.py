# SPDX-License-Identifier: LGPL-2.1-or-later
"""Disk files without CAP_SYS_ADMIN: what the kernel allows works, what it does
not is refused before anything is made, and a diff says where it is from."""

import json
import os
import re
import subprocess

import pytest

from snaplib import cli, file_disk, file_sets, nbd, tools

NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
WITHOUT_ADMIN = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]
WHO = {"the owner": NOBODY, "root without CAP_SYS_ADMIN": WITHOUT_ADMIN}


@pytest.fixture(scope="module", autouse=True)
def needs():
    tools.require_root()
    tools.require("setpriv")


class Unprivileged(file_disk.FileDisk):
    """A disk whose commands are run by somebody with less privileges."""

    def run(self, *arguments, **environment):
        return subprocess.run(
            [*self.prefix, *cli.command(*arguments, state=str(self.state))], timeout=60,
            capture_output=True, text=True, env=dict(os.environ, **environment))

    def done_as(self, *arguments):
        result = self.run(*arguments)
        assert (result.returncode, result.stderr) == (0, ""), result.stderr
        return result.stdout

    def snapshot(self, name):
        self.done_as("-q", "create", "-n", name, self.reference())
        self.truth[name] = self.content()


def reachable(disk):
    """Let nobody through to the mount, and to the program."""
    for path in (disk.filesystem.path, tools.nbdsnap().resolve()):
        for folder in path.parents:
            if not folder.stat().st_mode & 0o001:
                if not str(folder).startswith(str(disk.filesystem.image.parents[1])):
                    tools.missing(f"{folder} is closed to others")
                folder.chmod(folder.stat().st_mode | 0o011)


def give_away(disk, prefix):
    """Make it an Unprivileged whose owner is whoever runs the commands."""
    disk.__class__ = Unprivileged
    disk.prefix = prefix
    disk.state.mkdir()
    reachable(disk)
    if prefix is NOBODY:
        tools.run(["chown", "-R", "65534:65534", disk.folder, disk.state])
    return disk


@pytest.fixture(params=WHO)
def prefix(request):
    return WHO[request.param]


@pytest.fixture(params=[True, False], ids=["may delete", "may not delete"])
def btrfs(request, prefix):
    """On a file system whose users may delete subvolumes of theirs, or not."""
    options = ("user_subvol_rm_allowed",) if request.param else ()
    disk = give_away(file_disk.on_btrfs("256M", options=options, size=64 << 10), prefix)
    disk.write(0, b"x" * 20000)
    disk.may_delete = request.param
    yield disk
    disk.filesystem.unmount()


def test_btrfs_snapshots_are_made_listed_read_and_compared(btrfs, tmp_path):
    btrfs.snapshot("a")
    btrfs.write(8192, b"changed")
    btrfs.resize(96 << 10)
    btrfs.snapshot("b")
    listed = re.findall(r"^(\w+) ", btrfs.done_as("list", btrfs.reference()), re.MULTILINE)
    assert listed == ["NAME", "a", "b"]
    for base, name in (("a", "b"), ("b", "a"), ("empty", "b")):
        diff = json.loads(
            btrfs.done_as("diff", "--json", btrfs.reference(f"{base}..{name}")))
        assert diff["source"] == ("allocation" if base == "empty" else "fiemap"), diff
    diff = json.loads(btrfs.done_as("diff", "--json", btrfs.reference("a..b")))
    assert {e["offset"] for e in diff["extents"]} == {8192, 65536}
    # The same by root is exact, and no less.
    by_root = btrfs.diff("a", "b")
    assert by_root["source"].startswith("btrfs-") and by_root["extents"] == diff["extents"]


def test_a_btrfs_snapshot_is_deleted_or_refused_as_it_was(btrfs):
    btrfs.snapshot("a")
    btrfs.snapshot("b")
    before = btrfs.remains()
    result = btrfs.run("delete", btrfs.reference("a"))
    if btrfs.may_delete:
        assert result.returncode == 0, result.stderr
        btrfs.done_as("-q", "delete", btrfs.reference("b"))
        assert btrfs.remains() == []
    else:
        cli.refused(result, 1, "user_subvol_rm_allowed")
        assert btrfs.remains() == before and btrfs.names() == ["a", "b"]
        assert btrfs.diff("a", "b")["extents"] == []
    assert not os.listdir(btrfs.state / "journal")


def test_the_live_btrfs_file_is_refused_before_anything_is_made(btrfs):
    """Whoever may not delete a temporary snapshot must not make one."""
    btrfs.snapshot("a")
    before = btrfs.remains()
    cli.refused(btrfs.run("diff", btrfs.reference("a..live")), 5, "CAP_SYS_ADMIN")
    cli.refused(btrfs.run("diff", btrfs.reference("empty..live")), 1, "CAP_SYS_ADMIN")
    assert btrfs.remains() == before


def test_a_deletion_by_the_owner_that_is_killed_is_finished(tmp_path):
    """The snapshot is writable for a moment; nobody may take it for one then."""
    file_sets.require()
    disk = give_away(file_disk.on_btrfs("256M", options=("user_subvol_rm_allowed",),
                                        size=64 << 10), NOBODY)
    preload = ":".join([*nbd.sanitizer_libraries(), str(file_sets.SHIM.resolve())])
    outcomes = {(): 0, ("a",): 0}
    for n in range(1, file_sets.LIMIT):
        if not disk.names():
            disk.snapshot("a")
        result = disk.run("delete", disk.reference("a"), LD_PRELOAD=preload, FAULT_AT=str(n))
        if result.returncode == 0:
            break
        assert "fault at" in result.stdout, result.stderr
        seen = disk.names()
        disk.done_as("-q", "doctor")
        names = disk.names()
        assert names in ([], seen)
        assert names or disk.remains() == [], (n, result.stdout, disk.remains())
        outcomes[tuple(names)] += 1
    print(f"TABLE delete by the owner killed at {n - 1} calls: {outcomes[()]} times absent, "
          f"{outcomes[('a',)]} times complete")
    assert all(outcomes.values())
    disk.filesystem.unmount()


def test_somebody_else_s_file_is_refused_and_nothing_is_left(prefix):
    """Readable, but the subvolume is root's."""
    disk = give_away(file_disk.on_btrfs("256M", size=64 << 10), prefix)
    tools.run(["chown", "-R", "root:root", disk.folder])
    result = disk.run("create", disk.reference())
    if prefix is NOBODY:
        cli.refused(result, 1, "Permission denied")
        assert disk.remains() == [] and not os.listdir(disk.state / "journal")
    else:
        assert result.returncode == 0, result.stderr
    disk.filesystem.unmount()


def test_a_subvolume_that_is_not_ours_is_refused_and_nothing_is_left():
    """The directory may be written to, but the subvolume may not be
    snapshotted: found out at the cut, after the directory was made."""
    disk = give_away(file_disk.on_btrfs("256M", size=64 << 10), NOBODY)
    tools.run(["chown", "root:root", disk.folder])
    disk.folder.chmod(0o777)
    cli.refused(disk.run("create", disk.reference()), 1, "not permitted")
    assert disk.remains() == [] and not os.listdir(disk.state / "journal")
    disk.filesystem.unmount()


def test_all_of_reflink_works_for_the_owner(prefix):
    """It needs no privileges at all."""
    disk = give_away(file_disk.on_xfs("320M", size=64 << 10), prefix)
    disk.write(0, b"x" * 20000)
    disk.snapshot("a")
    disk.write(8192, b"changed")
    diff = json.loads(disk.done_as("diff", "--json", disk.reference("a..live")))
    assert [e["offset"] for e in diff["extents"]] == [8192] and diff["source"] == "fiemap"
    assert disk.snapshot_path("a").stat().st_mode & 0o777 == 0o400
    disk.done_as("-q", "delete", disk.reference("a"))
    assert disk.remains() == []
    tools.run(["chown", "-R", "root:root", disk.folder])
    if prefix is NOBODY:
        cli.refused(disk.run("create", disk.reference()), 1, "Permission denied")
        assert disk.remains() == []
    disk.filesystem.unmount()
