# SPDX-License-Identifier: LGPL-2.1-or-later
"""What goes wrong around logical volumes is said clearly, and leaves nothing
behind: full pools, locks, missing programs, volumes that go away while they are
read, a state directory on what is to be cut."""

import collections
import contextlib
import errno
import fcntl
import itertools
import os
import re

import nbd as libnbd
import pytest

from snaplib import lvm, nbd, tools
from snaplib.cli import answer, done, nbdsnap, refused

MIB = 1 << 20
CHUNK = 64 << 10
numbers = itertools.count(1)


@pytest.fixture
def group(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with lvm.Group(tmp_path, size=96 * MIB, name=f"v-g--{next(numbers)}") as made:
        yield made


@pytest.fixture
def volume(group):
    return group.pool("po-ol", size=32 * MIB, chunk=CHUNK).volume("d-a--ta", 24 * MIB)


def names(group):
    return set(group.lvs("lv_name"))


# ---- full pools ----

def percentages(result):
    found = re.search(r"data ([\d.]+) %, metadata ([\d.]+) % used", result.stderr)
    return float(found[1]), float(found[2])


def test_a_pool_whose_data_is_full_takes_no_snapshot(group):
    pool = group.pool(size=16 * MIB, chunk=CHUNK)
    volume = pool.volume("data", 24 * MIB)
    for at in range(0, 15, 5):
        volume.fill(at * MIB, 5 * MIB, 1)
    volume.fill(15 * MIB, CHUNK * 6, 1)
    before = names(group)
    result = nbdsnap("create", "-n", "s", volume.reference)
    refused(result, 7, "too full")
    data, metadata = percentages(result)
    assert data > 95 and 0 < metadata < 90
    assert names(group) == before
    done("create", "--force", "-n", "s", volume.reference)


def test_a_pool_whose_metadata_is_full_takes_no_snapshot(group):
    pool = group.pool(size=16 * MIB, chunk=CHUNK, metadata=2 * MIB)
    volume = pool.volume("data", 8 * MIB)
    volume.fill(0, CHUNK, 1)
    device, number = pool.dm, 1000
    # Every device of the pool takes some of its metadata.
    while pool.status().metadata_used < 0.92 * pool.status().metadata_blocks:
        for number in range(number + 1, number + 20):
            lvm.devmapper.message(device, f"create_thin {number}")
        assert number < 10000, pool.status()
    before = names(group)
    result = nbdsnap("create", "-n", "s", volume.reference)
    refused(result, 7, "too full")
    data, metadata = percentages(result)
    assert 0 < data < 95 and metadata > 90
    assert names(group) == before


def test_a_group_without_room_takes_no_classic_snapshot(group):
    volume = group.volume("data", 64 * MIB)
    before = names(group)
    refused(nbdsnap("create", "-n", "s", volume.reference), 7, "are free")
    assert names(group) == before


# ---- others ----

def test_a_group_that_somebody_else_has_locked_is_busy(group, volume):
    """lvm itself would wait for ever."""
    with open(f"/run/lock/lvm/V_{group.name}", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused(nbdsnap("create", "-n", "s", volume.reference), 3, "lock")
    done("create", "-n", "s", volume.reference)


def test_a_volume_that_somebody_else_has_suspended_is_busy(group, volume):
    before = names(group)
    volume.suspend()
    try:
        result = nbdsnap("create", "-n", "s", volume.reference)
        assert lvm.devmapper.suspended(volume.dm), "resumed by us"
    finally:
        volume.resume()
    refused(result, 3, "suspended by somebody else")
    assert names(group) == before
    done("create", "-n", "s", volume.reference)


def test_a_metadata_snapshot_that_somebody_else_holds_is_left_to_them(group, volume):
    pool = lvm.Pool(group, "po-ol", CHUNK)
    for name in ("a", "b"):
        done("create", "-n", name, volume.reference)
    held = pool.reserve()
    try:
        refused(nbdsnap("diff", f"{volume.reference}@a..b"), 3, "somebody else")
        assert pool.status().held_root == held
        done("create", "-n", "c", volume.reference)
        assert pool.status().held_root == held
    finally:
        pool.release()
    assert answer("diff", f"{volume.reference}@a..b")["dirty_bytes"] == 0


# ---- programs ----

@pytest.fixture
def without(tmp_path, monkeypatch):
    """A PATH without the programs of LVM."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


def test_without_lvm_it_says_so(group, volume, without, monkeypatch):
    for arguments in (["create", "-n", "s", volume.reference], ["list", volume.reference],
                      ["diff", f"{volume.reference}@a..b"]):
        refused(nbdsnap(*arguments), 1, "lvm", "no such program")
    monkeypatch.undo()


def test_without_dmsetup_nothing_is_missed(tmp_path, group, volume):
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "lvm").symlink_to(tools.which("lvm"))
    result = nbdsnap("create", "-n", "s", volume.reference,
                     env=dict(os.environ, PATH=str(folder)))
    assert result.returncode == 0, result.stderr


def test_without_the_guard_nothing_is_cut(group, volume, monkeypatch):
    before = names(group)
    monkeypatch.setenv("NBDSNAP_GUARD", "/nowhere/nbdsnap-guard")
    refused(nbdsnap("create", "-n", "s", volume.reference), 1, "nbdsnap-guard")
    assert names(group) == before


# ---- how often LVM is asked ----

@pytest.fixture
def asked(tmp_path, monkeypatch):
    """{command: how often} of what nbdsnap has lvm do since the last call."""
    folder, log = tmp_path / "asked", tmp_path / "asked.log"
    folder.mkdir()
    (folder / "lvm").write_text(f'#!/bin/sh\necho "$1" >>"{log}"\nexec {tools.which("lvm")} "$@"\n')
    (folder / "lvm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def since():
        counts = collections.Counter(log.read_text().split())
        log.unlink()
        return counts

    return since


def test_lvm_is_asked_once_for_what_is_asked_together(group, asked):
    """Each question takes as long as LVM needs to read its metadata from all disks."""
    pool = group.pool(size=32 * MIB)
    both = [pool.volume(name, 8 * MIB).reference for name in ("first", "second")]
    done("create", "-n", "a", *both)
    assert asked() == {"lvs": 5, "lvcreate": 2}
    done("create", "-n", "b", *both)
    asked()
    done("diff", f"{both[0]}@a..b")
    assert asked() == {"lvs": 3}


# ---- names ----

def test_hyphens_in_names_are_no_trouble(group, volume):
    """The device mapper doubles them."""
    volume.fill(0, CHUNK, 1)
    done("create", "-n", "a-b--c", volume.reference)
    volume.fill(CHUNK, CHUNK, 2)
    done("create", "-n", "d--e-f", f"/dev/{volume.reference}")
    diff = answer("diff", f"/dev/mapper/{volume.dm}@a-b--c..d--e-f")
    assert [(e["offset"], e["length"]) for e in diff["extents"]] == [(CHUNK, CHUNK)]
    with nbd.Server(f"lvm:{volume.reference}@d--e-f") as server:
        with server.connect() as handle:
            assert handle.pread(2 * CHUNK, 0) == bytes(volume.model[:2 * CHUNK])
    done("delete", f"{volume.reference}@a-b--c", f"{volume.reference}@d--e-f")


# ---- names and ids that are used again ----

def point(volume, name):
    listed, = answer("list", volume.reference)["volumes"]
    return next(point for point in listed["snapshots"] if point["name"] == name)


def test_a_name_or_a_thin_id_that_is_used_again_is_not_the_old_base(group, volume):
    for name in ("next", "base"):
        done("create", "-n", name, volume.reference)
    old = point(volume, "base")["id"]
    done("delete", f"{volume.reference}@base")
    done("create", "-n", "base", volume.reference)
    new = point(volume, "base")["id"]
    assert old != new and old.split("+")[1] == new.split("+")[1], "the pool gave another thin id"
    assert answer("diff", f"{volume.reference}@{new}..next")["complete"]
    refused(nbdsnap("diff", f"{volume.reference}@{old}..next"), 5, "a full copy is needed")


# ---- volumes that go away ----

def read_error(handle):
    with pytest.raises(libnbd.Error) as failed:
        handle.pread(4096, 0)
    return failed.value.errnum


def serve(volume):
    return nbd.Server(f"{volume.reference}@s")


def snapshot_of(group):
    return next(name for name in names(group) if name.startswith("s.nbdsnap"))


def test_a_snapshot_that_is_removed_before_the_first_read_is_a_read_error(group, volume):
    done("create", "-n", "s", volume.reference)
    with serve(volume) as server:
        with server.connect() as handle:
            lvm.command("lvremove", "-f", f"{group.name}/{snapshot_of(group)}")
            for _ in range(2):
                assert read_error(handle) == errno.EIO
        # It goes on, though there is nothing to serve any more.
        with pytest.raises(libnbd.Error):
            with server.connect():
                pass
        assert "is gone" in server.messages()


def test_a_snapshot_that_is_read_cannot_be_removed_but_by_force(group, volume):
    volume.fill(0, CHUNK, 7)
    done("create", "-n", "s", volume.reference)
    with serve(volume) as server:
        with server.connect() as handle:
            assert handle.pread(4096, 0) == bytes([7]) * 4096
            name = snapshot_of(group)
            removed = lvm.attempt("lvremove", "-f", f"{group.name}/{name}")
            assert removed.returncode != 0 and "in use" in removed.stderr
            lvm.command("dmsetup", "wipe_table", lvm.dm_name(group.name, name))
            fresh = 16 * MIB  # not in the page cache
            with pytest.raises(libnbd.Error) as failed:
                handle.pread(4096, fresh)
            assert failed.value.errnum == errno.EIO
        assert name.split(".nbdsnap")[0] in server.messages()
    lvm.attempt("dmsetup", "remove", lvm.dm_name(group.name, name))


def test_a_classic_snapshot_that_overflows_while_it_is_read_is_a_read_error(group):
    volume = group.volume("da-ta", 12 * MIB)
    volume.fill(0, CHUNK, 3)
    volume.snapshot("th-eirs", "-pr", "-L", "4m")
    reference = f"{volume.reference}@th-eirs"
    with nbd.Server(reference) as server:
        with server.connect() as handle:
            assert handle.pread(4096, 0) == bytes([3]) * 4096
            volume.fill(0, 6 * MIB, 9)
            fresh = 8 * MIB  # not in the page cache
            with pytest.raises(libnbd.Error) as failed:
                handle.pread(4096, fresh)
            assert failed.value.errnum == errno.EIO
        assert "the snapshot has overflowed" in server.messages()
    refused(nbdsnap("diff", f"{reference}..live"), 5, "overflowed")


# ---- the state directory ----

@contextlib.contextmanager
def mounted(volume, folder):
    lvm.command("mkfs.ext4", "-q", "-F", volume.path)
    folder.mkdir()
    lvm.command("mount", volume.path, folder)
    try:
        yield folder
    finally:
        lvm.command("umount", folder)


@pytest.mark.parametrize("kind", ["thin", "classic"])
def test_a_state_directory_on_a_volume_of_the_set_is_refused(tmp_path, group, kind):
    tools.require("mkfs.ext4")
    pool = group.pool(size=24 * MIB)
    if kind == "thin":
        first, second = (pool.volume(name, 8 * MIB) for name in ("fir-st", "second"))
    else:
        first, second = (group.volume(name, 8 * MIB) for name in ("fir-st", "second"))
    before = names(group)
    with mounted(first, tmp_path / "mnt") as folder:
        state = str(folder / "state" / "deep")
        result = nbdsnap("create", "-n", "s", second.reference, first.reference, state=state)
        refused(result, 1, state, f"lies on {first.reference}", "another state directory")
        assert names(group) == before
        assert [name for name in os.listdir(f"{state}/journal")] == []
        # Beside it is well.
        if kind == "thin":
            done("create", "-n", "s", second.reference, state=state)
            assert len(names(group) - before) == 1


def test_a_state_directory_on_a_loop_device_on_a_volume_of_the_set_is_refused(tmp_path, group):
    tools.require("mkfs.ext4", "losetup")
    volume = group.pool(size=24 * MIB).volume("data", 16 * MIB)
    before = names(group)
    with mounted(volume, tmp_path / "mnt") as folder:
        image = folder / "image"
        with open(image, "wb") as file:
            file.truncate(4 * MIB)
        loop = lvm.command("losetup", "-f", "--show", image).strip()
        try:
            lvm.command("mkfs.ext4", "-q", "-F", loop)
            (tmp_path / "inner").mkdir()
            lvm.command("mount", loop, tmp_path / "inner")
            try:
                refused(nbdsnap("create", "-n", "s", volume.reference,
                                state=str(tmp_path / "inner" / "state")),
                        1, f"lies on {volume.reference}")
            finally:
                lvm.command("umount", tmp_path / "inner")
        finally:
            lvm.command("losetup", "-d", loop)
        assert names(group) == before
